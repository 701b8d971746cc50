/* SPDX-License-Identifier: MIT */
/* throw.h - raising an error where a coroutine has yielded. */
#ifndef LUNADO_BINDING_COROUTINE_THROW_H
#define LUNADO_BINDING_COROUTINE_THROW_H

#include "binding/state/realm.h"

/* Has the error that function() raises raised where the task at t yielded.
 * Returns how many values to resume it with, or RESUMED_OUTSIDE. */
int lunado__throw_raised(lua_State *L, lunado_realm *realm, int t,
                         lua_CFunction function);

/* Deals with what a coroutine left behind in the realm when it was suspended
 * or ended. */
void lunado__throw_resumed(lunado_realm *realm, lunado_task *task);

/* Has the value on top of the task's thread raised when it is resumed. */
void lunado__throw_value(lunado_realm *realm, lunado_task *task);

/* The same for the error of the Failure on top of the thread of the task at t,
 * which is replaced by it.  [-0, +0, -] */
void lunado__throw_failure(lua_State *L, int t, lunado_task *task);

/* Calls function(task); on failure moves the error to the task's thread and
 * has it raised there.  Where functions of the user's have raised it, such as
 * __await, the traceback begins with them.  Where the thread was closed
 * meanwhile that is what the coroutine ends with. */
bool lunado__throw_protected(lua_State *L, lunado_realm *realm, int t,
                             lua_CFunction function, int nargs);

/* With what a task that was not suspended goes on after `protected` has failed:
 * an error, unless its thread was closed. */
int lunado__throw_pending(const lunado_task *task);

#endif
