/* SPDX-License-Identifier: MIT */
/*
 * luv.h - living beside luv in one Lua state, on one uv_loop_t.
 *
 * Nothing here links to luv: its context is found in the registry, its
 * functions by dlsym in the object file that has them.
 */
#ifndef LUNADO_BINDING_LUV_LUV_H
#define LUNADO_BINDING_LUV_LUV_H

#include "binding/state/realm.h"

void lunado__luv_open(lua_State *L, lunado_realm *realm);

/* The uv_loop_t of luv, where luv is loaded and shares lunado's libuv; NULL
 * where it is not loaded.  Raises where sharing is impossible, and says what
 * to do.  [-0, +0, e] */
uv_loop_t *lunado__luv_loop(lua_State *L, lunado_realm *realm);

/* The default loop has been made: attaches it to luv, or has luv, when it is
 * required later, use the loop's uv_loop_t.  [-0, +0, e] */
void lunado__luv_share(lua_State *L, lunado_ioloop *loop);

/* The loop is about to be closed: luv that is required from now on makes a
 * loop of its own; luv that shares this one keeps its uv_loop_t.
 * [-0, +0, m] */
void lunado__luv_release(lua_State *L, lunado_ioloop *loop);

/* True if luv is running the uv_loop_t of the loop, so that it cannot be run
 * again.  [-0, +0, -] */
bool lunado__luv_running(lua_State *L, const lunado_ioloop *loop);

#endif
