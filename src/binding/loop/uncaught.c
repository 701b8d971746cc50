/* SPDX-License-Identifier: MIT */
/* uncaught.c - errors that no Lua code will catch. */
#include "binding/loop/uncaught.h"

#include <math.h>
#include <stdio.h>

#include "binding/coroutine/received.h"
#include "binding/error/failure.h"

/* Registry key that marks a state for which lunado__uncaught_none was
 * called. */
static const char none_key = 0;

void lunado__uncaught_none(lua_State *L) {
  lua_pushboolean(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &none_key);
}

static bool is_caught_outside(lua_State *L) {
  bool marked = lua_rawgetp(L, LUA_REGISTRYINDEX, &none_key) != LUA_TNIL;
  lua_pop(L, 1);
  return marked;
}

static bool is_pcall(lua_State *L, lua_Debug *ar, lua_CFunction pcall_c,
                     lua_CFunction xpcall_c) {
  lua_CFunction function;
  lua_getinfo(L, "f", ar);
  function = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return function != NULL && (function == pcall_c || function == xpcall_c);
}

static lua_CFunction base_function(lua_State *L, const char *name) {
  lua_CFunction function;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  (void)lua_getfield(L, -1, LUA_GNAME);
  if (lua_istable(L, -1))
    lua_getfield(L, -1, name);
  else
    lua_pushnil(L);
  function = lua_tocfunction(L, -1);
  lua_pop(L, 3);
  return function;
}

/* True if no Lua code will catch an error that is raised now: it goes to the
 * interpreter or the host. */
static bool is_uncaught(lua_State *L, const lunado_realm *realm) {
  lua_Debug ar;
  lua_CFunction pcall_c = base_function(L, "pcall");
  lua_CFunction xpcall_c = base_function(L, "xpcall");
  if (L != realm->main || is_caught_outside(L)) return false;
  for (int level = 0; lua_getstack(L, level, &ar); level++)
    if (is_pcall(L, &ar, pcall_c, xpcall_c)) return false;
  return true;
}

int lunado__uncaught_raise(lua_State *L, lunado_realm *realm) {
  int failure = lua_gettop(L);
  lua_pushvalue(L, failure);
  lunado__received_throw(L, realm);
  if (!is_uncaught(L, realm)) return lua_error(L);
  lunado__failure_traceback(L, failure);
  if (lua_rawlen(L, -1) == 0) {
    lua_pop(L, 1);
    return lua_error(L);
  }
  if (lua_type(L, -2) == LUA_TSTRING) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
    return lua_error(L);
  }
  lunado__failure_errortext(L, failure);
  (void)fprintf(stderr, "%s\n%s\n", lua_tostring(L, -1), lua_tostring(L, -2));
  lua_pop(L, 2);
  return lua_error(L);
}
