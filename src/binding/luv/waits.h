/* SPDX-License-Identifier: MIT */
/* waits.h - notifying the waiter of a handle that luv closes. */
#ifndef LUNADO_BINDING_LUV_WAITS_H
#define LUNADO_BINDING_LUV_WAITS_H

#include "binding/state/realm.h"

/* Sets core.watch_closing in the table on top.  [-0, +0, m] */
void lunado__waits_functions(lua_State *L);

#endif
