/* SPDX-License-Identifier: MIT */
/*
 * watch.h - what Lua modules are told of coroutines, and may do to them.
 *
 * The thread hook is told of each coroutine that begins.  A coroutine that is
 * watched enters stack contexts of its own at its next yield, can have an error
 * raised where it is suspended, and the finish hook is told of its end.  That
 * is how lunado.legacy gives YieldPoints their runner.
 */
#ifndef LUNADO_BINDING_COROUTINE_WATCH_H
#define LUNADO_BINDING_COROUTINE_WATCH_H

#include "binding/state/realm.h"

/* Calls the thread hook with the thread of the task at t, which has no function
 * yet.  An error of the hook is logged.  Coroutines that the hook starts have
 * no hook.  [-0, +0, m] */
void lunado__watch_thread(lua_State *L, lunado_realm *realm, int t);

/* The coroutine of the task at t is within contexts of its own from now on.
 * [-0, +0, -] */
void lunado__watch_enter(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task);

/* True if the current contexts are the task's own.  [-0, +0, -] */
bool lunado__watch_is_within(lua_State *L, const lunado_realm *realm,
                             const lunado_task *task);

/* Makes those contexts current again that were so before lunado__watch_enter.
 * [-0, +0, -] */
void lunado__watch_leave(lua_State *L, lunado_realm *realm, lunado_task *task);

/* The coroutine of the task at t has ended with the value on top: tells the
 * finish hook.  What that raises becomes the outcome of one that has returned.
 * [-1, +1, -] */
void lunado__watch_end(lua_State *L, int t, lunado_task *task);

/* Adds the functions for lunado.legacy and lunado.debug to the table on top. */
void lunado__watch_functions(lua_State *L);

#endif
