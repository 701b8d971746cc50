/* SPDX-License-Identifier: MIT */
/*
 * luv.h - sharing one uv_loop_t with luv in one Lua state.
 *
 * lunado does not link to luv.  It finds luv's context in the registry, and
 * luv's functions with dlsym in the object file that contains them.
 */
#ifndef LUNADO_BINDING_LUV_LUV_H
#define LUNADO_BINDING_LUV_LUV_H

#include "binding/state/realm.h"

/* Called when lunado is opened: if luv is loaded already, keeps its module
 * table alive.  [-0, +0, m] */
void lunado__luv_open(lua_State *L, lunado_realm *realm);

/* Returns luv's uv_loop_t if luv is loaded and calls the same libuv as lunado;
 * NULL if luv is not loaded.  If sharing is impossible, raises an error which
 * says what to do.  [-0, +0, e] */
uv_loop_t *lunado__luv_loop(lua_State *L, lunado_realm *realm);

/* Attaches luv to the new default loop.  If luv is not loaded, ensures that it
 * uses the loop's uv_loop_t when it is required later.  [-0, +0, e] */
void lunado__luv_share(lua_State *L, lunado_ioloop *loop);

/* Called when the loop is about to be closed.  If luv is required later, it
 * makes a loop of its own.  If luv shares this loop, it keeps the uv_loop_t.
 * [-0, +0, m] */
void lunado__luv_release(lua_State *L, lunado_ioloop *loop);

/* True if luv is running the uv_loop_t of the loop, so that it cannot be run
 * again.  [-0, +0, -] */
bool lunado__luv_running(lua_State *L, const lunado_ioloop *loop);

#endif
