/* SPDX-License-Identifier: MIT */
/*
 * classname.c - names for classes of errors, and finding a class by its name.
 *
 * A table in the registry maps names to classes and classes to names.  Both
 * keys and values are weak: a class that has a name can still be collected.
 */
#include "binding/error/classname.h"

#include <string.h>

#include "binding/error/exception.h"
#include "binding/state/class.h"

/* BASE_MARK separates the name of a class from that of its base.  TWIN_MARK
 * precedes the text that distinguishes two classes of one name. */
#define BASE_MARK '\n'
#define TWIN_MARK '\r'

static const char classnames_key = 0;

bool lunado__classname_is_class(lua_State *L, int idx) {
  bool result = false;
  if (!lua_istable(L, idx)) return false;
  idx = lua_absindex(L, idx);
  lua_pushliteral(L, "__class");
  if (lua_rawget(L, idx) == LUA_TSTRING)
    result = strcmp(lua_tostring(L, -1), "lunado.class") == 0;
  lua_pop(L, 1);
  return result;
}

/* Pushes the table of names.  The first use creates it.  [-0, +1, m] */
static void push_classnames(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &classnames_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lunado__class_setweak(L, "kv");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &classnames_key);
}

/* Stores the name at `name` for the class, and the class for the name.
 * [-0, +0, m] */
static void set_classname(lua_State *L, int names, int class_idx, int name) {
  lua_pushvalue(L, name);
  lua_pushvalue(L, class_idx);
  lua_rawset(L, names);
  lua_pushvalue(L, class_idx);
  lua_pushvalue(L, name);
  lua_rawset(L, names);
}

/* Pushes a name for the class that no other class of this state has.
 * [-0, +1, m] */
static void push_new_classname(lua_State *L, int names, int class_idx) {
  const char *own;
  lua_pushliteral(L, "__name");
  lua_rawget(L, class_idx);
  own = luaL_optstring(L, -1, "?");
  lua_pushliteral(L, "__base");
  if (lua_rawget(L, class_idx) == LUA_TTABLE)
    lunado__classname_give(L, lua_gettop(L));
  else
    lua_pushliteral(L, "");
  lua_pushfstring(L, "%s%c%s", own, BASE_MARK, lua_tostring(L, -1));
  lua_pushvalue(L, -1);
  if (lua_rawget(L, names) != LUA_TNIL)
    lua_pushfstring(L, "%s%c%p%c%s", own, TWIN_MARK,
                    lua_topointer(L, class_idx), BASE_MARK,
                    lua_tostring(L, -3));
  else
    lua_pushvalue(L, -2);
  lua_insert(L, -6);
  lua_pop(L, 5);
}

void lunado__classname_give(lua_State *L, int idx) {
  int names;
  luaL_checkstack(L, 12, NULL);
  idx = lua_absindex(L, idx);
  push_classnames(L);
  names = lua_gettop(L);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, names) == LUA_TNIL) {
    lua_pop(L, 1);
    push_new_classname(L, names, idx);
    set_classname(L, names, idx, lua_gettop(L));
  }
  lua_remove(L, names);
}

/* Replaces the class on top by a new class derived from it, and stores `name`
 * as the new class's name.  `name` begins with the class's own name.
 * [-1, +1, m] */
static void derive_class(lua_State *L, const char *name, size_t length) {
  size_t own = strcspn(name, "\r\n");
  lua_getfield(L, -1, "subclass");
  lua_insert(L, -2);
  lua_pushlstring(L, name, own);
  lua_call(L, 2, 1);
  push_classnames(L);
  lua_pushlstring(L, name, length);
  set_classname(L, lua_gettop(L) - 1, lua_gettop(L) - 2, lua_gettop(L));
  lua_pop(L, 2);
}

/* If this state has a class of that name, pushes it and returns true.
 * [-0, +(0|1), m] */
static bool push_known_class(lua_State *L, const char *name, size_t length) {
  push_classnames(L);
  lua_pushlstring(L, name, length);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* Gives names to the classes of the binding's own errors.  They must have names
 * before a class is looked up by name. */
static void name_own_classes(lua_State *L, lunado_realm *realm) {
  for (int which = 0; which < LUNADO_E_COUNT; which++) {
    lunado__exception_pushclass(L, realm, (lunado_error_class)which);
    lunado__classname_give(L, -1);
    lua_pop(L, 2);
  }
}

void lunado__classname_find(lua_State *L, const char *name, size_t length) {
  lunado_realm *realm = lunado__realm(L);
  const char *end = name + length, *from = name;
  luaL_checkstack(L, 12, NULL);
  name_own_classes(L, realm);
  while (from < end && !push_known_class(L, from, (size_t)(end - from)))
    from = (const char *)memchr(from, BASE_MARK, (size_t)(end - from)) + 1;
  if (from == end) lunado__exception_pushclass(L, realm, LUNADO_E_EXCEPTION);
  while (from > name) {
    for (from--; from > name && from[-1] != BASE_MARK;) from--;
    derive_class(L, from, (size_t)(end - from));
  }
}
