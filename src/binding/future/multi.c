/* SPDX-License-Identifier: MIT */
/*
 * multi.c - gen.multi.
 *
 * The table of results is made at the start and contains the children under
 * their keys.  So it holds the children, and collecting the results allocates
 * nothing, since it only replaces the values of existing keys.
 */
#include "binding/future/multi.h"

#include <stdlib.h>

#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/awaited.h"
#include "binding/future/dependent.h"
#include "binding/future/multilog.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/future/timedout.h"
#include "binding/future/yieldable.h"

/* A private multi. */
typedef struct {
  lunado_future future;
  multi_part part;
  lunado_multi_node nodes[];
} multi_future;

/* The bond of a shared multi. */
typedef struct {
  lunado_bond bond;
  multi_part part;
  lunado_multi_node nodes[];
} multi_bond;

multi_part *lunado__multi_push_holder(lua_State *L, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  if (future->flags & LUNADO_IS_PRIVATE) {
    lua_pushvalue(L, idx);
    return &((multi_future *)lua_touserdata(L, -1))->part;
  }
  lua_getiuservalue(L, idx, MULTI_HOLDER);
  return &((multi_bond *)lua_touserdata(L, -1))->part;
}

/* --- keys ----------------------------------------------------------------- */

/* Counts the pairs of the table at idx; sets *list to whether the keys are 1 to
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

/* Pushes a list of the n keys of the table at idx: first the integers in order,
 * then the other keys. */
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

/* Sets table[key number i] to the value on top, and pops the value. */
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

/* True if the Future's only waiter is a multi. */
static bool is_child_only(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter != NULL && waiter->next == waiter && lunado_multi_owns(waiter);
}

/* Settles the multi at `idx` with the error of its failed child, which is on
 * top.  The errors of the other children are logged, unless the multi's only
 * waiter is itself a multi: that one logs them, because it may be about to
 * raise one of them. */
static void fail_with(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *self = lua_touserdata(L, idx);
  int failure = lua_gettop(L) + 1;
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  if (is_child_only(self))
    self->flags |= LUNADO_IS_UNLOGGED;
  else
    lunado__multilog_others(L, realm, idx, failure);
  lunado__failure_hand_on(lua_touserdata(L, failure));
  lunado__settle_failed(L, realm, idx);
}

/* Pushes the first failed child and returns true; if there is none, pushes
 * nothing and returns false. */
static bool push_failed(lua_State *L, const multi_part *part, int results,
                        int keys) {
  for (int i = 1; i <= part->n; i++) {
    lunado__multi_child(L, results, keys, i);
    if (((lunado_future *)lua_touserdata(L, -1))->state == LUNADO_FAILED)
      return true;
    lua_pop(L, 1);
  }
  return false;
}

/* Replaces the children in the table of results by their results. */
static void collect(lua_State *L, const multi_part *part, int results,
                    int keys) {
  int child = lua_gettop(L) + 1;
  for (int i = 1; i <= part->n; i++) {
    lunado__multi_child(L, results, keys, i);
    lua_getiuservalue(L, child, LUNADO_FUTURE_VALUE);
    if (part->nodes[i - 1].waiter.future->count > 1) lua_rawgeti(L, -1, 1);
    set_nth(L, results, keys, i);
    lua_settop(L, child - 1);
  }
}

/* Settles the multi at idx, all of whose children are done; its holder is at
 * `holder`. */
static void complete(lua_State *L, lunado_realm *realm, int idx, int holder,
                     const multi_part *part) {
  lunado_future *future = lua_touserdata(L, idx);
  int results = lua_gettop(L) + 1;
  int keys = part->list ? 0 : results + 1;
  if (!lunado_future_pending(future) || !lua_checkstack(L, 24)) return;
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  if (part->multi.failed && push_failed(L, part, results, keys)) {
    fail_with(L, realm, idx);
  } else {
    collect(L, part, results, keys);
    lua_pushvalue(L, results);
    future->count = part->spread ? (uint32_t)part->n : 1;
    lunado__settle(L, realm, idx, LUNADO_DONE);
  }
  lua_settop(L, results - 1);
}

