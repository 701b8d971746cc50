/* SPDX-License-Identifier: MIT */
/*
 * watch.h - hooks by which lunado's Lua modules watch coroutines, and errors
 * that they raise in a suspended one.
 *
 * The thread hook is called before each coroutine begins.  A watched coroutine
 * enters stack contexts of its own at its next yield, an error can be raised at
 * the yield where it is suspended, and the finish hook is called when it ends.
 * lunado.legacy builds the runner of YieldPoints on this.
 */
#ifndef LUNADO_BINDING_COROUTINE_WATCH_H
#define LUNADO_BINDING_COROUTINE_WATCH_H

#include "binding/state/realm.h"

/* Calls the thread hook with the thread of the task at t, which has no function
 * yet.  An error of the hook is logged.  The hook is not called for coroutines
 * that it starts itself.  [-0, +0, m] */
void lunado__watch_thread(lua_State *L, lunado_realm *realm, int t);

/* Enters the contexts of the watched task at t: they become the current ones.
 * [-0, +0, -] */
void lunado__watch_enter(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task);

/* True if the current contexts are the task's own.  [-0, +0, -] */
bool lunado__watch_is_within(lua_State *L, const lunado_realm *realm,
                             const lunado_task *task);

/* Restores the contexts that were current before lunado__watch_enter.
 * [-0, +0, -] */
void lunado__watch_leave(lua_State *L, lunado_realm *realm, lunado_task *task);

/* Calls the finish hook for the task at t, whose coroutine has ended with the
 * value on top.  If the coroutine returned and the hook raises an error, the
 * error replaces the value, and the coroutine counts as failed.  [-1, +1, -] */
void lunado__watch_end(lua_State *L, int t, lunado_task *task);

/* Adds the functions for lunado.legacy and lunado.debug to the table on top. */
void lunado__watch_functions(lua_State *L);

#endif
