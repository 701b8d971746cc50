/* SPDX-License-Identifier: MIT */
/* multi.h - a Future of the results of many. */
#ifndef LUNADO_BINDING_FUTURE_MULTI_H
#define LUNADO_BINDING_FUTURE_MULTI_H

#include "binding/future/future.h"

/* Pushes the functions of lunado.gen about many Futures into the table on
 * top. */
void lunado__multi_functions(lua_State *L);

/* Pushes a Future of the table of the results of the yieldables in the table
 * at idx, with quiet_exceptions at `quiet` (0: none).  [-0, +1, e] */
void lunado__multi_new(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* The same for a table that is nested `depth` deep in others, and for a Future
 * that nobody will have but what waits for it.  [-0, +1, e] */
void lunado__multi_nested(lua_State *L, lunado_realm *realm, int idx,
                          int depth);

/* Replaces the list of n >= 2 yieldables on top by a Future with n results.
 * [-1, +1, e] */
void lunado__multi_spread(lua_State *L, lunado_realm *realm, int n);

/* True for a multi that nobody has but its one waiter, or nobody at all. */
static inline bool lunado__multi_is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return future->flags & LUNADO_IS_PRIVATE &&
         (waiter == NULL || waiter->next == waiter);
}

/* Takes what the private multi at idx waits for back from its children.
 * [-0, +0, -] */
void lunado__multi_dissolve(lua_State *L, int idx);

/* Marks the children of the private multi at idx as lunado__late does.
 * [-0, +0, -] */
void lunado__multi_late(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* Pushes the table of the children of the Future at idx, which is pending and
 * of kind LUNADO_KIND_MULTI.  [-0, +1, -] */
void lunado__multi_children(lua_State *L, int idx);

#endif
