/* SPDX-License-Identifier: MIT */
/* runner.h - luv's callbacks, called as the loop calls its own. */
#ifndef LUNADO_BINDING_LUV_RUNNER_H
#define LUNADO_BINDING_LUV_RUNNER_H

#include "binding/state/realm.h"

/* In place of luv's runner, which ends the process when a callback fails. */
int lunado__runner_call(lua_State *L, int nargs, int nresults, int flags);

#endif
