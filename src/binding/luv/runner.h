/* SPDX-License-Identifier: MIT */
/* runner.h - running luv's callbacks as the loop runs its own. */
#ifndef LUNADO_BINDING_LUV_RUNNER_H
#define LUNADO_BINDING_LUV_RUNNER_H

#include "binding/state/realm.h"

/* Replaces luv's runner, which exits the process when a callback fails.
 * [-(nargs + 1), +n, -] */
int lunado__runner_call(lua_State *L, int nargs, int nresults, int flags);

#endif
