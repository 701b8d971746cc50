/* SPDX-License-Identifier: MIT */
/*
 * timedout.h - logging errors of Futures on which a with_timeout timed out.
 *
 * A with_timeout that has timed out stops waiting for its child and leaves only
 * a mark in it.  If the child fails later and has no waiter, its error is
 * logged at once.  It is logged once, however many with_timeouts have timed out
 * on it, and not at all if the quiet_exceptions of all of them cover it.
 *
 * If the child is a multi that the with_timeout made from a table, so that no
 * other code can reach it, the multi's children are marked instead.
 */
#ifndef LUNADO_BINDING_FUTURE_TIMEDOUT_H
#define LUNADO_BINDING_FUTURE_TIMEDOUT_H

#include "binding/state/realm.h"

/* If the Future at idx is pending, marks it for a with_timeout that has timed
 * out on it, with the quiet_exceptions at `quiet` (nil: none).  No index may be
 * relative.  [-0, +0, -] */
void lunado__timedout_mark(lua_State *L, lunado_realm *realm, int idx,
                           int quiet);

/* Copies to the Future at idx the marks of the Future at `from`, which stops
 * waiting for it.  [-0, +0, -] */
void lunado__timedout_copy(lua_State *L, lunado_realm *realm, int idx,
                           int from);

/* True if the Future is marked and none of its waiters handles an error. */
bool lunado__timedout_unheeded(const lunado_future *future);

/* To be called after the Future at idx has failed, if lunado__timedout_unheeded
 * was true before: logs the Future's error.  [-0, +0, -] */
void lunado__timedout_failed(lua_State *L, lunado_realm *realm, int idx);

/* For a failed Future at idx whose with_timeout has timed out and will not
 * raise its error: marks the error as observed if the quiet_exceptions at
 * `quiet` cover it.  [-0, +0, -] */
void lunado__timedout_hush(lua_State *L, int idx, int quiet);

/* Logs the error of the Future at idx, which has failed after its with_timeout
 * was done, unless the quiet_exceptions at `quiet` cover it.  [-0, +0, -] */
void lunado__timedout_log(lua_State *L, lunado_realm *realm, int idx,
                          int quiet);

#endif
