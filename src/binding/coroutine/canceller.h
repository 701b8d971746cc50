/* SPDX-License-Identifier: MIT */
/*
 * canceller.h - functions that give up the work behind a Future.
 *
 * The canceller of a Future is called when the last that waits for the Future
 * is cancelled, and at most once.
 */
#ifndef LUNADO_BINDING_COROUTINE_CANCELLER_H
#define LUNADO_BINDING_COROUTINE_CANCELLER_H

#include "binding/state/realm.h"

/* Makes the function on top the canceller of the Future at idx, and pops it.
 * Nil removes the canceller.  [-1, +0, m] */
void lunado__canceller_set(lua_State *L, lunado_realm *realm, int idx);

/* Pushes the canceller of the Future at idx, or nil.  [-0, +1, -] */
void lunado__canceller_push(lua_State *L, const lunado_realm *realm, int idx);

/* Calls the canceller of the Future at idx, which is pending and has one.  If
 * the Future is pending afterwards, it fails with the error of the notice at
 * `notice`.  No index may be relative.  [-0, +0, -] */
void lunado__canceller_call(lua_State *L, lunado_realm *realm, int idx,
                            int notice);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__canceller_functions(lua_State *L);

#endif
