/* SPDX-License-Identifier: MIT */
/*
 * timedout.c - the marks of with_timeouts that timed out, and logging later
 * errors.
 *
 * A table of the realm maps a Future to the list of the quiet_exceptions of all
 * with_timeouts that timed out on it.  Equal quiet_exceptions are in the list
 * once, because a program that calls with_timeout in a loop may pass a new
 * table or closure each time.  If there are too many, or no memory for them,
 * the Future is marked as for a with_timeout without quiet_exceptions: logging
 * an error too many is better than losing one.
 */
#include "binding/future/timedout.h"

#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/done.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/ticket.h"
#include "binding/state/log.h"

/* The number of different quiet_exceptions that are kept per Future. */
#define QUIET_MAX 16

/* --- equal quiet_exceptions ----------------------------------------------- */

static bool same_upvalues(lua_State *L, int a, int b) {
  for (int i = 1; lua_getupvalue(L, a, i) != NULL; i++) {
    bool same;
    if (lua_getupvalue(L, b, i) == NULL) {
      lua_pop(L, 1);
      return false;
    }
    same = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    if (!same) return false;
  }
  return true;
}

/* Adds a piece of a function's code to its hash, FNV-1a. */
static int add_code(lua_State *L, const void *piece, size_t size, void *data) {
  const unsigned char *bytes = piece;
  uint64_t *hash = data;
  (void)L;
  for (size_t i = 0; i < size; i++)
    *hash = (*hash ^ bytes[i]) * UINT64_C(1099511628211);
  return 0;
}

static uint64_t hash_code(lua_State *L, int idx) {
  uint64_t hash = UINT64_C(14695981039346656037);
  lua_pushvalue(L, idx);
  (void)lua_dump(L, add_code, &hash, 0);
  lua_pop(L, 1);
  return hash;
}

/* True for two closures of one function with equal upvalues. */
static bool same_function(lua_State *L, int a, int b) {
  if (!lua_isfunction(L, a) || !lua_isfunction(L, b) || lua_iscfunction(L, a) ||
      lua_iscfunction(L, b))
    return false;
  return same_upvalues(L, a, b) && hash_code(L, a) == hash_code(L, b);
}

static bool same_rule(lua_State *L, int a, int b) {
  return lua_rawequal(L, a, b) || same_function(L, a, b);
}

/* True if the quiet_exceptions at a and b are equal.  A table without a list
 * part is a class, and equals only itself. */
static bool same_rules(lua_State *L, int a, int b) {
  lua_Unsigned n;
  int top = lua_gettop(L);
  bool same = true;
  if (same_rule(L, a, b)) return true;
  if (!lua_istable(L, a) || !lua_istable(L, b)) return false;
  n = lua_rawlen(L, a);
  if (n == 0 || n != lua_rawlen(L, b)) return false;
  for (lua_Unsigned i = 1; same && i <= n; i++) {
    lua_rawgeti(L, a, (lua_Integer)i);
    lua_rawgeti(L, b, (lua_Integer)i);
    same = same_rule(L, top + 1, top + 2);
    lua_settop(L, top);
  }
  return same;
}

/* --- marks ---------------------------------------------------------------- */

/* Pushes the list of quiet_exceptions of the Future at 2, or nil; returns
 * whether it is there.  With `make` true, makes a missing list. */
static bool push_list(lua_State *L, lunado_realm *realm, bool make) {
  lunado__getslot(L, realm, LUNADO_SLOT_QUIET);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, -2) == LUA_TNIL && make) {
    lua_newtable(L);
    lua_replace(L, -2);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
  return !lua_isnil(L, -1);
}

/* (realm, future, quiet): adds `quiet` to the Future's list unless the list
 * contains it. */
static int add_quiet(lua_State *L) {
  lunado_future *future = lua_touserdata(L, 2);
  lua_Integer n;
  luaL_checkstack(L, 12, NULL);
  (void)push_list(L, lua_touserdata(L, 1), true);
  n = (lua_Integer)lua_rawlen(L, 4);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 4, i);
    if (same_rules(L, 3, 5)) return 0;
    lua_settop(L, 4);
  }
  if (n == QUIET_MAX) return luaL_error(L, "too many");
  lua_pushvalue(L, 3);
  lua_rawseti(L, 4, n + 1);
  future->flags |= LUNADO_IS_TIMED_OUT_QUIET;
  return 0;
}

void lunado__timedout_mark(lua_State *L, lunado_realm *realm, int idx,
                           int quiet) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future)) return;
  if (lunado__multi_is_sole(future)) {
    lunado__multi_mark_timedout(L, realm, idx, quiet);
    return;
  }
  if (future->flags & LUNADO_IS_TIMED_OUT) return;
  if (!lua_isnil(L, quiet) && lua_checkstack(L, LUA_MINSTACK)) {
    lua_pushcfunction(L, add_quiet);
    lua_pushlightuserdata(L, realm);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, quiet);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
    lua_pop(L, 1);
  }
  future->flags |= LUNADO_IS_TIMED_OUT;
}

