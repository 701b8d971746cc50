/* SPDX-License-Identifier: MIT */
/*
 * waits.c - notifying the waiter of a handle that luv closes.
 *
 * When a handle is closed, libuv calls the callbacks of its pending requests.
 * It does not call the callbacks that wait for events: data, a datagram, the
 * end of a process.  So luv's functions that close a handle are replaced, in
 * luv's module table and among the methods of handles, by a function that also
 * notifies the waiter.
 */
#include "binding/luv/waits.h"

#include "binding/luv/attachment.h"

/* Upvalues of close_and_call: the table of waits, and luv's function. */
enum { UP_WAITS = 1, UP_OWN = 2 };

/* Removes the function of the handle at 1 from the table of waits and calls it.
 * Does nothing if luv has not closed the handle, or while the state is being
 * closed. */
static void call_waiting(lua_State *L) {
  const uv_handle_t *handle = *(uv_handle_t **)lua_touserdata(L, 1);
  const lunado_attachment *luv = lunado__realm_find(L)->luv;
  if (!uv_is_closing(handle) || (luv != NULL && luv->ending)) return;
  lua_pushvalue(L, 1);
  lua_rawget(L, lua_upvalueindex(UP_WAITS));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  lua_rawset(L, lua_upvalueindex(UP_WAITS));
  lua_pushliteral(L, "ECANCELED");
  lua_pushvalue(L, 1);
  lua_call(L, 2, 0);
}

static bool is_waited_for(lua_State *L) {
  bool is;
  if (lua_type(L, 1) != LUA_TUSERDATA) return false;
  lua_pushvalue(L, 1);
  is = lua_rawget(L, lua_upvalueindex(UP_WAITS)) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* (handle, ...): replaces luv's function.  It calls that function directly in
 * C, so that errors name the caller's line, and returns its results. */
static int close_and_call(lua_State *L) {
  lua_CFunction own = lua_tocfunction(L, lua_upvalueindex(UP_OWN));
  int results;
  if (!is_waited_for(L)) return own(L);
  results = own(L);
  call_waiting(L);
  return results;
}

/* Sets the field `name` of the table at idx to the function on top, if it is
 * luv's function `own`. */
static void replace(lua_State *L, int idx, const char *name,
                    lua_CFunction own) {
  idx = lua_absindex(L, idx);
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  if (lua_tocfunction(L, -1) == own) {
    lua_pushstring(L, name);
    lua_pushvalue(L, -3);
    lua_rawset(L, idx);
  }
  lua_pop(L, 1); /* the field's old value */
}

/* Sets the method `name` of each handle type to the function on top, if the
 * method is luv's function `own`. */
static void replace_methods(lua_State *L, const char *name, lua_CFunction own) {
  int function = lua_gettop(L);
  if (lua_getfield(L, LUA_REGISTRYINDEX, "uv_handle") != LUA_TTABLE) return;
  for (lua_pushnil(L); lua_next(L, function + 1) != 0;) {
    lua_settop(L, function + 2); /* the key is the type's metatable */
    if (!lua_istable(L, -1)) continue;
    if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
      lua_pushvalue(L, function);
      replace(L, -2, name, own);
    }
    lua_settop(L, function + 2);
  }
}

/* Replaces luv's function `name`, and each method `method` that is the same
 * function.  Keeps a function that is not luv's: other code has put it
 * there. */
static void install(lua_State *L, int waits, int luv, const char *name,
                    const char *method) {
  int top = lua_gettop(L);
  lua_CFunction own;
  lua_pushvalue(L, waits);
  lua_pushstring(L, name);
  lua_rawget(L, luv);
  own = lua_tocfunction(L, -1);
  if (own != NULL && lua_getupvalue(L, -1, 1) == NULL) {
    lua_pushcclosure(L, close_and_call, 2);
    replace(L, luv, name, own);
    replace_methods(L, method, own);
  }
  lua_settop(L, top);
}

/* core.watch_closing(luv) → the table of waits, handle -> function, with weak
 * keys.  As soon as luv has begun to close a handle, the function of the handle
 * is removed from the table and called with "ECANCELED" and the handle. */
static int watch_closing(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, 2);
  install(L, 2, 1, "close", "close");
  install(L, 2, 1, "tcp_close_reset", "close_reset");
  return 1;
}

static const luaL_Reg functions[] = {{"watch_closing", watch_closing},
                                     {NULL, NULL}};

void lunado__waits_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
