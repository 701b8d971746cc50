/* SPDX-License-Identifier: MIT */
#include "binding/luv.h"
void lunado__luv_open(lua_State *L, lunado_realm *realm) { (void)L, (void)realm; }
uv_loop_t *lunado__luv_loop(lua_State *L, lunado_realm *realm) { (void)L, (void)realm; return NULL; }
void lunado__luv_share(lua_State *L, lunado_ioloop *loop) { (void)L, (void)loop; }
void lunado__luv_release(lua_State *L, lunado_ioloop *loop) { (void)L, (void)loop; }