/* (realm, future, from): copies the marks with quiet_exceptions. */
static int add_all(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lua_Integer n;
  lua_insert(L, 2); /* realm from future */
  if (!push_list(L, realm, false)) return 0;
  n = (lua_Integer)lua_rawlen(L, 4);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 4, i);
    lunado__timedout_mark(L, realm, 3, 5);
    lua_settop(L, 4);
  }
  return 0;
}

void lunado__timedout_copy(lua_State *L, lunado_realm *realm, int idx,
                           int from) {
  const lunado_future *source = lua_touserdata(L, from);
  if (source->flags & LUNADO_IS_TIMED_OUT_QUIET &&
      !(source->flags & LUNADO_IS_TIMED_OUT)) {
    lua_pushcfunction(L, add_all);
    lua_pushlightuserdata(L, realm);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, from);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
    lua_pop(L, 1);
  } else if (!(source->flags & LUNADO_IS_TIMED_OUT)) {
    return;
  }
  lua_pushnil(L);
  lunado__timedout_mark(L, realm, idx, lua_gettop(L));
  lua_pop(L, 1);
}

/* --- failures ------------------------------------------------------------- */

bool lunado__timedout_unheeded(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  if (!(future->flags & (LUNADO_IS_TIMED_OUT | LUNADO_IS_TIMED_OUT_QUIET)))
    return false;
  if (waiter == NULL ||
      (future->kind == LUNADO_KIND_TICKET && lunado__ticket_is_idle(future)))
    return true;
  do {
    if (!lunado__done_is_callback(waiter)) return false;
    waiter = waiter->next;
  } while (waiter != future->waiters);
  return true;
}

/* (realm, failed future, quiet_exceptions...): logs the error unless it was
 * reported, is awaited, or all of the quiet_exceptions cover it.  A ticket
 * without waiters fails because the program asks for its outcome or because it
 * is being dropped; so its error is not logged here, but when it is collected
 * unobserved. */
static int log_error(lua_State *L) {
  lunado_failure *failure;
  int top = lua_gettop(L), quiet = 3;
  lua_getiuservalue(L, 2, LUNADO_FUTURE_VALUE);
  failure = lua_touserdata(L, -1);
  if (failure->observed || failure->logged || failure->queued ||
      failure->home != 0 ||
      lunado__failure_is_cancelled(L, lua_touserdata(L, 1), top + 1))
    return 0;
  lunado__failure_observe(L, top + 1);
  while (quiet <= top && lunado__quiet_covers(L, top + 2, quiet)) quiet++;
  if (top > 2 && quiet > top) return 0;
  if (((lunado_future *)lua_touserdata(L, 2))->kind == LUNADO_KIND_TICKET) {
    failure->observed = false;
    return 0;
  }
  lunado__failure_mark_logged(L, lua_touserdata(L, 1), top + 1);
  lua_pushliteral(L, "Error in a Future after its timeout: ");
  lunado__failure_text(L, top + 1);
  lua_concat(L, 2);
  lunado__log(L, lua_touserdata(L, 1), LUNADO_LOG_ERROR);
  return 0;
}

/* Calls log_error with the n quiet_exceptions on top, and pops them. */
static void log_protected(lua_State *L, lunado_realm *realm, int idx, int n) {
  lua_pushcfunction(L, log_error);
  lua_pushlightuserdata(L, realm);
  lua_pushvalue(L, idx);
  lua_rotate(L, -(n + 3), 3);
  if (lua_pcall(L, n + 2, 0, 0) == LUA_OK) return;
  lunado__log_value(L, realm,
                    "Error in a Future after its timeout was not "
                    "logged: ");
}

/* (failure, quiet_exceptions): marks a covered error as observed. */
static int hush(lua_State *L) {
  lunado_failure *failure = lua_touserdata(L, 1);
  lua_getiuservalue(L, 1, LUNADO_FAILURE_ERROR);
  if (lunado__quiet_covers(L, 3, 2)) failure->observed = true;
  return 0;
}

void lunado__timedout_hush(lua_State *L, int idx, int quiet) {
  if (lua_isnil(L, quiet) || !lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, hush);
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lua_pushvalue(L, quiet);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
}

void lunado__timedout_log(lua_State *L, lunado_realm *realm, int idx,
                          int quiet) {
  bool any = !lua_isnil(L, quiet);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  if (any) lua_pushvalue(L, quiet);
  log_protected(L, realm, idx, any ? 1 : 0);
}

void lunado__timedout_failed(lua_State *L, lunado_realm *realm, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  int n = 0, list;
  if (future->state != LUNADO_FAILED ||
      !lua_checkstack(L, QUIET_MAX + LUA_MINSTACK))
    return;
  lunado__getslot(L, realm, LUNADO_SLOT_QUIET);
  list = lua_gettop(L);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, list) == LUA_TTABLE &&
      !(future->flags & LUNADO_IS_TIMED_OUT)) {
    n = (int)lua_rawlen(L, list + 1);
    for (int i = 1; i <= n; i++) lua_rawgeti(L, list + 1, i);
  }
  log_protected(L, realm, idx, n);
  lua_settop(L, list - 1);
}
