/* SPDX-License-Identifier: MIT */
/* await.h - gen.await, and how C functions wait for a Future. */
#ifndef LUNADO_BINDING_COROUTINE_AWAIT_H
#define LUNADO_BINDING_COROUTINE_AWAIT_H

#include "binding/state/realm.h"

/* Suspends the running coroutine until the Future at idx, which is pending, is
 * settled.  Then k runs; it must first call lunado__await_result.  Raises an
 * error if L is not the thread of a coroutine of lunado's, or cannot yield.  A
 * C function calls it as: return lunado__await(...).  [-?, +?, e] */
int lunado__await(lua_State *L, lunado_realm *realm, int idx, lua_KContext ctx,
                  lua_KFunction k);

/* In the continuation of lunado__await: returns the number of the Future's
 * results, which are on top, or raises its error.  `top` is the height of the
 * stack when lunado__await was called.  [-0, +0, v] */
int lunado__await_result(lua_State *L, lunado_realm *realm, int top);

/* Raises the error of the failed Future at idx.  The traceback of the running
 * coroutine then continues with that of the Future.  [-0, +0, v] */
int lunado__await_raise(lua_State *L, lunado_realm *realm, int idx);

/* If L is the thread of another library's coroutine, raises an error that says
 * how to wait there (set_foreign).  Called before errors about waits that are
 * not possible.  [-0, +0, v] */
void lunado__await_foreign(lua_State *L, const lunado_realm *realm);

/* Adds gen.await to the table on top. */
void lunado__await_functions(lua_State *L);

#endif
