/* SPDX-License-Identifier: MIT */
/*
 * awaited.h - errors that a waiter will get, and errors that were never
 * retrieved.
 *
 * A waiter that is a coroutine, a multi, a WaitIterator or a function of
 * add_future gets the error of its Future later, in a turn of a loop.  If the
 * loop or the state ends before that turn, the error counts as observed.  If
 * the waiter is collected while the program goes on, the error does not count
 * as observed.
 */
#ifndef LUNADO_BINDING_FUTURE_AWAITED_H
#define LUNADO_BINDING_FUTURE_AWAITED_H

#include "binding/state/realm.h"

/* To be called before the Future fails with the Failure on top: notes in the
 * Failure whether any waiter will get the error later.  [-0, +0, -] */
void lunado__awaited_note(lua_State *L, lunado_realm *realm,
                          const lunado_future *future);

/* To be called for an object just made that will look at the Future at idx
 * later: if the Future has failed already, notes in its Failure that the error
 * is awaited.  [-0, +0, -] */
void lunado__awaited_expect(lua_State *L, lunado_realm *realm, int idx);

/* To be called when a function is queued that will be called with the failed
 * Future at idx: notes this in the Failure.  [-0, +0, -] */
void lunado__awaited_queued(lua_State *L, int idx);

/* For the finalizer of the Failure at idx: true if the error need not be
 * reported, or not yet.  [-0, +0, -] */
bool lunado__awaited_still(lua_State *L, lunado_realm *realm, int idx);

/* To be called when the loop is being closed: marks as observed the errors of
 * the failed Futures in its queue, with which callbacks were to be called.
 * [-0, +0, -] */
void lunado__awaited_leave(lunado_ioloop *loop);

/* Sets the finalizer of Failures, which logs errors that were never retrieved.
 * Failures made before this call have no finalizer.  [-0, +0, m] */
void lunado__awaited_open(lua_State *L, lunado_realm *realm);

/* Logs the error of the Failure at idx now, unless it was observed or is
 * awaited.  For use while the state is being closed, when new objects get no
 * finalizer.  [-0, +0, -] */
void lunado__awaited_report_now(lua_State *L, lunado_realm *realm, int idx);

#endif
