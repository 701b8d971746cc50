/* SPDX-License-Identifier: MIT */
/* await.h - gen.await, and waiting in C functions. */
#ifndef LUNADO_BINDING_COROUTINE_AWAIT_H
#define LUNADO_BINDING_COROUTINE_AWAIT_H

#include "binding/state/realm.h"

/* Yields for the Future at idx, which is pending; k runs when it is done, and
 * begins with lunado__await_result.  Raises where the running function is not a
 * coroutine of lunado's, or cannot yield.  For C functions:
 * return lunado__await(...).  [-?, +?, e] */
int lunado__await(lua_State *L, lunado_realm *realm, int idx, lua_KContext ctx,
                  lua_KFunction k);

/* In the continuation of lunado__await, with `top` the stack's height when
 * that was called: raises the Future's error, or returns the number of its
 * results, which are on top.  [-0, +0, v] */
int lunado__await_result(lua_State *L, lunado_realm *realm, int top);

/* Raises the error of the Future at idx, which has failed; the traceback of
 * the running coroutine goes on with the Future's.  [-0, +0, v] */
int lunado__await_raise(lua_State *L, lunado_realm *realm, int idx);

/* Adds gen.await to the table on top. */
void lunado__await_functions(lua_State *L);

#endif
