/* SPDX-License-Identifier: MIT */
/*
 * multi.c - gen.multi.
 *
 * The table of results is made at the start, with the children in it under
 * their keys.  So the children are held, and collecting the results only
 * replaces values under keys that exist: it allocates nothing.
 */
#include "binding/multi.h"

#include <stdlib.h>

#include "binding/awaited.h"
#include "binding/convert.h"
#include "binding/failure.h"
#include "binding/future.h"
#include "binding/late.h"
#include "core/multi.h"

/* A Future; user values, beside its own: the table of results, the keys in
 * order (nil where they are 1 to n), quiet_exceptions. */
enum { MULTI_RESULTS = 2, MULTI_KEYS, MULTI_QUIET, MULTI_VALUES = MULTI_QUIET };

typedef struct {
  lunado_future future;
  lunado_multi multi;
  int n;       /* children */
  bool list;   /* their keys are 1 to n */
  bool spread; /* the results are values of their own, not a table */
  lunado_multi_node nodes[];
} multi_future;

/* --- keys ----------------------------------------------------------------- */

/* Counts the pairs of the table at idx; *list tells whether the keys are 1 to
 * n in order. */
static int count_pairs(lua_State *L, int idx, bool *list) {
  lua_Integer n = 0;
  *list = true;
  for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
    n++;
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != n) *list = false;
  }
  return (int)n;
}

static int compare_integers(const void *a, const void *b) {
  lua_Integer x = *(const lua_Integer *)a, y = *(const lua_Integer *)b;
  return (x > y) - (x < y);
}

/* Pushes the keys of the table at idx, n in all: integers in order, then the
 * others. */
static void push_keys(lua_State *L, int idx, int n) {
  lua_Integer *integers;
  int keys, count = 0, next;
  lua_createtable(L, n, 0);
  keys = lua_gettop(L);
  integers = lua_newuserdatauv(L, (size_t)n * sizeof *integers, 0);
  for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
    if (lua_isinteger(L, -2)) integers[count++] = lua_tointeger(L, -2);
  qsort(integers, (size_t)count, sizeof *integers, compare_integers);
  for (next = 0; next < count; next++) {
    lua_pushinteger(L, integers[next]);
    lua_rawseti(L, keys, next + 1);
  }
  for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
    if (lua_isinteger(L, -2)) continue;
    lua_pushvalue(L, -2);
    lua_rawseti(L, keys, ++next);
  }
  lua_settop(L, keys);
}

/* Pushes table[key number i]; the keys are at `keys`, 0: they are 1 to n. */
static void get_nth(lua_State *L, int table, int keys, int i) {
  if (keys == 0) {
    lua_rawgeti(L, table, i);
    return;
  }
  lua_rawgeti(L, keys, i);
  lua_rawget(L, table);
}

/* table[key number i] = the value on top, which it pops. */
static void set_nth(lua_State *L, int table, int keys, int i) {
  if (keys == 0) {
    lua_rawseti(L, table, i);
    return;
  }
  lua_rawgeti(L, keys, i);
  lua_insert(L, -2);
  lua_rawset(L, table);
}

/* --- collecting ----------------------------------------------------------- */

/* Stack of log_others. */
enum { LOG_MULTI = 1, LOG_REALM, LOG_SEEN };

/* True for an error that was not seen before, neither as the same object nor as
 * one that has come from the same Future; notes it.  The Failure is at
 * `failure`; only strings and other plain values need to know their origin. */
