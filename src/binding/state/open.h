/* SPDX-License-Identifier: MIT */
/* open.h - finding the Lua files that were compiled in. */
#ifndef LUNADO_BINDING_STATE_OPEN_H
#define LUNADO_BINDING_STATE_OPEN_H

#include "binding/state/realm.h"

/* Has `require` find lunado's modules without a file, where they were compiled
 * in; else does nothing.  [-0, +0, m] */
void lunado__open_preload(lua_State *L);

#endif
