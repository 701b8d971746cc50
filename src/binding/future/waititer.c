/* SPDX-License-Identifier: MIT */
/*
 * waititer.c - gen.WaitIterator: many Futures, as they are done.
 *
 * Invariant: of the Futures that were handed out the iterator holds the last
 * one alone, its current_future.
 */
#include "binding/future/waititer.h"

#include <string.h>

#include "binding/coroutine/await.h"
#include "binding/error/failure.h"
#include "binding/future/awaited.h"
#include "binding/future/dependent.h"
#include "binding/future/future.h"
#include "binding/future/late.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/state/class.h"
#include "core/waititer.h"

/* User values of the bond: the Future that next() gave last while nothing was
 * done; Futures by number, false for those before the current one; keys by
 * number (nil: the numbers). */
enum {
  ITER_NEXT = LUNADO_BOND_DEPENDENT,
  ITER_FUTURES,
  ITER_KEYS,
  ITER_VALUES = ITER_KEYS
};

/* The children hold this, and what the user has is a proxy of it, whose user
 * value 1 it is.  While there is the proxy, ITER_NEXT is what it will be asked
 * for again; later, a dependent like others. */
typedef struct {
  lunado_bond bond;
  lunado_waititer core;
  lunado_future *next; /* pending, and there; or NULL */
  bool bound;          /* the proxy is gone, and next is a dependent */
  int current;         /* number of what was handed out last; 0: none */
  lunado_waititer_node nodes[];
} wait_iterator;

/* What the user has. */
typedef struct {
  wait_iterator *iter; /* user value 1 */
} iterator_proxy;

/* Stack of the methods.  The proxy stays there: without it, a collection would
 * end the iterator. */
enum { PROXY = 1, ITERATOR, NEXT };

static wait_iterator *check_iterator(lua_State *L, const lunado_realm *realm) {
  const iterator_proxy *proxy =
      lunado__toclass(L, PROXY, realm->types.iterator);
  if (proxy == NULL) luaL_typeerror(L, PROXY, "WaitIterator");
  return proxy->iter;
}

/* Puts the iterator above the proxy, and nothing else. */
static void push_iterator(lua_State *L) {
  if (lua_gettop(L) > PROXY) lua_settop(L, PROXY);
  lua_getiuservalue(L, PROXY, 1);
}

/* Makes child `number` the current one, 0: none.  The table of Futures is on
 * top. */
static void set_current(lua_State *L, wait_iterator *iter, int number) {
  if (iter->current != 0) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, iter->current);
  }
  iter->current = number;
}

/* Makes the child of the node the current one of the iterator at `self`, and
 * pushes it. */
static void push_child(lua_State *L, int self, wait_iterator *iter,
                       const lunado_waititer_node *node) {
  int number = (int)(node - iter->nodes) + 1;
  lua_getiuservalue(L, self, ITER_FUTURES);
  set_current(L, iter, number);
  lua_rawgeti(L, -1, number);
}

/* The Future that next() gave is not pending any more. */
static void forget_next(wait_iterator *iter) {
  iter->next = NULL;
  iter->core.wanted = false;
}

static void on_settled(lunado_settler *settler, lunado_waititer *core) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  wait_iterator *iter = lunado_container_of(core, wait_iterator, core);
  const lunado_future *next = iter->next;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 24)) return;
  lunado__owner_push(realm, &core->last->waiter);
  lunado__dependent_push(L, top + 1);
  if (lua_isnil(L, top + 2)) { /* it is gone, and the proxy before it */
    lua_settop(L, top);
    return;
  }
  forget_next(iter); /* its callbacks may ask for one more */
  if (lunado_future_pending(next)) {
    push_child(L, top + 1, iter, lunado_waititer_take(core));
    lunado__settle_copy(L, realm, top + 4, top + 2);
  }
  lua_settop(L, top);
}

/* --- methods -------------------------------------------------------------- */

static bool is_done(wait_iterator *iter) {
  return iter->next == NULL && lunado_waititer_done(&iter->core);
}

/* After the last result there is no current one. */
static void clear_current(lua_State *L, wait_iterator *iter) {
  lua_getiuservalue(L, ITERATOR, ITER_FUTURES);
  set_current(L, iter, 0);
  lua_pop(L, 1);
  lua_pushnil(L);
  lua_setiuservalue(L, ITERATOR, ITER_NEXT);
}

