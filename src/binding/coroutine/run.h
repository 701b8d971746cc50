/* SPDX-License-Identifier: MIT */
/* run.h - the runner: resume, suspend, end. */
#ifndef LUNADO_BINDING_COROUTINE_RUN_H
#define LUNADO_BINDING_COROUTINE_RUN_H

#include "binding/state/realm.h"

/* Resumes the coroutine of the task at idx, which the queue gave.
 * [-0, +0, m] */
void lunado__run_wake(lua_State *L, lunado_realm *realm, int idx);

/* Runs the coroutine of the task at t, whose thread has nargs values to be
 * resumed with, or that is RESUMED_OUTSIDE, until it is suspended or ends.  Its
 * Future is at t + 1.  Those that it starts by yielding to the runner are
 * above, each with its Future. */
void lunado__run(lua_State *L, lunado_realm *realm, int t, lunado_task *task,
                 int nargs);

/* True if one more coroutine may be started on the C stack.  The calls between
 * the coroutines count as well: Lua allows some 200 in all, of which each
 * takes more than a hundred bytes. */
bool lunado__run_may_nest(const lunado_realm *realm);

#endif