static void on_all_done(lunado_settler *settler, lunado_multi *multi) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  const multi_part *part = lunado_container_of(multi, multi_part, multi);
  int holder = lua_gettop(L) + 1, idx = holder;
  lunado__owner_push(realm, multi->last);
  if (part->shared) {
    lunado__dependent_push(L, holder);
    idx = lua_isnil(L, -1) ? 0 : holder + 1; /* 0: the Future was collected */
  }
  if (idx != 0) complete(L, realm, idx, holder, part);
  lua_settop(L, holder - 1);
}

/* --- making --------------------------------------------------------------- */

/* Converts the yieldables in the table at `from` to Futures, and puts these
 * into the table at `results`. */
static void convert_children(lua_State *L, lunado_realm *realm, int from,
                             int results, int keys, int n, int depth) {
  for (int i = 1; i <= n; i++) {
    lunado__multi_child(L, from, keys, i);
    lunado__yieldable_nested(L, realm, depth + 1);
    set_nth(L, results, keys, i);
  }
}

/* Pushes a table of the yieldables in the table at idx, converted to Futures,
 * and a list of their keys in order, or nil if the keys are 1 to n.  Returns
 * n. */
static int push_children(lua_State *L, lunado_realm *realm, int idx,
                         int depth) {
  int results = lua_gettop(L) + 1;
  bool list;
  int n;
  lua_createtable(L, (int)lua_rawlen(L, idx), 0);
  n = lunado__future_copy_list(L, realm, idx, results);
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

/* Makes the multi wait for its children.  An extra count in `pending` keeps the
 * multi from completing before all children are linked; if linking a child
 * raises, the multi never completes. */
static void link_children(lua_State *L, lunado_realm *realm, int holder,
                          multi_part *part) {
  int results = lua_gettop(L) + 1, keys = results + 1, child = results + 2;
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  if (part->list) keys = 0;
  part->multi.pending = 1;
  for (int i = 1; i <= part->n; i++) {
    lunado_future *future;
    lunado_multi_node *node = &part->nodes[i - 1];
    lunado__multi_child(L, results, keys, i);
    future = lua_touserdata(L, child);
    if (lunado_future_pending(future))
      (void)lunado__owner_hold(L, child, future, holder, &node->waiter);
    else
      lunado__awaited_expect(L, realm, child);
    lunado_multi_add(&part->multi, node, future);
    lua_pop(L, 1);
  }
  part->multi.pending--;
  lua_settop(L, results - 1);
}

void lunado__multi_children(lua_State *L, int idx) {
  (void)lunado__multi_push_holder(L, idx);
  lua_getiuservalue(L, -1, MULTI_RESULTS);
  lua_remove(L, -2);
}

/* Initializes the holder on top with the table of results and the keys below
 * it, and replaces these two by the holder. */
static void fill(lua_State *L, multi_part *part, lunado_multi_node *nodes,
                 int n) {
  int results = lua_gettop(L) - 2;
  lunado_multi_init(&part->multi, on_all_done);
  part->n = n;
  part->list = lua_isnil(L, results + 1);
  part->spread = part->shared = false;
  part->nodes = nodes;
  for (int i = 0; i < n; i++) nodes[i].waiter.list = NULL;
  lua_insert(L, results);
  lua_setiuservalue(L, results, MULTI_KEYS);
  lua_setiuservalue(L, results, MULTI_RESULTS);
}

/* Pushes a private multi for the table at idx. */
static void push_private(lua_State *L, lunado_realm *realm, int idx, int depth,
                         bool spread) {
  multi_future *self;
  int top = lua_gettop(L);
  int n;
  luaL_checkstack(L, 16, NULL);
  n = push_children(L, realm, idx, depth);
  self = lunado__future_new(L, realm, LUNADO_KIND_MULTI,
                            sizeof *self + (size_t)n * sizeof self->nodes[0],
                            MULTI_VALUES);
  self->future.flags = LUNADO_IS_PRIVATE;
  fill(L, &self->part, self->nodes, n);
  self->part.spread = spread;
  link_children(L, realm, top + 1, &self->part);
  if (self->part.multi.pending == 0)
    complete(L, realm, top + 1, top + 1, &self->part);
}

void lunado__multi_nested(lua_State *L, lunado_realm *realm, int idx,
                          int depth) {
  push_private(L, realm, idx, depth, false);
}

void lunado__multi_spread(lua_State *L, lunado_realm *realm, int n) {
  int list = lua_gettop(L);
  for (int i = 1; i <= n; i++) { /* a nil among them stands for gen.moment */
    if (lua_rawgeti(L, list, i) == LUA_TNIL) {
      lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
      lua_rawseti(L, list, i);
    }
    lua_pop(L, 1);
  }
  push_private(L, realm, list, 0, true);
  lua_remove(L, list);
}

static void forget_for_bond(lua_State *L, lunado_realm *realm, int bond,
                            int dependent);

/* Pushes the bond of a new multi for the table at idx. */
static multi_bond *push_multi_bond(lua_State *L, lunado_realm *realm, int idx,
                                   int quiet) {
  int n = push_children(L, realm, idx, 0);
  multi_bond *self = lua_newuserdatauv(
      L, sizeof *self + (size_t)n * sizeof self->nodes[0], MULTI_VALUES);
  self->bond = (lunado_bond){.forget = forget_for_bond};
  fill(L, &self->part, self->nodes, n);
  self->part.shared = true;
  if (quiet != 0) {
    lua_pushvalue(L, quiet);
    lua_setiuservalue(L, -2, MULTI_QUIET);
  }
  return self;
}

/* True if some child of the multi is pending. */
static bool has_pending(lua_State *L, int holder, const multi_part *part) {
  int top = lua_gettop(L);
  bool found = false;
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  for (int i = 1; !found && i <= part->n; i++, lua_settop(L, top + 2)) {
    lunado__multi_child(L, top + 1, part->list ? 0 : top + 2, i);
    found = lunado_future_pending(lua_touserdata(L, -1));
  }
  lua_settop(L, top);
  return found;
}

void lunado__multi_new(lua_State *L, lunado_realm *realm, int idx, int quiet) {
  int holder = lua_gettop(L) + 1, multi = holder + 1;
  multi_bond *self;
  luaL_checkstack(L, 16, NULL);
  self = push_multi_bond(L, realm, idx, quiet);
  (void)lunado__future_new(L, realm, LUNADO_KIND_MULTI, sizeof(lunado_future),
                           MULTI_HOLDER);
  lua_pushvalue(L, holder);
  lua_setiuservalue(L, multi, MULTI_HOLDER);
  if (has_pending(L, holder, &self->part))
    lunado__dependent_bind(L, realm, multi, holder, true);
  link_children(L, realm, holder, &self->part);
  if (self->part.multi.pending == 0)
    complete(L, realm, multi, holder, &self->part);
  lua_remove(L, holder);
}

/* --- forgetting ----------------------------------------------------------- */

/* Makes the multi of the holder stop waiting for its children.  The children
 * get the marks of the Future at `dependent` (0: none). */
static void forget_children(lua_State *L, lunado_realm *realm, int holder,
                            const multi_part *part, int dependent) {
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 16)) return;
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  for (int i = 1; i <= part->n; i++, lua_settop(L, top + 2)) {
    lunado_waiter *waiter = &part->nodes[i - 1].waiter;
    if (waiter->list == NULL) continue;
    lunado__multi_child(L, top + 1, part->list ? 0 : top + 2, i);
    if (dependent != 0) lunado__timedout_copy(L, realm, top + 3, dependent);
    lunado__owner_forget(L, top + 3, waiter);
  }
  lua_settop(L, top);
}

