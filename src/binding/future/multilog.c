/* SPDX-License-Identifier: MIT */
/*
 * multilog.c - logging the errors of a multi besides the one that it raises.
 *
 * Children may have got their errors from each other, or all from one Future.
 * That counts as one error: it is logged once, or not at all if the multi
 * raises it.
 */
#include "binding/future/multilog.h"

#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/state/log.h"

/* Stack indices of log_others. */
enum { LOG_MULTI = 1, LOG_REALM, LOG_SEEN };

/* True if the error of the Failure at `failure` was not seen before: neither
 * the same object nor an error that originated in the same Future.  Notes the
 * error as seen.  Errors that are strings or other plain values are
 * distinguished by their origin only. */
static bool is_news(lua_State *L, int failure) {
  int top = lua_gettop(L);
  bool news;
  lua_pushvalue(L, failure);
  lunado__failure_origin(L);
  if (((lunado_failure *)lua_touserdata(L, -1))->logged) {
    lua_settop(L, top);
    return false;
  }
  lua_pushvalue(L, -1);
  news = lua_rawget(L, LOG_SEEN) == LUA_TNIL;
  lua_pop(L, 1);
  lua_getiuservalue(L, failure, LUNADO_FAILURE_ERROR);
  if (lua_type(L, -1) >= LUA_TTABLE) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, LOG_SEEN) != LUA_TNIL) news = false;
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, LOG_SEEN);
  } else {
    lua_pop(L, 1);
  }
  lua_pushboolean(L, 1);
  lua_rawset(L, LOG_SEEN);
  lua_settop(L, top);
  return news;
}

/* Logs the error of the Failure on top, of another child, unless it was seen or
 * the quiet_exceptions at `quiet` cover it. */
static void log_other(lua_State *L, lunado_realm *realm, int quiet) {
  int failure = lua_gettop(L);
  lunado__failure_observe(L, failure);
  if (!is_news(L, failure) ||
      lunado__failure_is_cancelled(L, realm, failure) ||
      lunado__quiet_covers(L, failure + 1, quiet))
    return;
  lunado__failure_mark_logged(L, realm, failure);
  lua_pushliteral(L, "Multiple exceptions in yield list: ");
  lunado__failure_text(L, failure);
  lua_concat(L, 2);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
}

/* Logs the errors of the children of the multi at `idx` that were not seen.
 * Also logs those of multis among the children, which have not logged them. */
static void log_children(lua_State *L, lunado_realm *realm, int idx) {
  const multi_part *part;
  int holder = lua_gettop(L) + 1, results = holder + 1;
  luaL_checkstack(L, 16, NULL);
  part = lunado__multi_push_holder(L, idx);
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  lua_getiuservalue(L, holder, MULTI_QUIET);
  for (int i = 1; i <= part->n; i++, lua_settop(L, results + 2)) {
    lunado_future *child;
    lunado__multi_child(L, results, part->list ? 0 : results + 1, i);
    child = lua_touserdata(L, -1);
    if (child->state != LUNADO_FAILED) continue;
    lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
    log_other(L, realm, results + 2);
    if (!(child->flags & LUNADO_IS_UNLOGGED)) continue;
    child->flags &= (uint16_t)~LUNADO_IS_UNLOGGED;
    lua_settop(L, results + 3);
    log_children(L, realm, results + 3);
  }
}

/* (multi, realm, Failure that the multi raises) */
static int log_others(lua_State *L) {
  lua_newtable(L);
  lua_insert(L, LOG_SEEN);
  (void)is_news(L, LOG_SEEN + 1);
  log_children(L, lua_touserdata(L, LOG_REALM), LOG_MULTI);
  return 0;
}

void lunado__multilog_others(lua_State *L, lunado_realm *realm, int idx,
                             int failure) {
  lua_pushcfunction(L, log_others);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, realm);
  lua_pushvalue(L, failure);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK)
    lunado__log_value(L, realm, "Errors in a yield list were not logged: ");
}
