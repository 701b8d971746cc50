/* SPDX-License-Identifier: MIT */
/* argument.c - checks of arguments. */
#include "binding/state/argument.h"

/* The longest chain of __call metamethods that is followed: a __call may itself
 * be an object with a __call, and the chain may be circular. */
#define CALL_DEPTH 16

bool lunado__argument_iscallable(lua_State *L, int idx) {
  int top;
  bool callable = false;
  if (lua_isfunction(L, idx)) return true;
  top = lua_gettop(L);
  luaL_checkstack(L, 4, NULL);
  lua_pushvalue(L, idx);
  for (int depth = 0; depth < CALL_DEPTH && !callable; depth++) {
    if (luaL_getmetafield(L, -1, "__call") == LUA_TNIL) break;
    lua_replace(L, top + 1);
    callable = lua_isfunction(L, -1) != 0;
  }
  lua_settop(L, top);
  return callable;
}

/* is_callable(x) → boolean: whether x can be called.  For Lua modules that
 * check their arguments.  It also finds the __call of a protected metatable. */
static int core_is_callable(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, lunado__argument_iscallable(L, 1));
  return 1;
}

void lunado__checkcallable(lua_State *L, int arg) {
  if (!lunado__argument_iscallable(L, arg)) luaL_typeerror(L, arg, "function");
}

double lunado__checkseconds(lua_State *L, int arg) {
  double seconds;
  if (lua_type(L, arg) != LUA_TNUMBER) luaL_typeerror(L, arg, "number");
  seconds = (double)lua_tonumber(L, arg);
  luaL_argcheck(L, seconds == seconds, arg, "a time cannot be NaN");
  return seconds;
}

static const luaL_Reg functions[] = {{"is_callable", core_is_callable},
                                     {NULL, NULL}};

void lunado__argument_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
