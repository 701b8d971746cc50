/* SPDX-License-Identifier: MIT */
/* opening.h - opening files by their paths. */
#ifndef LUNADO_BINDING_STREAM_OPENING_H
#define LUNADO_BINDING_STREAM_OPENING_H

#include "binding/state/realm.h"

void lunado__opening_functions(lua_State *L);

#endif
