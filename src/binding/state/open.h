/* SPDX-License-Identifier: MIT */
/* open.h - require for the Lua files that were compiled in. */
#ifndef LUNADO_BINDING_STATE_OPEN_H
#define LUNADO_BINDING_STATE_OPEN_H

#include "binding/state/realm.h"

/* Makes `require` find lunado's compiled-in modules without a file.  Does
 * nothing in a build without them.  [-0, +0, m] */
void lunado__open_preload(lua_State *L);

#endif