static bool is_news(lua_State *L, int failure) {
  int top = lua_gettop(L);
  bool news;
  lua_pushvalue(L, failure);
  lunado__failure_origin(L);
  if (((lunado_failure *)lua_touserdata(L, -1))->told) {
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

/* The Failure of another child is on top, quiet_exceptions at `quiet`. */
static void log_other(lua_State *L, lunado_realm *realm, int quiet) {
  int failure = lua_gettop(L);
  lunado__failure_observe(L, failure);
  if (!is_news(L, failure) || lunado__isquiet(L, failure + 1, quiet)) return;
  lunado__failure_told(L, realm, failure);
  lua_pushliteral(L, "Multiple exceptions in yield list: ");
  lunado__failure_text(L, failure);
  lua_concat(L, 2);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
}

/* Logs the errors of the multi at `idx` that are news, and those that the
 * multis among its children have left to it. */
static void log_children(lua_State *L, lunado_realm *realm, int idx) {
  multi_future *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  luaL_checkstack(L, 16, NULL);
  lua_getiuservalue(L, idx, MULTI_RESULTS);
  lua_getiuservalue(L, idx, MULTI_KEYS);
  lua_getiuservalue(L, idx, MULTI_QUIET);
  for (int i = 1; i <= self->n; i++, lua_settop(L, top + 3)) {
    lunado_future *child;
    get_nth(L, top + 1, self->list ? 0 : top + 2, i);
    child = lua_touserdata(L, -1);
    if (child->state != LUNADO_FAILED) continue;
    lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
    log_other(L, realm, top + 3);
    if (!(child->flags & LUNADO_IS_UNTOLD)) continue;
    child->flags &= (uint16_t)~LUNADO_IS_UNTOLD;
    lua_settop(L, top + 4);
    log_children(L, realm, top + 4);
  }
}

/* (multi, realm, Failure that is raised): logs the other errors, but for quiet
 * ones. */
static int log_others(lua_State *L) {
  lua_newtable(L);
  lua_insert(L, LOG_SEEN);
  (void)is_news(L, LOG_SEEN + 1);
  log_children(L, lua_touserdata(L, LOG_REALM), LOG_MULTI);
  return 0;
}

/* True if all that waits for the Future is one multi. */
static bool is_child_only(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter != NULL && waiter->next == waiter && lunado_multi_owns(waiter);
}

/* Fails the multi at `idx` with the error of its child that is on top.  Where
 * it is itself a child, and nobody else's, what else failed is for the multi
 * above to log, which may raise just that. */
static void fail_with(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *self = lua_touserdata(L, idx);
  int failure = lua_gettop(L) + 1;
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  if (is_child_only(self)) {
    self->flags |= LUNADO_IS_UNTOLD;
  } else {
    lua_pushcfunction(L, log_others);
    lua_pushvalue(L, idx);
    lua_pushlightuserdata(L, realm);
    lua_pushvalue(L, failure);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK)
      lunado__log_value(L, realm, "Errors in a yield list were not logged: ");
  }
  lunado__failure_hand_on(lua_touserdata(L, failure));
  lunado__fail(L, realm, idx);
}

/* Pushes the first child that failed; nothing, and returns false, where none
 * did. */
static bool push_failed(lua_State *L, multi_future *self, int results,
                        int keys) {
  for (int i = 1; i <= self->n; i++) {
    get_nth(L, results, keys, i);
    if (((lunado_future *)lua_touserdata(L, -1))->state == LUNADO_FAILED)
      return true;
    lua_pop(L, 1);
  }
  return false;
}

/* Puts the children's results in their places. */
static void collect(lua_State *L, multi_future *self, int results, int keys) {
  int child = lua_gettop(L) + 1;
  for (int i = 1; i <= self->n; i++) {
    get_nth(L, results, keys, i);
    lua_getiuservalue(L, child, LUNADO_FUTURE_VALUE);
    if (self->nodes[i - 1].waiter.future->count > 1) lua_rawgeti(L, -1, 1);
    set_nth(L, results, keys, i);
    lua_settop(L, child - 1);
  }
}

/* All children of the multi at `idx` are settled. */
static void complete(lua_State *L, lunado_realm *realm, int idx) {
  multi_future *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  int keys = self->list ? 0 : top + 2;
  if (!lunado_future_pending(&self->future) || !lua_checkstack(L, 24)) return;
  lua_getiuservalue(L, idx, MULTI_RESULTS);
  lua_getiuservalue(L, idx, MULTI_KEYS);
  if (self->multi.failed && push_failed(L, self, top + 1, keys)) {
    fail_with(L, realm, idx);
  } else {
    collect(L, self, top + 1, keys);
    lua_pushvalue(L, top + 1);
    self->future.count = self->spread ? (uint32_t)self->n : 1;
    lunado__settle(L, realm, idx, LUNADO_DONE);
  }
  lua_settop(L, top);
}

static void on_all_done(lunado_settler *settler, lunado_multi *multi) {
  lunado_realm *realm = lunado__settler_realm(settler);
  lua_State *L = realm->frame->L;
  lunado__push_owner(realm, multi->last);
  complete(L, realm, lua_gettop(L));
  lua_pop(L, 1);
}

/* --- making --------------------------------------------------------------- */

/* Converts the children of the table at `from` into the table at `results`. */
static void convert_children(lua_State *L, lunado_realm *realm, int from,
                             int results, int keys, int n, int depth) {
  for (int i = 1; i <= n; i++) {
    get_nth(L, from, keys, i);
    lunado__convert_nested(L, realm, depth + 1);
    set_nth(L, results, keys, i);
  }
}

/* Pushes a table of the children in the one at idx, converted to Futures, and
 * their keys in order, nil where these are 1 to n.  Returns n. */
static int push_children(lua_State *L, lunado_realm *realm, int idx,
                         int depth) {
  int results = lua_gettop(L) + 1;
  bool list;
  int n;
  lua_createtable(L, (int)lua_rawlen(L, idx), 0);
  n = lunado__copy_futures(L, realm, idx, results);
  if (n >= 0) {
    lua_pushnil(L);
    return n;
  }
  n = count_pairs(L, idx, &list);
  lua_createtable(L, list ? n : 0, list ? 0 : n);
  lua_replace(L, results);
  if (list)
    lua_pushnil(L);
  else
    push_keys(L, idx, n);
  convert_children(L, realm, idx, results, list ? 0 : results + 1, n, depth);
  return n;
}

/* The extra count keeps the multi from completing before it is whole, or ever,
 * should linking a child raise. */
static void link_children(lua_State *L, lunado_realm *realm, int self_idx,
                          int results, int keys) {
  multi_future *self = lua_touserdata(L, self_idx);
  int top = lua_gettop(L);
  self->multi.pending = 1;
  for (int i = 1; i <= self->n; i++) {
    lunado_future *child;
    lunado_multi_node *node = &self->nodes[i - 1];
    get_nth(L, results, keys, i);
    child = lua_touserdata(L, -1);
    if (lunado_future_pending(child))
      (void)lunado__hold(L, top + 1, child, self_idx, &node->waiter);
    else
      lunado__failure_expect(L, realm, top + 1);
    lunado_multi_add(&self->multi, node, child);
    lua_pop(L, 1);
  }
  self->multi.pending--;
}

void lunado__multi_children(lua_State *L, int idx) {
  lua_getiuservalue(L, idx, MULTI_RESULTS);
}

static multi_future *make(lua_State *L, lunado_realm *realm, int n) {
  multi_future *self = lunado__future_new(
      L, realm, LUNADO_KIND_MULTI,
      sizeof *self + (size_t)n * sizeof self->nodes[0], MULTI_VALUES);
  lunado_multi_init(&self->multi, on_all_done);
  self->n = n;
  self->spread = false;
  return self;
}

/* Pushes the multi of the table at idx. */
static multi_future *build(lua_State *L, lunado_realm *realm, int idx,
                           int quiet, int depth) {
  multi_future *self;
  int top = lua_gettop(L);
  int n;
  luaL_checkstack(L, 16, NULL);
  n = push_children(L, realm, idx, depth);
  self = make(L, realm, n);
  self->list = lua_isnil(L, top + 2);
  lua_pushvalue(L, top + 1);
  lua_setiuservalue(L, top + 3, MULTI_RESULTS);
  lua_pushvalue(L, top + 2);
  lua_setiuservalue(L, top + 3, MULTI_KEYS);
  if (quiet != 0) {
    lua_pushvalue(L, quiet);
    lua_setiuservalue(L, top + 3, MULTI_QUIET);
  }
  link_children(L, realm, top + 3, top + 1, self->list ? 0 : top + 2);
  lua_insert(L, top + 1);
  lua_settop(L, top + 1);
  return self;
}

void lunado__multi_nested(lua_State *L, lunado_realm *realm, int idx,
                          int depth) {
  multi_future *self = build(L, realm, idx, 0, depth);
  self->future.flags = LUNADO_IS_PRIVATE;
  if (self->multi.pending == 0) complete(L, realm, lua_gettop(L));
}

void lunado__multi_new(lua_State *L, lunado_realm *realm, int idx, int quiet) {
  multi_future *self = build(L, realm, idx, quiet, 0);
  if (self->multi.pending == 0) complete(L, realm, lua_gettop(L));
}

void lunado__multi_spread(lua_State *L, lunado_realm *realm, int n) {
  int list = lua_gettop(L);
  multi_future *self;
  for (int i = 1; i <= n; i++) { /* a nil among the values is a moment */
    if (lua_rawgeti(L, list, i) == LUA_TNIL) {
      lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
      lua_rawseti(L, list, i);
    }
    lua_pop(L, 1);
  }
  self = build(L, realm, list, 0, 0);
  self->spread = true;
  self->future.flags = LUNADO_IS_PRIVATE;
  if (self->multi.pending == 0) complete(L, realm, lua_gettop(L));
  lua_remove(L, list);
}

/* --- leaving -------------------------------------------------------------- */

void lunado__multi_dissolve(lua_State *L, int idx) {
  multi_future *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  if (!lunado_future_pending(&self->future) || !lua_checkstack(L, 16)) return;
  lua_getiuservalue(L, idx, MULTI_RESULTS);
  lua_getiuservalue(L, idx, MULTI_KEYS);
  for (int i = 1; i <= self->n; i++, lua_settop(L, top + 2)) {
    lunado_waiter *waiter = &self->nodes[i - 1].waiter;
    if (waiter->list == NULL) continue;
    get_nth(L, top + 1, self->list ? 0 : top + 2, i);
    lunado__forget(L, top + 3, waiter);
  }
  lua_settop(L, top);
}

void lunado__multi_late(lua_State *L, lunado_realm *realm, int idx, int quiet) {
  multi_future *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 16)) return;
  lua_getiuservalue(L, idx, MULTI_RESULTS);
  lua_getiuservalue(L, idx, MULTI_KEYS);
  for (int i = 1; i <= self->n; i++, lua_settop(L, top + 2)) {
    const lunado_future *child;
    get_nth(L, top + 1, self->list ? 0 : top + 2, i);
    child = lua_touserdata(L, top + 3);
    if (lunado_future_pending(child))
      lunado__late(L, realm, top + 3, quiet);
    else if (child->state == LUNADO_FAILED)
      lunado__late_hush(L, top + 3, quiet);
  }
  lua_settop(L, top);
}

/* --- functions ------------------------------------------------------------ */

/* gen.multi(children [, quiet_exceptions]) → a Future of the table of results;
 * raises the first error by position when all are done.
 * Tornado: gen.multi. */
static int gen_multi(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lunado__checkquiet(L, 2);
  lua_settop(L, 2);
  lunado__multi_new(L, lunado__upvalue_realm(L), 1, 2);
  return 1;
}

static const luaL_Reg functions[] = {{"multi", gen_multi},
                                     {"Multi", gen_multi},
                                     {"multi_future", gen_multi},
                                     {NULL, NULL}};

void lunado__multi_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
