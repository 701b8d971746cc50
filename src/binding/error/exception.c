/* SPDX-License-Identifier: MIT */
/*
 * exception.c - util.Exception and the classes of lunado's own errors.
 *
 * A class is a table.  It is the metatable and the __index of its instances.
 * Its __name is its name, its __base the class from which it is derived.
 */
#include "binding/error/exception.h"

#include <stdarg.h>
#include <string.h>

#include "binding/error/classname.h"

#define MARK "lunado.class"

_Static_assert(sizeof((lunado_realm *)0)->types.exceptions /
                       sizeof(const void *) ==
                   LUNADO_E_COUNT,
               "one identity for each class");

/* Replaces the class on top by its base, or nil. */
static void to_base(lua_State *L) {
  lua_pushliteral(L, "__base");
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

bool lunado__exception_isinstance(lua_State *L, int idx, int class_idx) {
  bool found = false;
  class_idx = lua_absindex(L, class_idx);
  if (!lunado__classname_is_class(L, class_idx) ||
      lua_type(L, idx) != LUA_TTABLE)
    return false;
  if (!lua_getmetatable(L, idx)) return false;
  while (!found && lunado__classname_is_class(L, -1)) {
    found = lua_rawequal(L, -1, class_idx) != 0;
    to_base(L);
  }
  lua_pop(L, 1);
  return found;
}

void lunado__exception_pushclass(lua_State *L, lunado_realm *realm,
                                 lunado_error_class which) {
  lunado__getslot(L, realm, LUNADO_SLOT_CLASSES);
  lua_rawgeti(L, -1, (int)which + 1);
  lua_remove(L, -2);
}

/* The class of lunado's own whose address this is, or LUNADO_E_COUNT. */
static int find_own(const lunado_realm *realm, const void *class) {
  int which = 0;
  while (which < LUNADO_E_COUNT && realm->types.exceptions[which] != class)
    which++;
  return which;
}

/* Exception is the base of all of lunado's own classes, which need no walk
 * along the bases. */
bool lunado__exception_is(lua_State *L, lunado_realm *realm, int idx,
                          lunado_error_class which) {
  bool result;
  int own;
  if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx)) return false;
  own = find_own(realm, lua_topointer(L, -1));
  lua_pop(L, 1);
  if (own < LUNADO_E_COUNT)
    return own == (int)which || which == LUNADO_E_EXCEPTION;
  idx = lua_absindex(L, idx);
  lunado__exception_pushclass(L, realm, which);
  result = lunado__exception_isinstance(L, idx, -1);
  lua_pop(L, 1);
  return result;
}

void lunado__exception_push(lua_State *L, lunado_realm *realm,
                            lunado_error_class which, const char *format, ...) {
  va_list args;
  lua_createtable(L, 0, 1);
  va_start(args, format);
  lua_pushvfstring(L, format, args);
  va_end(args);
  lua_setfield(L, -2, "message");
  lunado__exception_pushclass(L, realm, which);
  lua_setmetatable(L, -2);
}

/* --- classes in Lua ------------------------------------------------------- */

static void check_class(lua_State *L, int arg) {
  if (!lunado__classname_is_class(L, arg)) luaL_typeerror(L, arg, "class");
}

/* Class(message).  Needs no upvalue, because the class is the first
 * argument. */
static int class__call(lua_State *L) {
  check_class(L, 1);
  lua_settop(L, 2);
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "message");
  lua_pushvalue(L, 1);
  lua_setmetatable(L, -2);
  return 1;
}

/* Return(...): stores its values as [1] to [n]. */
static int return__call(lua_State *L) {
  int n = lua_gettop(L) - 1;
  check_class(L, 1);
  lua_createtable(L, n, 1);
  lua_pushvalue(L, 1);
  lua_setmetatable(L, -2);
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, i + 1);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

static int class__tostring(lua_State *L) {
  lua_getfield(L, 1, "__name");
  return 1;
}

/* "TimeoutError: Timeout", or only the name if there is no message. */
static int exception__tostring(lua_State *L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__name") != LUA_TSTRING) {
    lua_settop(L, 1);
    lua_pushliteral(L, "?");
  }
  if (lua_getfield(L, 1, "message") == LUA_TNIL) {
    lua_pop(L, 1);
    return 1;
  }
  luaL_tolstring(L, -1, NULL);
  lua_pushliteral(L, ": ");
  lua_replace(L, -3);
  lua_concat(L, 3);
  return 1;
}

