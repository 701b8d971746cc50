/* SPDX-License-Identifier: MIT */
/* yieldable.c - converting yieldables to Futures. */
#include "binding/future/yieldable.h"

#include <string.h>

#include "binding/coroutine/coroutine.h"
#include "binding/error/exception.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/settle.h"
#include "binding/state/argument.h"

/* The greatest depth of tables nested in tables, and of __await leading to
 * __await. */
#define NESTING_MAX 100

/* Pops a key.  If a converter is registered for the key, calls it with the
 * value at `value`, pushes its result and returns true; else returns false. */
static bool convert_registered(lua_State *L, lunado_realm *realm, int value) {
  lunado__getslot(L, realm, LUNADO_SLOT_CONVERTERS);
  lua_insert(L, -2);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_pop(L, 2);
    return false;
  }
  lua_remove(L, -2);
  lua_pushvalue(L, value);
  lua_call(L, 1, 1);
  return true;
}

/* Pushes the conversion of the value at `value`: by a converter for the light
 * userdata that it is, or for its metatable; else by __await; else by a
 * converter for the name of its type.  Returns false if there is none of
 * these. */
static bool convert_object(lua_State *L, lunado_realm *realm, int value) {
  if (lua_islightuserdata(L, value)) {
    lua_pushvalue(L, value);
    if (convert_registered(L, realm, value)) return true;
  }
  if (lua_getmetatable(L, value) && convert_registered(L, realm, value))
    return true;
  if (luaL_getmetafield(L, value, "__await") != LUA_TNIL) {
    lua_pushvalue(L, value);
    lua_call(L, 1, 1);
    return true;
  }
  lua_pushstring(L, luaL_typename(L, value));
  return convert_registered(L, realm, value);
}

/* True for a table that is a list or dict: its metatable has neither __name nor
 * __index, which would make it an object. */
static bool is_plain_table(lua_State *L, int value) {
  if (!lua_istable(L, value)) return false;
  if (luaL_getmetafield(L, value, "__name") != LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  if (luaL_getmetafield(L, value, "__index") != LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  return true;
}

static int bad_yield(lua_State *L, lunado_realm *realm, int value) {
  const char *name = luaL_typename(L, value), *hint = "";
  if (luaL_getmetafield(L, value, "__name") == LUA_TSTRING)
    name = lua_tostring(L, -1);
  if (lunado__coroutine_is_function(L, value)) hint = ", which was not called";
  lunado__exception_push(L, realm, LUNADO_E_BAD_YIELD,
                         "yielded what is not yieldable: a %s%s", name, hint);
  return lua_error(L);
}

/* Pushes a multi for the table at `value`. */
static void convert_table(lua_State *L, lunado_realm *realm, int value,
                          int depth, bool shared) {
  if (!is_plain_table(L, value)) bad_yield(L, realm, value);
  if (shared)
    lunado__multi_new(L, realm, value, 0);
  else
    lunado__multi_nested(L, realm, value, depth);
}

/* Replaces the value on top by a Future.  With `shared` true, code other than
 * the Future's waiter can reach it. */
static void convert_value(lua_State *L, lunado_realm *realm, int depth,
                          bool shared) {
  int value = lua_gettop(L);
  luaL_checkstack(L, 16, NULL);
  if (depth > NESTING_MAX) {
    lunado__exception_push(L, realm, LUNADO_E_BAD_YIELD,
                           "tables of yieldables nested too deeply");
    lua_error(L);
  }
  for (int round = 0; round < NESTING_MAX; round++) {
    if (lunado__tofuture(L, realm, value) != NULL) return;
    if (lua_isnil(L, value)) {
      lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
    } else if (!convert_object(L, realm, value)) {
      convert_table(L, realm, value, depth, shared);
    }
    lua_replace(L, value);
    lua_settop(L, value);
  }
  lunado__exception_push(L, realm, LUNADO_E_BAD_YIELD,
                         "__await leads to __await without an end");
  lua_error(L);
}

void lunado__yieldable_nested(lua_State *L, lunado_realm *realm, int depth) {
  convert_value(L, realm, depth, false);
}

void lunado__yieldable_one(lua_State *L, lunado_realm *realm) {
  lunado__yieldable_nested(L, realm, 0);
}

void lunado__yieldable_convert(lua_State *L, lunado_realm *realm, int n) {
  if (n == 0) lua_pushnil(L);
  if (n <= 1) {
    lunado__yieldable_one(L, realm);
    return;
  }
  lunado__future_pack(L, n);
  lunado__multi_spread(L, realm, n);
}

int lunado__yieldable_yield(lua_State *L) {
  lunado__yieldable_convert(L, lunado__realm_find(L), lua_gettop(L));
  return 1;
}

/* --- functions ------------------------------------------------------------ */

/* gen.convert_yielded(x) → the Future of the yieldable x.
 * Tornado: gen.convert_yielded. */
static int gen_convert_yielded(lua_State *L) {
  lua_settop(L, 1);
  convert_value(L, lunado__realm_upvalue(L), 0, true);
  return 1;
}

static bool is_type_name(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TSTRING) return false;
  for (int type = 0; type < LUA_NUMTYPES; type++)
    if (strcmp(lua_tostring(L, idx), lua_typename(L, type)) == 0) return true;
  return false;
}

/* gen.convert_yielded.register(key, fn): registers fn(x), which converts a
 * value x to a yieldable, for all values whose metatable or type name is
 * `key`, or for the light userdata `key`. */
static int gen_register(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!is_type_name(L, 1) && lua_type(L, 1) != LUA_TTABLE &&
      !lua_islightuserdata(L, 1))
    luaL_typeerror(L, 1, "metatable or type name");
  lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  lunado__getslot(L, realm, LUNADO_SLOT_CONVERTERS);
  lua_insert(L, 1);
  lua_rawset(L, 1);
  return 0;
}

/* gen.maybe_future(x) → x if it is a Future, else a Future whose result is x.
 * Tornado: gen.maybe_future. */
static int gen_maybe_future(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future;
  int n = lua_gettop(L);
  if (n == 1 && lunado__tofuture(L, realm, 1) != NULL) return 1;
  lunado__future_pack(L, n);
  future = lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof *future, 1);
  future->count = (uint32_t)n;
  lua_insert(L, -2);
  lunado__settle(L, realm, lua_gettop(L) - 1, LUNADO_DONE);
  return 1;
}

static const luaL_Reg functions[] = {{"maybe_future", gen_maybe_future},
                                     {NULL, NULL}};

static const luaL_Reg converter_functions[] = {{"register", gen_register},
                                               {NULL, NULL}};

/* __call of convert_yielded, which is a callable table so that it can have the
 * field register. */
static int convert__call(lua_State *L) {
  luaL_checkany(L, 1);
  lua_remove(L, 1);
  return gen_convert_yielded(L);
}

static const luaL_Reg converter_metamethods[] = {{"__call", convert__call},
                                                 {NULL, NULL}};

void lunado__yieldable_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
  lua_createtable(L, 0, 1);
  lunado__setfunctions(L, converter_functions);
  lua_createtable(L, 0, 1);
  lunado__setfunctions(L, converter_metamethods);
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "convert_yielded");
}