/* Pushes the index of the current child, or nil. */
static void push_current_index(lua_State *L, const wait_iterator *iter) {
  if (iter->current == 0) {
    lua_pushnil(L);
    return;
  }
  if (lua_getiuservalue(L, ITERATOR, ITER_KEYS) == LUA_TTABLE)
    lua_rawgeti(L, -1, iter->current);
  else
    lua_pushinteger(L, iter->current);
  lua_remove(L, -2);
}

static void push_current_future(lua_State *L, const wait_iterator *iter) {
  if (iter->current == 0) {
    lua_pushnil(L);
    return;
  }
  lua_getiuservalue(L, ITERATOR, ITER_FUTURES);
  lua_rawgeti(L, -1, iter->current);
}

/* wi:done() → whether there are no more results.
 * Tornado: WaitIterator.done. */
static int iterator_done(lua_State *L) {
  wait_iterator *iter = check_iterator(L, lunado__realm_upvalue(L));
  bool done = is_done(iter);
  if (done) {
    push_iterator(L);
    clear_current(L, iter);
  }
  lua_pushboolean(L, done);
  return 1;
}

/* The caller that gets a failed Future has to observe it. */
static void hand_on(lua_State *L, const lunado_future *future) {
  if (future->state != LUNADO_FAILED) return;
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  lunado__failure_hand_on(lua_touserdata(L, -1));
  lua_pop(L, 1);
}

/* Pushes the Future that next() gave last, if it is pending, else the next
 * child that is done, and returns it; NULL where there is neither. */
static lunado_future *push_known(lua_State *L, wait_iterator *iter) {
  const lunado_waititer_node *node;
  if (iter->next != NULL && lunado_future_pending(iter->next)) {
    lua_getiuservalue(L, ITERATOR, ITER_NEXT);
    return iter->next;
  }
  forget_next(iter);
  node = lunado_waititer_take(&iter->core);
  if (node == NULL) return NULL;
  push_child(L, ITERATOR, iter, node);
  hand_on(L, node->waiter.future);
  return node->waiter.future;
}

/* Pushes the Future of the next outcome, and returns it.
 * A finalizer may settle a child while it is made. */
static lunado_future *push_next(lua_State *L, lunado_realm *realm,
                                wait_iterator *iter) {
  lunado_future *next, *known = push_known(L, iter);
  if (known != NULL) return known;
  next = lunado__future_new(L, realm, LUNADO_KIND_NEXT, sizeof *next, 1);
  known = push_known(L, iter);
  if (known != NULL) return known;
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, ITERATOR, ITER_NEXT);
  iter->next = next;
  iter->core.wanted = true;
  return next;
}

/* wi:next() → a Future of the next outcome: the same one until that is there;
 * the child itself where one is done already.
 * Raises when nothing is left.  Tornado: WaitIterator.next. */
static int iterator_next(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  wait_iterator *iter = check_iterator(L, realm);
  if (is_done(iter))
    return luaL_error(L, "the WaitIterator has no more results");
  push_iterator(L);
  (void)push_next(L, realm, iter);
  return 1;
}

/* Of the results above `top`: returns the index of the child, and them. */
static int push_index(lua_State *L, int top) {
  push_current_index(L, lua_touserdata(L, ITERATOR));
  lua_insert(L, top + 1);
  return lua_gettop(L) - top;
}

static int results_awaited(lua_State *L, int status, lua_KContext top) {
  int n = lunado__await_result(L, lunado__realm_upvalue(L), (int)top);
  (void)status;
  return push_index(L, lua_gettop(L) - n);
}

static int results_step(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  wait_iterator *iter = check_iterator(L, realm);
  const lunado_future *next;
  push_iterator(L);
  if (is_done(iter)) {
    clear_current(L, iter);
    lua_pushnil(L);
    return 1;
  }
  next = push_next(L, realm, iter);
  lua_insert(L, NEXT);
  lua_settop(L, NEXT);
  if (lunado_future_pending(next))
    return lunado__await(L, realm, NEXT, NEXT, results_awaited);
  if (next->state == LUNADO_FAILED) return lunado__await_raise(L, realm, NEXT);
  (void)lunado__future_push_results(L, NEXT);
  return push_index(L, NEXT);
}

