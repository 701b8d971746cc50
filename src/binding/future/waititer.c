/* SPDX-License-Identifier: MIT */
/*
 * waititer.c - gen.WaitIterator: Futures in the order in which they are done.
 *
 * Invariant: of the children that were handed out, the iterator holds only the
 * last, its current_future.
 */
#include "binding/future/waititer.h"

#include <string.h>

#include "binding/coroutine/await.h"
#include "binding/error/failure.h"
#include "binding/future/awaited.h"
#include "binding/future/dependent.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/future/timedout.h"
#include "binding/state/class.h"
#include "core/waititer.h"

/* User values of the bond: the Future that next() returned last while no child
 * was done; the children by number, with false for those handed out before the
 * current one; the keys by number (nil: the numbers themselves). */
enum {
  ITER_NEXT = LUNADO_BOND_DEPENDENT,
  ITER_FUTURES,
  ITER_KEYS,
  ITER_VALUES = ITER_KEYS
};

/* The children hold this userdata; the program has a proxy, which holds it as
 * user value 1.  While the proxy exists, ITER_NEXT is kept because next()
 * returns it again.  After the proxy was collected, ITER_NEXT is a dependent
 * like others. */
typedef struct {
  lunado_bond bond;
  lunado_waititer core;
  lunado_future *next; /* the pending Future of next(), or NULL */
  bool bound;          /* the proxy was collected, and next is a dependent */
  int current;         /* number of the child handed out last; 0: none */
  lunado_waititer_node nodes[];
} wait_iterator;

/* The object that the program has. */
typedef struct {
  wait_iterator *iter; /* user value 1 */
} iterator_proxy;

/* Stack indices of the methods.  The proxy stays on the stack: without it, a
 * collection could end the iterator. */
enum { PROXY = 1, ITERATOR, NEXT };

static wait_iterator *check_iterator(lua_State *L, const lunado_realm *realm) {
  const iterator_proxy *proxy =
      lunado__toclass(L, PROXY, realm->types.iterator);
  if (proxy == NULL) luaL_typeerror(L, PROXY, "WaitIterator");
  return proxy->iter;
}

/* Leaves only the proxy on the stack, and pushes the iterator. */
static void push_iterator(lua_State *L) {
  if (lua_gettop(L) > PROXY) lua_settop(L, PROXY);
  lua_getiuservalue(L, PROXY, 1);
}

/* Makes child `number` the current one (0: none).  The table of children is on
 * top. */
static void set_current(lua_State *L, wait_iterator *iter, int number) {
  if (iter->current != 0) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, iter->current);
  }
  iter->current = number;
}

/* Makes the node's child the current one of the iterator at `self`.  Pushes the
 * table of children and the child. */
static void push_child(lua_State *L, int self, wait_iterator *iter,
                       const lunado_waititer_node *node) {
  int number = (int)(node - iter->nodes) + 1;
  lua_getiuservalue(L, self, ITER_FUTURES);
  set_current(L, iter, number);
  lua_rawgeti(L, -1, number);
}

/* Forgets the Future that next() returned, which is not pending any more. */
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
  if (lua_isnil(L, top + 2)) { /* it was collected, after the proxy */
    lua_settop(L, top);
    return;
  }
  forget_next(iter); /* its callbacks may call next() again */
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

/* Clears the current child, after the last result. */
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

/* wi:done() → true if there are no more results.
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

/* Marks the error of the Future on top, if it has failed, as handed on: from
 * now on the caller has to observe it. */
static void hand_on(lua_State *L, const lunado_future *future) {
  if (future->state != LUNADO_FAILED) return;
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  lunado__failure_hand_on(lua_touserdata(L, -1));
  lua_pop(L, 1);
}

/* Pushes and returns the Future that next() returned last if it is pending,
 * else the next child that is done.  Returns NULL if there is neither. */
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

