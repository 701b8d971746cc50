/* SPDX-License-Identifier: MIT */
/* run.h - the runner: resume, suspend, end. */
#ifndef LUNADO_BINDING_COROUTINE_RUN_H
#define LUNADO_BINDING_COROUTINE_RUN_H

#include "binding/state/realm.h"

/* Resumes the coroutine of the task at idx, which was taken from a loop's
 * queue.  [-0, +0, m] */
void lunado__run_wake(lua_State *L, lunado_realm *realm, int idx);

/* Runs the coroutine of the task at t until it is suspended or ends.  It is
 * resumed with the nargs values on top of its thread; if nargs is
 * RESUMED_OUTSIDE, it ends with an error.
 *
 * Stack: the task at t, its Future at t + 1; above them, in pairs, the tasks
 * that this runner starts in place of their callers, each with its Future. */
void lunado__run(lua_State *L, lunado_realm *realm, int t, lunado_task *task,
                 int nargs);

/* True if one more coroutine may be started on the C stack.  The C calls
 * between coroutines count as well, by the bytes of stack that they take: Lua
 * allows some 200 calls in all, and each takes more than a hundred bytes. */
bool lunado__run_may_nest(const lunado_realm *realm);

#endif