/* wi:results() → an iterator of index, result..., for a generic for inside a
 * coroutine, which suspends between the rounds.  A failed child's error is
 * raised from the loop. */
static int iterator_results(lua_State *L) {
  (void)check_iterator(L, lunado__realm_upvalue(L));
  lunado__pushfunction(L, results_step);
  lua_pushvalue(L, PROXY);
  return 2;
}

bool lunado__waititer_next(lua_State *L, const lunado_waiter *waiter,
                           int owner) {
  const wait_iterator *iter = lua_touserdata(L, owner);
  if (!lunado_waititer_owns(waiter)) return false;
  if (iter->next != NULL)
    lunado__dependent_push(L, owner);
  else
    lua_pushnil(L);
  return true;
}

/* --- leaving -------------------------------------------------------------- */

/* No caller will ask for more: the waiters leave the children's lists. */
static void leave_children(lua_State *L, lunado_realm *realm, int bond,
                           int dependent) {
  wait_iterator *iter = lua_touserdata(L, bond);
  bool late =
      dependent != 0 && lunado_future_pending(lua_touserdata(L, dependent));
  int futures = lua_gettop(L) + 1;
  int n;
  if (!lua_checkstack(L, 16)) return;
  forget_next(iter);
  lua_getiuservalue(L, bond, ITER_FUTURES);
  n = (int)lua_rawlen(L, futures);
  for (int i = 1; i <= n; i++, lua_settop(L, futures)) {
    lunado_waiter *waiter = &iter->nodes[i - 1].waiter;
    if (waiter->list == NULL) continue;
    lua_rawgeti(L, futures, i);
    if (late) lunado__late_as(L, realm, futures + 1, dependent);
    lunado__owner_forget(L, futures + 1, waiter);
  }
  lua_settop(L, futures - 1);
}

/* (iterator, next) */
static int bind_next(lua_State *L) {
  wait_iterator *iter = lua_touserdata(L, 1);
  iter->bound = true;
  lunado__dependent_bind(L, lunado__realm_find(L), 2, 1, false);
  return 0;
}

/* The user has let the iterator go, but maybe not what next() has given: then
 * that is a dependent from now on. */
static int iterator__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const wait_iterator *iter = check_iterator(L, realm);
  if (iter->bound) return 0;
  push_iterator(L);
  if (iter->next == NULL || !lunado_future_pending(iter->next)) {
    leave_children(L, realm, ITERATOR, 0);
    return 0;
  }
  lua_pushcfunction(L, bind_next);
  lua_pushvalue(L, ITERATOR);
  lua_getiuservalue(L, ITERATOR, ITER_NEXT);
  (void)lua_pcall(L, 2, 0, 0); /* without memory it stays */
  return 0;
}

/* --- metamethods ---------------------------------------------------------- */

/* current_index and current_future are fields; the rest is found in the table
 * of methods, the last upvalue. */
static int iterator__index(lua_State *L) {
  const iterator_proxy *proxy;
  const wait_iterator *iter = NULL;
  const char *key;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  proxy = lunado__toclass(L, PROXY, lunado__realm_find(L)->types.iterator);
  if (proxy != NULL) {
    lua_settop(L, 2);
    iter = proxy->iter;
    lua_getiuservalue(L, PROXY, 1);
    lua_insert(L, ITERATOR); /* the key is above: it is in use */
  }
  if (iter != NULL && strcmp(key, "current_index") == 0)
    push_current_index(L, iter);
  else if (iter != NULL && strcmp(key, "current_future") == 0)
    push_current_future(L, iter);
  else
    lua_pushnil(L);
  return 1;
}

/* --- making --------------------------------------------------------------- */

static void check_child(lua_State *L, lunado_realm *realm, const char *what) {
  if (lunado__tofuture(L, realm, -1) != NULL) return;
  lua_pushfstring(L, "%s is a %s, not a future", what, luaL_typename(L, -1));
  luaL_argerror(L, 1, lua_tostring(L, -1));
}

/* Pushes a list of the Futures in the table at 1, and the list of their keys,
 * nil where those are 1 to n. */
