/* SPDX-License-Identifier: MIT */
/* A C module for the interpreter, which uses lunado.h and links nothing. */
#include <lauxlib.h>
#include <lua.h>
#include <lunado.h>

/* require "soon" (...) -> a Future of its arguments */
static int soon(lua_State *L) {
  lunado_newfuture(L);
  lua_insert(L, 1);
  lunado_setresult(L, 1, lua_gettop(L) - 1);
  return 1;
}

int luaopen_soon(lua_State *L);

int luaopen_soon(lua_State *L) {
  lua_pushcfunction(L, soon);
  return 1;
}
