/* SPDX-License-Identifier: MIT */
/*
 * unsendable.c - the error for a value that cannot be sent, with its path.
 *
 * No path is recorded while values are encoded.  For an error, the path is
 * found by search: from object p->current up to the sent values, each object is
 * searched for in the parent where it was first met.
 */
#include "binding/thread/unsendable.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

/* A path shows this many steps at each end, and this many bytes of a name. */
#define PATH_ENDS 5
#define PATH_NAME_MAX 60

/* Pushes `what` and the string at idx as a quoted name, which is cut if it is
 * long.  [-0, +1, m] */
static void push_named(lua_State *L, const char *what, int idx) {
  size_t length;
  const char *name = lua_tolstring(L, idx, &length);
  if (length > PATH_NAME_MAX) {
    lua_pushlstring(L, name, PATH_NAME_MAX);
    lua_pushfstring(L, "%s '%s...'", what, lua_tostring(L, -1));
    lua_remove(L, -2);
  } else {
    lua_pushfstring(L, "%s '%s'", what, name);
  }
}

/* Pushes the step for the key at `idx`.  [-0, +1, m] */
static void push_key(lua_State *L, int idx) {
  switch (lua_type(L, idx)) {
  case LUA_TSTRING:
    push_named(L, "field", idx);
    break;
  case LUA_TNUMBER:
    lua_pushvalue(L, idx); /* lua_tostring would change the key itself */
    lua_pushfstring(L, "index [%s]", lua_tostring(L, -1));
    lua_remove(L, -2);
    break;
  case LUA_TBOOLEAN:
    lua_pushfstring(L, "index [%s]", lua_toboolean(L, idx) ? "true" : "false");
    break;
  default:
    lua_pushfstring(L, "index [%s]", luaL_typename(L, idx));
  }
}

/* True if the value at idx is the value at `child`, or is replaced by it when
 * it is sent.
 * [-0, +0, -] */
static bool is_sent_as(lua_State *L, const lunado__packing *p, int idx,
                       int child) {
  bool same;
  if (lua_rawequal(L, idx, child)) return true;
  if (!lua_isfunction(L, idx) || !lunado__parcel_push_substitute(L, p, idx))
    return false;
  same = lua_rawequal(L, -1, child) != 0;
  lua_pop(L, 1);
  return same;
}

/* If the table on top contains the value at `child`, pushes the step to it and
 * returns true.  [-0, +(0|1), m] */
static bool push_place_in_table(lua_State *L, const lunado__packing *p,
                                int child) {
  lua_pushnil(L);
  while (lua_next(L, -2) != 0) {
    bool found = true;
    if (is_sent_as(L, p, -1, child))
      push_key(L, -2);
    else if (is_sent_as(L, p, -2, child))
      lua_pushliteral(L, "key");
    else
      found = false;
    if (found) {
      lua_replace(L, -3);
      lua_pop(L, 1);
      return true;
    }
    lua_pop(L, 1);
  }
  return false;
}

/* Like push_place_in_table, for the upvalues of the function on top.
 * [-0, +(0|1), m] */
static bool push_place_in_function(lua_State *L, const lunado__packing *p,
                                   int child) {
  const char *name;
  int n;
  for (n = 1; (name = lua_getupvalue(L, -1, n)) != NULL; n++) {
    bool found = is_sent_as(L, p, -1, child);
    lua_pop(L, 1);
    if (found) {
      lua_pushfstring(L, "upvalue '%s'", name);
      return true;
    }
  }
  return false;
}

/* Like push_place_in_table, for the values to be sent.  [-0, +(0|1), m] */
static bool push_place_in_values(lua_State *L, const lunado__packing *p,
                                 int child) {
  int i;
  for (i = 0; i < p->parcel.count; i++) {
    if (is_sent_as(L, p, p->first + i, child)) {
      p->route->push_root(L, p->route,
                          i > p->route->folded ? i - p->route->folded : 0);
      return true;
    }
  }
  return false;
}

/* Pushes the object with the number `owner`.  [-0, +1, -] */
static void push_owner(lua_State *L, const lunado__packing *p, size_t owner) {
  if (p->listed)
    lua_rawgeti(L, p->known, (lua_Integer)owner);
  else
    lua_pushvalue(L, p->known);
}

/* Pushes the step from object `owner` to the value at `child`; "?" if a
 * finalizer has removed the value meanwhile.  [-0, +1, m] */
static void push_step(lua_State *L, const lunado__packing *p, size_t owner,
                      int child) {
  bool found;
  if (owner == 0) {
    found = push_place_in_values(L, p, child);
  } else {
    push_owner(L, p, owner);
    found = lua_istable(L, -1) ? push_place_in_table(L, p, child)
                               : push_place_in_function(L, p, child);
    lua_remove(L, found ? -2 : -1);
  }
  if (!found) lua_pushliteral(L, "?");
}

static size_t parent_of(const lunado__packing *p, size_t object) {
  size_t parent;
  memcpy(&parent, p->parents.data + (object - 1) * sizeof parent,
         sizeof parent);
  return parent;
}

/* Replaces the table of `count` steps on top by one string, with the last step
 * first.
 * [-1, +1, m] */
static void join_steps(lua_State *L, lua_Integer count) {
  int steps = lua_gettop(L);
  luaL_Buffer path;
  lua_Integer i;
  luaL_buffinit(L, &path);
  for (i = count; i >= 1; i--) {
    if (i < count) luaL_addstring(&path, ", ");
    if (i == count - PATH_ENDS && i > PATH_ENDS + 1) {
      luaL_addstring(&path, "...");
      i = PATH_ENDS + 1;
    } else {
      lua_rawgeti(L, steps, i);
      luaL_addvalue(&path);
    }
  }
  luaL_pushresult(&path);
  lua_remove(L, steps);
}

/* Pushes the path from the sent values to the value at `idx`, which was met in
 * object p->current.  [-0, +1, m] */
static void push_path(lua_State *L, const lunado__packing *p, int idx) {
  size_t owner = p->current;
  lua_Integer count = 0;
  int child, steps;
  lua_pushvalue(L, idx);
  child = lua_gettop(L);
  lua_newtable(L);
  steps = lua_gettop(L);
  for (;;) {
    push_step(L, p, owner, child);
    lua_rawseti(L, steps, ++count);
    if (owner == 0) break;
    push_owner(L, p, owner);
    lua_replace(L, child);
    owner = parent_of(p, owner);
  }
  join_steps(L, count);
  lua_remove(L, child);
}

void lunado__unsendable_raise(lua_State *L, const lunado__packing *p, int idx,
                              const char *what) {
  luaL_checkstack(L, 20, NULL);
  push_path(L, p, idx);
  luaL_where(L, p->route->level);
  lua_pushfstring(L, "%scannot send a %s %s: %s", lua_tostring(L, -1), what,
                  p->route->way, lua_tostring(L, -2));
  lua_error(L);
}
