/* SPDX-License-Identifier: MIT */
/* text.h - values as text, for messages. */
#ifndef LUNADO_BINDING_STATE_TEXT_H
#define LUNADO_BINDING_STATE_TEXT_H

#include "binding/state/realm.h"

/* Pushes the value at idx as text, whatever its type.  [-0, +1, m] */
void lunado__text_push(lua_State *L, int idx);

#endif