void lunado__multi_dissolve(lua_State *L, int idx) {
  const multi_future *self = lua_touserdata(L, idx);
  forget_children(L, NULL, idx, &self->part, 0);
}

static void forget_for_bond(lua_State *L, lunado_realm *realm, int bond,
                            int dependent) {
  const multi_bond *self = lua_touserdata(L, bond);
  const lunado_future *multi = lua_touserdata(L, dependent);
  forget_children(L, realm, bond, &self->part,
                  lunado_future_pending(multi) ? dependent : 0);
}

void lunado__multi_mark_timedout(lua_State *L, lunado_realm *realm, int idx,
                                 int quiet) {
  const multi_part *part = &((multi_future *)lua_touserdata(L, idx))->part;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 16)) return;
  lua_getiuservalue(L, idx, MULTI_RESULTS);
  lua_getiuservalue(L, idx, MULTI_KEYS);
  for (int i = 1; i <= part->n; i++, lua_settop(L, top + 2)) {
    const lunado_future *child;
    lunado__multi_child(L, top + 1, part->list ? 0 : top + 2, i);
    child = lua_touserdata(L, top + 3);
    if (lunado_future_pending(child))
      lunado__timedout_mark(L, realm, top + 3, quiet);
    else if (child->state == LUNADO_FAILED)
      lunado__timedout_hush(L, top + 3, quiet);
  }
  lua_settop(L, top);
}

