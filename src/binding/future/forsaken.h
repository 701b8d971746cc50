/* SPDX-License-Identifier: MIT */
/*
 * forsaken.h - whether anything is left that waits for a Future.
 *
 * A coroutine that was closed by coroutine.close, or resumed by other code than
 * lunado, still stands among the waiters of the Future it waited for.
 */
#ifndef LUNADO_BINDING_FUTURE_FORSAKEN_H
#define LUNADO_BINDING_FUTURE_FORSAKEN_H

#include "binding/state/realm.h"

/* What is found among the waiters of a Future. */
enum {
  LUNADO_WAITER_ALIVE = 1, /* one that its outcome reaches, or may reach */
  LUNADO_WAITER_DEAD = 2   /* a coroutine that is not suspended at it */
};

/* Looks at the waiters of the Future at idx, directly and through Futures that
 * wait for it, until it finds one that is alive.  Returns the sum of what it
 * found; 0: none waits.  [-0, +0, e] */
int lunado__forsaken_find(lua_State *L, lunado_realm *realm, int idx);

/* Pushes the Future that gets its outcome by way of a waiter whose owner is on
 * top: a multi, a with_timeout, the target of chain_future.  Nil for one that
 * is gone; where there is none of these, returns false, and pushes nothing.
 * [-0, +(0|1), -] */
bool lunado__forsaken_push_waiting(lua_State *L, lunado_realm *realm,
                                   const lunado_waiter *waiter);

/* Pushes core.forsaken and core.forsake into the table on top. */
void lunado__forsaken_functions(lua_State *L);

#endif