static int gather_table(lua_State *L, lunado_realm *realm) {
  int n, length = (int)lua_rawlen(L, 1);
  lua_createtable(L, length, 0);
  n = lunado__future_copy_list(L, realm, 1, 2);
  if (n >= 0) {
    lua_pushnil(L);
    return n;
  }
  n = 0;
  lua_createtable(L, 0, 0);
  for (int i = 1; i <= length; i++) {
    lua_rawgeti(L, 1, i);
    check_child(L, realm, "an element");
    lua_rawseti(L, 2, ++n);
  }
  for (lua_pushnil(L); lua_next(L, 1) != 0;) {
    if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 &&
        lua_tointeger(L, -2) <= length) {
      lua_pop(L, 1);
      continue;
    }
    if (length > 0) luaL_argerror(L, 1, "positional futures and names at once");
    check_child(L, realm, "a field");
    lua_rawseti(L, 2, ++n);
    lua_pushvalue(L, -1);
    lua_rawseti(L, 3, n);
  }
  if (length > 0) {
    lua_pushnil(L);
    lua_replace(L, 3);
  }
  return n;
}

/* Replaces the arguments by a list of them, and nil. */
static int gather_arguments(lua_State *L, lunado_realm *realm) {
  int n = lua_gettop(L);
  for (int i = 1; i <= n; i++) {
    if (i > 1 && lua_istable(L, i))
      luaL_argerror(L, i, "positional futures and names at once");
    lunado__checkfuture(L, realm, i);
  }
  lua_createtable(L, n, 0);
  lua_insert(L, 1);
  for (int i = n; i > 0; i--) lua_rawseti(L, 1, i);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_insert(L, 1); /* nil list nil */
  return n;
}

/* Pushes, at 4, an iterator of the n Futures in the list at 2, with the keys at
 * 3. */
static wait_iterator *new_iterator(lua_State *L, int n) {
  wait_iterator *iter = lua_newuserdatauv(
      L, sizeof *iter + (size_t)n * sizeof iter->nodes[0], ITER_VALUES);
  iter->bond = (lunado_bond){.leave = leave_children};
  lunado_waititer_init(&iter->core, on_settled);
  iter->next = NULL;
  iter->bound = false;
  iter->current = 0;
  for (int i = 0; i < n; i++) iter->nodes[i].waiter.list = NULL;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, ITER_FUTURES);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, ITER_KEYS);
  return iter;
}

/* Pushes a proxy of the iterator on top. */
static void push_proxy(lua_State *L, const lunado_realm *realm) {
  iterator_proxy *proxy = lua_newuserdatauv(L, sizeof *proxy, 1);
  proxy->iter = lua_touserdata(L, -2);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, 1);
  lunado__class_set(L, realm->types.iterator);
}

/* WaitIterator(f1, f2, ...), WaitIterator{f1, f2}, WaitIterator{name = f}.
 * Tornado: gen.WaitIterator. */
static int gen_wait_iterator(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  bool table = lua_gettop(L) == 1 && lua_istable(L, 1) != 0;
  int n = table ? gather_table(L, realm) : gather_arguments(L, realm);
  wait_iterator *iter = new_iterator(L, n);
  push_proxy(L, realm);
  for (int i = 1; i <= n; i++) {
    lunado_waititer_node *node = &iter->nodes[i - 1];
    lunado_future *child;
    lua_rawgeti(L, 2, i);
    child = lua_touserdata(L, 6);
    if (lunado_future_pending(child))
      (void)lunado__owner_hold(L, 6, child, 4, &node->waiter);
    else
      lunado__awaited_expect(L, realm, 6);
    lunado_waititer_add(&iter->core, node, child);
    lua_pop(L, 1);
  }
  return 1;
}

/* --- open ----------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"done", iterator_done},
                                   {"next", iterator_next},
                                   {"results", iterator_results},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", iterator__gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"WaitIterator", gen_wait_iterator},
                                     {NULL, NULL}};

void lunado__waititer_functions(lua_State *L) {
  lunado__realm_find(L)->types.iterator =
      lunado__class_new(L, "lunado.WaitIterator", NULL, metamethods);
  lua_createtable(L, 0, 3);
  lunado__setfunctions(L, methods);
  lua_pushcclosure(L, iterator__index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lunado__setfunctions(L, functions);
}
