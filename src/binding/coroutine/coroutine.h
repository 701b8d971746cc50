/* SPDX-License-Identifier: MIT */
/*
 * coroutine.h - running Lua coroutines the way tornado.gen.coroutine runs
 * generators.
 *
 * A task runs a coroutine.  It is a userdata that contains the waiter, and has
 * a thread of its own.  When the coroutine's function has returned, the task
 * and its thread are kept for a later coroutine.
 *
 * The user values of a task are
 *   - its thread;
 *   - from the first suspension to the end of the coroutine, the Future of its
 *     outcome; during that time the Future holds the task as well
 *     (LUNADO_FUTURE_TASK);
 *   - the Failure of the error that the coroutine received; of several errors,
 *     a table of them (received.h);
 *   - its innermost scope; without scopes, the notice that cancels it, or nil
 *     (cancel.h).
 * If a coroutine is never suspended, only its caller's stack holds the task and
 * the Future.
 */
#ifndef LUNADO_BINDING_COROUTINE_COROUTINE_H
#define LUNADO_BINDING_COROUTINE_COROUTINE_H

#include "binding/state/realm.h"

enum {
  LUNADO_TASK_THREAD = 1,
  LUNADO_TASK_FUTURE,
  LUNADO_TASK_RECEIVED,
  LUNADO_TASK_SCOPE,
  LUNADO_TASK_VALUES = LUNADO_TASK_SCOPE
};

/* Makes the realm's part for coroutines.  [-0, +0, m] */
void lunado__coroutine_open(lua_State *L, lunado_realm *realm);

/* Adds the Lua functions of coroutine.c, await.c and watch.c to the table on
 * top. */
void lunado__coroutine_functions(lua_State *L);

/* Calls the function below the nargs arguments on top as a coroutine.  Replaces
 * the function and the arguments by the coroutine's Future.
 * [-(nargs+1), +1, m] */
void lunado__coroutine_spawn(lua_State *L, lunado_realm *realm, int nargs);

/* The same for a function that gen.coroutine may have returned: it is called
 * without a coroutine of its own.  [-(nargs+1), +1, m] */
void lunado__coroutine_spawn_any(lua_State *L, lunado_realm *realm, int nargs);

/* If the Future at idx is the outcome of a coroutine that has not ended, pushes
 * and returns the coroutine's task; else pushes nothing and returns NULL.  The
 * task of one that never was suspended is not known.  [-0, +(0|1), -] */
lunado_task *lunado__coroutine_push_task(lua_State *L, int idx);

/* If the Future at idx belongs to a coroutine that has not started yet, makes
 * the coroutine do nothing when it starts.  [-0, +0, -] */
void lunado__coroutine_withdraw(lua_State *L, int idx);

/* Like lunado__coroutine_spawn, but the function starts on the loop's next
 * turn.
 * [-(nargs+1), +1, m] */
void lunado__coroutine_spawn_later(lua_State *L, lunado_realm *realm,
                                   lunado_ioloop *loop, int nargs);

/* True if the value at idx is a function that gen.coroutine returned.
 * [-0, +0, -] */
bool lunado__coroutine_is_function(lua_State *L, int idx);

/* The stack slots needed to wake a coroutine and to settle its Future.  The
 * Future may have waiters of any kind, and settling it must not fail for lack
 * of stack. */
#define LUNADO_WAKE_STACK (2 * LUA_MINSTACK)

#endif
