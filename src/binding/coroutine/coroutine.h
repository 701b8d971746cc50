/* SPDX-License-Identifier: MIT */
/*
 * coroutine.h - running Lua coroutines the way tornado.gen.coroutine runs
 * generators.
 *
 * A coroutine is run by a task: a userdata that owns the waiter, paired with
 * a thread for as long as that lives.  When the function has returned, the
 * task and its thread are kept for a later coroutine.
 *
 * User values of a task: its thread; from the first suspension to the end of
 * the coroutine the Future of its outcome, which then holds the task in turn
 * (LUNADO_FUTURE_TASK); and the Failure of the error that the coroutine was
 * given last (received.h).  A coroutine that never suspends has task and Future
 * on its caller's stack alone.
 */
#ifndef LUNADO_BINDING_COROUTINE_COROUTINE_H
#define LUNADO_BINDING_COROUTINE_COROUTINE_H

#include "binding/state/realm.h"

enum {
  LUNADO_TASK_THREAD = 1,
  LUNADO_TASK_FUTURE,
  LUNADO_TASK_RECEIVED,
  LUNADO_TASK_VALUES = LUNADO_TASK_RECEIVED
};

void lunado__coroutine_open(lua_State *L, lunado_realm *realm);

/* Pushes the functions of lunado.gen that run coroutines into the table on
 * top. */
void lunado__coroutine_functions(lua_State *L);

/* Calls the function below nargs arguments as a coroutine; replaces them by
 * its Future.  [-(nargs+1), +1, m] */
void lunado__coroutine_spawn(lua_State *L, lunado_realm *realm, int nargs);

/* Where the Future at idx is that of a coroutine that has not begun yet, it
 * does nothing when it begins.  [-0, +0, -] */
void lunado__coroutine_withdraw(lua_State *L, int idx);

/* As lunado__coroutine_spawn, but the function starts on the loop's next turn.
 * [-(nargs+1), +1, m] */
void lunado__coroutine_spawn_later(lua_State *L, lunado_realm *realm,
                                   lunado_ioloop *loop, int nargs);

/* True if the value at idx is what gen.coroutine gave.  [-0, +0, -] */
bool lunado__coroutine_is_function(lua_State *L, int idx);

/* Room on the stack for waking a coroutine and settling its Future, which may
 * have waiters of any kind: there it must not find too little. */
#define LUNADO_WAKE_STACK (2 * LUA_MINSTACK)

#endif
