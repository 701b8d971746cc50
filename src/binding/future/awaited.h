/* SPDX-License-Identifier: MIT */
/*
 * awaited.h - errors that a waiter will get, and errors that were never
 * retrieved.
 *
 * A coroutine, multi, WaitIterator or function of add_future that was waiting
 * for a Future gets its error later, in a turn of a loop.  Where the loop or
 * the state ends before, the error counts as observed.  Where the waiter is
 * collected while the program goes on, it does not.
 */
#ifndef LUNADO_BINDING_FUTURE_AWAITED_H
#define LUNADO_BINDING_FUTURE_AWAITED_H

#include "binding/state/realm.h"

/* The Future with these waiters is about to fail with the Failure on top: notes
 * whether any waiter gets it later.  [-0, +0, -] */
void lunado__awaited_note(lua_State *L, lunado_realm *realm,
                          const lunado_future *future);

/* What was made just now will look at the Future at idx later; notes that where
 * the Future has failed already.  [-0, +0, -] */
void lunado__awaited_expect(lua_State *L, lunado_realm *realm, int idx);

/* The failed Future at idx is being put into a queue with a function that will
 * be called with it.  [-0, +0, -] */
void lunado__awaited_queued(lua_State *L, int idx);

/* In the finalizer of the Failure at idx: true if it need not be reported, or
 * not yet.  [-0, +0, -] */
bool lunado__awaited_still(lua_State *L, lunado_realm *realm, int idx);

/* The loop is being closed: the failed Futures in its queue, which its
 * callbacks were to be called with, count as observed.  [-0, +0, -] */
void lunado__awaited_leave(lunado_ioloop *loop);

/* Gives Failures their finalizer, which logs an error that was never retrieved.
 * Those made before have none.  [-0, +0, m] */
void lunado__awaited_open(lua_State *L, lunado_realm *realm);

/* Logs the error of the Failure at idx now, unless it was observed or is
 * awaited.  While the state is being closed, when what is made has no
 * finalizer.  [-0, +0, -] */
void lunado__awaited_report_now(lua_State *L, lunado_realm *realm, int idx);

#endif
