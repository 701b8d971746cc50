/* SPDX-License-Identifier: MIT */
/* closing.h - notifying the waiter of a handle that luv closes. */
#ifndef LUNADO_BINDING_LUV_CLOSING_H
#define LUNADO_BINDING_LUV_CLOSING_H

#include "binding/state/realm.h"

/* Sets core.tell_closing in the table on top.  [-0, +0, m] */
void lunado__closing_functions(lua_State *L);

#endif
