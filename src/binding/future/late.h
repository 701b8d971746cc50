/* SPDX-License-Identifier: MIT */
/*
 * late.h - Futures that a with_timeout has given up.
 *
 * A with_timeout that has timed out leaves its child.  All that stays there is
 * a mark: should the child fail when it has no waiter, its error is logged
 * at once, and once however many timed out on it, unless it is quiet for all of
 * them.
 *
 * A Future that only the with_timeout can reach, a multi that it made of a
 * table, gets no mark; its children do.
 */
#ifndef LUNADO_BINDING_FUTURE_LATE_H
#define LUNADO_BINDING_FUTURE_LATE_H

#include "binding/state/realm.h"

/* Marks the Future at idx, where it is pending, for one that has timed out on
 * it with the quiet_exceptions at `quiet` (nil: none).  No index is relative.
 * [-0, +0, -] */
void lunado__late(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* Gives the Future at idx the marks of the one at `from`, which leaves it, too.
 * [-0, +0, -] */
void lunado__late_as(lua_State *L, lunado_realm *realm, int idx, int from);

/* True if the Future is marked, and none of its waiters takes an error. */
bool lunado__late_unheeded(const lunado_future *future);

/* The Future at idx, which was unheeded, has failed.  [-0, +0, -] */
void lunado__late_failed(lua_State *L, lunado_realm *realm, int idx);

/* The error of the failed Future at idx will not be raised by the one that has
 * timed out: where that has quiet_exceptions that cover it, it counts as
 * observed.  [-0, +0, -] */
void lunado__late_hush(lua_State *L, int idx, int quiet);

/* The Future at idx has failed too late for one with quiet_exceptions at
 * `quiet`.  [-0, +0, -] */
void lunado__late_log(lua_State *L, lunado_realm *realm, int idx, int quiet);

#endif
