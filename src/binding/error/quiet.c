/* SPDX-License-Identifier: MIT */
/* quiet.c - quiet_exceptions: the errors that are not logged. */
#include "binding/error/quiet.h"

#include <stdarg.h>
#include <string.h>

#include "binding/error/classname.h"
#include "binding/error/exception.h"
#include "binding/state/argument.h"
#include "binding/state/log.h"
#include "binding/state/text.h"

static bool matches_pattern(lua_State *L, int err, int pattern) {
  bool found;
  lunado__text_push(L, err);
  lua_getfield(L, -1, "find"); /* strings index the string library */
  lua_insert(L, -2);
  lua_pushvalue(L, pattern);
  lua_call(L, 2, 1);
  found = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return found;
}

static bool answers_true(lua_State *L, int err, int function) {
  bool answer;
  lua_pushvalue(L, function);
  lua_pushvalue(L, err);
  lua_call(L, 1, 1);
  answer = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return answer;
}

/* True if the rule covers the error.  A list within the list covers nothing: it
 * may contain itself. */
static bool is_quiet(lua_State *L, int err, int rule) {
  if (lua_type(L, rule) == LUA_TSTRING) return matches_pattern(L, err, rule);
  if (lunado__classname_is_class(L, rule))
    return lunado__exception_isinstance(L, err, rule);
  return lunado__argument_iscallable(L, rule) && answers_true(L, err, rule);
}

/* True for a list of rules: a table that is not itself a rule. */
static bool is_list(lua_State *L, int quiet) {
  return lua_type(L, quiet) == LUA_TTABLE &&
         !lunado__classname_is_class(L, quiet) &&
         !lunado__argument_iscallable(L, quiet);
}

static bool any_is_quiet(lua_State *L, int err, int list) {
  lua_Integer n = luaL_len(L, list);
  for (lua_Integer i = 1; i <= n; i++) {
    bool found;
    lua_geti(L, list, i);
    found = is_quiet(L, err, lua_gettop(L));
    lua_pop(L, 1);
    if (found) return true;
  }
  return false;
}

/* (err, quiet_exceptions) → whether they cover the error */
static int covers(lua_State *L) {
  luaL_checkstack(L, 8, NULL);
  lua_pushboolean(L, is_list(L, 2) ? any_is_quiet(L, 1, 2) : is_quiet(L, 1, 2));
  return 1;
}

bool lunado__quiet_covers(lua_State *L, int err, int quiet) {
  bool covered;
  if (lua_isnil(L, quiet)) return false;
  luaL_checkstack(L, 8, NULL);
  lua_pushvalue(L, err);
  lua_pushvalue(L, quiet);
  lua_pushcfunction(L, covers);
  lua_insert(L, -3);
  if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
    lunado__log_value(L, lunado__realm_find(L),
                      "Exception in quiet_exceptions: ");
    return false;
  }
  covered = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return covered;
}

static bool can_be_quiet(lua_State *L, int idx, bool in_list) {
  lua_Integer n;
  if (lua_type(L, idx) == LUA_TSTRING || lunado__classname_is_class(L, idx) ||
      lunado__argument_iscallable(L, idx))
    return true;
  if (in_list || lua_type(L, idx) != LUA_TTABLE) return false;
  n = luaL_len(L, idx);
  for (lua_Integer i = 1; i <= n; i++) {
    bool fits;
    lua_geti(L, idx, i);
    fits = can_be_quiet(L, lua_gettop(L), true);
    lua_pop(L, 1);
    if (!fits) return false;
  }
  return true;
}

void lunado__quiet_check(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg) || can_be_quiet(L, arg, false)) return;
  luaL_typeerror(L, arg, "exception class, pattern, function or list of these");
}