/* Pushes the Future of the next outcome and returns it.  The children are
 * looked at again after a new Future was made, because a finalizer may have
 * settled a child meanwhile. */
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

/* wi:next() → a Future of the next outcome.  If a child is done already, this
 * is the child itself; otherwise it is a Future that next() returns again until
 * it is done.  Raises if no child is left.  Tornado: WaitIterator.next. */
static int iterator_next(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  wait_iterator *iter = check_iterator(L, realm);
  if (is_done(iter))
    return luaL_error(L, "the WaitIterator has no more results");
  push_iterator(L);
  (void)push_next(L, realm, iter);
  return 1;
}

/* Inserts the index of the current child before the results above `top`, and
 * returns the number of values. */
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

/* wi:results() → an iterator for a generic `for` in a coroutine, which gives
 * the child's index and its results.  The coroutine may suspend before each
 * round.  The error of a failed child is raised in the `for`. */
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

/* --- forgetting ----------------------------------------------------------- */

/* Removes the waiters from the children, since no caller will ask for more
 * results. */
static void forget_children(lua_State *L, lunado_realm *realm, int bond,
                            int dependent) {
  wait_iterator *iter = lua_touserdata(L, bond);
  bool copy_marks =
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
    if (copy_marks) lunado__timedout_copy(L, realm, futures + 1, dependent);
    lunado__owner_forget(L, futures + 1, waiter);
  }
  lua_settop(L, futures - 1);
}

/* abandon(wi): makes the WaitIterator, which nobody will use any more, stop
 * waiting for its children. */
static int core_abandon(lua_State *L) {
  (void)check_iterator(L, lunado__realm_upvalue(L));
  push_iterator(L);
  forget_children(L, lunado__realm_upvalue(L), ITERATOR, 0);
  return 0;
}

/* (iterator, next): makes next a dependent of the iterator. */
static int bind_next(lua_State *L) {
  wait_iterator *iter = lua_touserdata(L, 1);
  iter->bound = true;
  lunado__dependent_bind(L, lunado__realm_find(L), 2, 1, false);
  return 0;
}

/* Called when the program has dropped the iterator.  The program may still have
 * the pending Future that next() returned; that Future is a dependent from now
 * on. */
static int iterator__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const wait_iterator *iter = check_iterator(L, realm);
  if (iter->bound) return 0;
  push_iterator(L);
  if (iter->next == NULL || !lunado_future_pending(iter->next)) {
    forget_children(L, realm, ITERATOR, 0);
    return 0;
  }
  lua_pushcfunction(L, bind_next);
  lua_pushvalue(L, ITERATOR);
  lua_getiuservalue(L, ITERATOR, ITER_NEXT);
  (void)lua_pcall(L, 2, 0, 0); /* if memory is short, the waiters stay */
  return 0;
}

/* --- metamethods ---------------------------------------------------------- */

/* current_index and current_future are fields; methods are in the table that is
 * upvalue 1. */
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
    lua_insert(L, ITERATOR); /* the key stays on the stack, since `key` points
                              * into it */
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

/* Pushes a list of the Futures in the table at 1, and a list of their keys, or
 * nil if the keys are 1 to n.  Returns their number. */
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

/* Replaces the arguments, which are Futures, by nil, a list of them, and nil.
 * Returns their number. */
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

/* Pushes, at index 4, an iterator of the n Futures in the list at 2, with the
 * keys at 3. */
static wait_iterator *new_iterator(lua_State *L, int n) {
  wait_iterator *iter = lua_newuserdatauv(
      L, sizeof *iter + (size_t)n * sizeof iter->nodes[0], ITER_VALUES);
  iter->bond = (lunado_bond){.forget = forget_children};
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

/* WaitIterator(f1, f2, ...), WaitIterator{f1, f2}, WaitIterator{name = f} → a
 * new iterator of the Futures.  Tornado: gen.WaitIterator. */
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
                                     {"abandon", core_abandon},
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