static void push_class(lua_State *L, const char *name, int base,
                       lua_CFunction call);

/* Returns the function that creates the objects of the class at idx. */
static lua_CFunction call_of(lua_State *L, int idx) {
  lua_CFunction call = NULL;
  if (luaL_getmetafield(L, idx, "__call") != LUA_TNIL) {
    call = lua_tocfunction(L, -1);
    lua_pop(L, 1);
  }
  return call != NULL ? call : class__call;
}

/* Exception:subclass(name) → a class derived from it. */
static int class_subclass(lua_State *L) {
  const char *name;
  check_class(L, 1);
  name = luaL_checkstring(L, 2);
  push_class(L, name, 1, call_of(L, 1));
  return 1;
}

/* Copies the field of the class at `from` to the class on top.  A subclass
 * needs its own metamethods: Lua looks them up in the metatable itself, without
 * __index. */
static void inherit(lua_State *L, const char *field, int from) {
  lua_getfield(L, from, field);
  lua_setfield(L, -2, field);
}

/* Pushes a new class.  `base` is 0 for the root class. */
static void push_class(lua_State *L, const char *name, int base,
                       lua_CFunction call) {
  lua_createtable(L, 0, 6);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, MARK);
  lua_setfield(L, -2, "__class");
  if (base != 0) {
    lua_pushvalue(L, base);
    lua_setfield(L, -2, "__base");
    inherit(L, "__tostring", base);
    inherit(L, "__concat", base);
  } else {
    lua_pushcfunction(L, exception__tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, class_subclass);
    lua_setfield(L, -2, "subclass");
  }
  lua_createtable(L, 0, 3); /* the class's own metatable */
  lua_pushcfunction(L, call);
  lua_setfield(L, -2, "__call");
  lua_pushcfunction(L, class__tostring);
  lua_setfield(L, -2, "__tostring");
  if (base != 0) {
    lua_pushvalue(L, base);
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  lunado__classname_give(L, -1);
  lua_pop(L, 1);
}

static void add_class(lua_State *L, lunado_error_class which, const char *name,
                      lua_CFunction call) {
  push_class(L, name, which == LUNADO_E_EXCEPTION ? 0 : lua_gettop(L), call);
  lua_pushvalue(L, -1);
  lua_rawseti(L, 1, (int)which + 1);
  if (which != LUNADO_E_EXCEPTION) lua_pop(L, 1);
}

/* (classes): fills the list.  Exception stays on the stack, as the base of the
 * others. */
static int open_classes(lua_State *L) {
  add_class(L, LUNADO_E_EXCEPTION, "Exception", class__call);
  add_class(L, LUNADO_E_TIMEOUT, "TimeoutError", class__call);
  add_class(L, LUNADO_E_BAD_YIELD, "BadYieldError", class__call);
  add_class(L, LUNADO_E_INVALID_STATE, "InvalidStateError", class__call);
  add_class(L, LUNADO_E_RETURN_IGNORED, "ReturnValueIgnoredError", class__call);
  add_class(L, LUNADO_E_RETURN, "Return", return__call);
  add_class(L, LUNADO_E_STREAM_CLOSED, "StreamClosedError", class__call);
  add_class(L, LUNADO_E_UNSATISFIABLE_READ, "UnsatisfiableReadError",
            class__call);
  add_class(L, LUNADO_E_STREAM_BUFFER_FULL, "StreamBufferFullError",
            class__call);
  add_class(L, LUNADO_E_CANCELLED, "CancelledError", class__call);
  return 0;
}

void lunado__exception_open(lua_State *L, lunado_realm *realm) {
  lua_pushcfunction(L, open_classes);
  lunado__getslot(L, realm, LUNADO_SLOT_CLASSES);
  lua_call(L, 1, 0);
  for (int which = 0; which < LUNADO_E_COUNT; which++) {
    lunado__exception_pushclass(L, realm, (lunado_error_class)which);
    realm->types.exceptions[which] = lua_topointer(L, -1);
    lua_pop(L, 1);
  }
}

/* --- util.isinstance ------------------------------------------------------ */

/* util.isinstance(value, class) → boolean.  Raises "bad argument …" if `class`
 * is not a class. */
static int util_isinstance(lua_State *L) {
  lua_settop(L, 2);
  check_class(L, 2);
  lua_pushboolean(L, lunado__exception_isinstance(L, 1, 2));
  return 1;
}

static const luaL_Reg functions[] = {{"isinstance", util_isinstance},
                                     {NULL, NULL}};

void lunado__exception_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
