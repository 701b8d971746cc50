/* SPDX-License-Identifier: MIT */
/*
 * forsaken.h - finding out whether a Future has live waiters.
 *
 * A coroutine that was closed by coroutine.close, or resumed by code other than
 * lunado, remains among the waiters of the Future that it waited for.
 */
#ifndef LUNADO_BINDING_FUTURE_FORSAKEN_H
#define LUNADO_BINDING_FUTURE_FORSAKEN_H

#include "binding/state/realm.h"

/* Kinds of waiters found. */
enum {
  LUNADO_WAITER_ALIVE = 1, /* the outcome reaches it, or may reach it */
  LUNADO_WAITER_DEAD = 2   /* a coroutine not suspended at the Future */
};

/* Looks at the waiters of the Future at idx, and at the waiters of Futures that
 * wait for it, until it finds a live waiter.  Returns the sum of the kinds
 * found; 0 if there is no waiter.  [-0, +0, e] */
int lunado__forsaken_find(lua_State *L, lunado_realm *realm, int idx);

/* For the waiter whose owner is on top: pushes the Future that gets its outcome
 * through the waiter (a multi, a with_timeout, or the target of chain_future),
 * or nil if that Future was collected, and returns true.  For a waiter of
 * another kind pushes nothing and returns false.  [-0, +(0|1), -] */
bool lunado__forsaken_push_waiting(lua_State *L, lunado_realm *realm,
                                   const lunado_waiter *waiter);

/* Adds core.forsaken and core.forsake to the table on top. */
void lunado__forsaken_functions(lua_State *L);

#endif