/* --- giving up ------------------------------------------------------------ */

bool lunado__multi_push_waited(lua_State *L, int idx, int *i) {
  int top = lua_gettop(L);
  const multi_part *part = lunado__multi_push_holder(L, idx);
  lua_getiuservalue(L, top + 1, MULTI_RESULTS);
  lua_getiuservalue(L, top + 1, MULTI_KEYS);
  while (*i < part->n) {
    const lunado_waiter *waiter = &part->nodes[(*i)++].waiter;
    if (waiter->list == NULL || !lunado_future_pending(waiter->future))
      continue;
    lunado__multi_child(L, top + 2, part->list ? 0 : top + 3, *i);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return true;
  }
  lua_settop(L, top);
  return false;
}

void lunado__multi_replace(lua_State *L, lunado_realm *realm, int idx, int i,
                           int failed) {
  int holder = lua_gettop(L) + 1, results = holder + 1, keys = holder + 2;
  multi_part *part = lunado__multi_push_holder(L, idx);
  lunado_multi_node *node = &part->nodes[i - 1];
  lua_getiuservalue(L, holder, MULTI_RESULTS);
  lua_getiuservalue(L, holder, MULTI_KEYS);
  if (part->list) keys = 0;
  lunado__multi_child(L, results, keys, i);
  lunado__owner_forget(L, holder + 3, &node->waiter);
  lua_pushvalue(L, failed);
  set_nth(L, results, keys, i);
  lua_settop(L, holder);
  if (lunado_multi_fail(&part->multi, node, lua_touserdata(L, failed)))
    complete(L, realm, idx, holder, part);
  lua_settop(L, holder - 1);
}

/* --- functions ------------------------------------------------------------ */

/* gen.multi(children [, quiet_exceptions]) → a Future for the table of the
 * children's results.  It is settled once all children are done; if some
 * failed, with the first error by position.  Tornado: gen.multi. */
static int gen_multi(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lunado__quiet_check(L, 2);
  lua_settop(L, 2);
  lunado__multi_new(L, lunado__realm_upvalue(L), 1, 2);
  return 1;
}

static const luaL_Reg functions[] = {{"multi", gen_multi},
                                     {"Multi", gen_multi},
                                     {"multi_future", gen_multi},
                                     {NULL, NULL}};

void lunado__multi_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
