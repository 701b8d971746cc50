/* SPDX-License-Identifier: MIT */
/*
 * future.c - Future, its consumers and its producers.
 *
 * Invariant: whatever may raise is done before a Future changes; from
 * lunado_future_settle on, nothing raises.
 */
#include "binding/future/future.h"

#include "binding/future/awaited.h"
#include "binding/coroutine/coroutine.h"
#include "binding/error/failure.h"
#include "binding/future/dependent.h"
#include "binding/loop/ioloop.h"
#include "binding/future/late.h"
#include "binding/future/multi.h"
#include "binding/loop/queue.h"
#include "binding/state/realm.h"
#include "binding/future/sweep.h"
#include "binding/future/ticket.h"
#include "binding/future/waititer.h"
#include "core/multi.h"
#include "core/waititer.h"

/* Room on the stack that settling and the waiters it runs may use. */
#define SETTLE_STACK 24

/* --- values --------------------------------------------------------------- */

void *lunado__future_new(lua_State *L, lunado_realm *realm, lunado_kind kind,
                         size_t size, int values) {
  lunado_future *future = lua_newuserdatauv(L, size, values);
  lunado_future_init(future);
  future->kind = (uint8_t)kind;
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->future_class);
  lua_setmetatable(L, -2);
  return future;
}

static inline lunado_future *check_future(lua_State *L, lunado_realm *realm,
                                          int arg) {
  lunado_future *future = lunado__tofuture(L, realm, arg);
  if (future == NULL) lunado__typeerror(L, arg, "future");
  return future;
}

lunado_future *lunado__checkfuture(lua_State *L, lunado_realm *realm, int arg) {
  return check_future(L, realm, arg);
}

int lunado__copy_futures(lua_State *L, lunado_realm *realm, int from, int to) {
  int n = 0;
  for (lua_pushnil(L); lua_next(L, from) != 0;) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != n + 1 ||
        lunado__tofuture(L, realm, -1) == NULL) {
      lua_settop(L, to);
      return -1;
    }
    lua_rawseti(L, to, ++n);
  }
  return n;
}

void lunado__pack(lua_State *L, int n) {
  if (n == 1) return;
  if (n == 0) {
    lua_pushnil(L);
    return;
  }
  luaL_checkstack(L, 2, NULL);
  lua_createtable(L, n, 0);
  lua_insert(L, -(n + 1));
  for (int i = n; i > 0; i--) lua_rawseti(L, -(i + 1), i);
}

int lunado__push_results(lua_State *L, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  int n = (int)future->count;
  int list;
  if (n == 0) return 0;
  if (n > 1) luaL_checkstack(L, n + 1, "too many results");
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (n == 1) return 1;
  list = lua_gettop(L);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, list, i);
  lua_remove(L, list);
  return n;
}

/* --- waiting -------------------------------------------------------------- */

/* Has the Future at idx, which has a waiter, hold a table of owners. Finalizers
 * that run meanwhile may have settled it, or have done the same. */
static void make_owner_table(lua_State *L, int idx, lunado_future *future) {
  lua_createtable(L, 0, 2);
  if (future->waiters == NULL ||
      lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
    return;
  lua_rawsetp(L, -2, future->waiters);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
}

bool lunado__hold_behind(lua_State *L, int idx, lunado_future *future,
                         int owner, lunado_waiter *waiter) {
  int top = lua_gettop(L);
  bool first = future->waiters == NULL;
  if (future->kind == LUNADO_KIND_TICKET && lunado__ticket_is_idle(future))
    return lunado__ticket_hold(L, idx, future, owner, waiter);
  if (!first && lunado__sweep_due(L, idx, future)) {
    lunado__sweep(L, lunado__findrealm(L), idx);
    if (!lunado_future_pending(future)) return false;
    first = future->waiters == NULL;
    if (first && !(future->flags & LUNADO_IS_HEIR))
      return lunado__hold(L, idx, future, owner, waiter);
  }
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) != LUA_TTABLE) {
    make_owner_table(L, idx, future);
    lua_settop(L, top);
    return lunado_future_pending(future) &&
           lunado__hold(L, idx, future, owner, waiter);
  }
  lua_pushvalue(L, owner);
  lua_rawsetp(L, -2, waiter);
  lua_pop(L, 1);
  if (first) lunado__heir_hold(L, idx, true);
  return true;
}

bool lunado__wait(lua_State *L, int idx, int owner, lunado_waiter *waiter,
                  lunado_done_cb cb) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future) ||
      !lunado__hold(L, idx, future, owner, waiter))
    return false;
  lunado_future_wait(future, waiter, cb);
  return true;
}

/* The number of waiters, as far as `max`. */
static uint32_t count_waiters(const lunado_future *future, uint32_t max) {
  const lunado_waiter *waiter = future->waiters;
  uint32_t n = 0;
  if (waiter == NULL) return 0;
  do {
    n++;
    waiter = waiter->next;
  } while (n < max && waiter != future->waiters);
  return n;
}

/* (future): makes its table of owners anew, as large as it needs to be. */
static int renew_owners(lua_State *L) {
  lunado_future *future = lua_touserdata(L, 1);
  const lunado_waiter *waiter = future->waiters;
  uint32_t n = count_waiters(future, UINT32_MAX);
  lua_createtable(L, 0, (int)n + 1);
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__heir_move(L, 3, 2);
  for (; n > 0; n--, waiter = waiter->next) {
    lua_rawgetp(L, 3, waiter);
    lua_rawsetp(L, 2, waiter);
  }
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  future->count = 0;
  return 0;
}

/* While a Future is pending, its count is that of owners that have left the
 * table.  Lua's tables keep the size that they once had. */
enum { LEFT_MIN = 64 };

/* The waiters are counted four times while `left` doubles: so each that leaves
 * pays for a part of it. */
static void renew_if_empty(lua_State *L, int idx, lunado_future *future) {
  uint32_t left = ++future->count, last_bit = left & (0u - left);
  if (left < LEFT_MIN || left / last_bit >= 8 ||
      count_waiters(future, left / 2) == left / 2 || !lua_checkstack(L, 8))
    return;
  lua_pushcfunction(L, renew_owners);
  lua_pushvalue(L, idx);
  (void)lunado__try_alone(L, 1);
}

/* The waiter has left the Future at idx, the owners of which are a table. */
static void drop_owner(lua_State *L, int idx, lunado_future *future,
                       const lunado_waiter *waiter) {
  const lunado_waiter *left = future->waiters;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (left != NULL && left->next == left && !(future->flags & LUNADO_IS_HEIR)) {
    lua_rawgetp(L, -1, left);
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    future->count = 0;
  } else {
    lua_pushnil(L);
    lua_rawsetp(L, -2, waiter);
    renew_if_empty(L, idx, future);
  }
  lua_pop(L, 1);
}

/* The waiter, which was the only one, has left the Future at idx. */
static void drop_last_owner(lua_State *L, int idx, lunado_future *future,
                            const lunado_waiter *waiter) {
  if (future->flags & LUNADO_IS_HEIR) {
    drop_owner(L, idx, future, waiter);
    lunado__heir_hold(L, idx, false);
    return;
  }
  lua_pushnil(L);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (future->flags & LUNADO_IS_PRIVATE) lunado__multi_dissolve(L, idx);
  if (future->kind == LUNADO_KIND_TICKET) lunado__ticket_left(L, idx, future);
}

/* A table of so many that were put off is never too large. */
enum { DEFERRED_KEPT = 256 };

/* (realm): makes the table of those that were put off anew. */
static int renew_deferred(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lua_newtable(L);
  lunado__setslot(L, realm, LUNADO_SLOT_DEFERRED);
  realm->deferred_most = 0;
  return 0;
}

/* One of them has left.  Lua's tables keep the size that they once had. */
static void count_undeferred(lua_State *L, lunado_realm *realm) {
  if (--realm->deferred > 0 || realm->deferred_most <= DEFERRED_KEPT ||
      !lua_checkstack(L, 4))
    return;
  lua_pushcfunction(L, renew_deferred);
  lua_pushlightuserdata(L, realm);
  (void)lunado__try_alone(L, 1);
}

/* The waiter was put off. */
static void drop_deferred_owner(lua_State *L, const lunado_waiter *waiter) {
  lunado_realm *realm = lunado__findrealm(L);
  if (realm->deferred == 0) return;
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  if (lua_rawgetp(L, -1, waiter) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawsetp(L, -3, waiter);
    count_undeferred(L, realm);
  }
  lua_pop(L, 2);
}

void lunado__forget(lua_State *L, int idx, lunado_waiter *waiter) {
  lunado_future *future = lua_touserdata(L, idx);
  bool linked = waiter->list == &future->waiters;
  if (waiter->list == NULL) return;
  lunado_waiter_forget(waiter);
  if (!linked) {
    drop_deferred_owner(L, waiter);
  } else if (!lunado_future_pending(future)) {
    return; /* who settles it has the owners */
  } else if (future->waiters != NULL) {
    drop_owner(L, idx, future, waiter);
  } else {
    drop_last_owner(L, idx, future, waiter);
  }
}

/* Takes the owner of a waiter that was put off; pushes nothing and returns
 * false where it was not. */
static bool push_deferred_owner(lua_State *L, lunado_realm *realm,
                                lunado_waiter *waiter) {
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  if (lua_rawgetp(L, -1, waiter) == LUA_TNIL) {
    lua_pop(L, 2);
    return false;
  }
  lua_pushnil(L);
  lua_rawsetp(L, -3, waiter);
  lua_remove(L, -2);
  count_undeferred(L, realm);
  return true;
}

void lunado__push_owner(lunado_realm *realm, lunado_waiter *waiter) {
  lua_State *L = realm->frame->L;
  int owners = realm->frame->owners;
  if (realm->deferred > 0 && push_deferred_owner(L, realm, waiter)) return;
  if (lua_type(L, owners) != LUA_TTABLE)
    lua_pushvalue(L, owners);
  else
    lua_rawgetp(L, owners, waiter);
}

/* --- outcomes ------------------------------------------------------------- */

/* (realm, future, owners): at the depth where the core puts waiters off,
 * their owners move to a table of the realm.  Finalizers and hooks, which may
 * take waiters back, or settle the Future, are put off, too. */
static int defer_owners(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lunado_future *future = lua_touserdata(L, 2);
  lunado_waiter *waiter = future->waiters;
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  do {
    if (lua_type(L, 3) == LUA_TTABLE)
      lua_rawgetp(L, 3, waiter);
    else
      lua_pushvalue(L, 3);
    lua_rawsetp(L, 4, waiter);
    if (++realm->deferred > realm->deferred_most)
      realm->deferred_most = realm->deferred;
    waiter = waiter->next;
  } while (waiter != future->waiters);
  return 0;
}

/* Without memory to put them off, the waiters run at once, one level deeper
 * than is wise. */
static void prepare_to_defer(lua_State *L, lunado_realm *realm,
                             lunado_future *future, int owners) {
  lua_pushcfunction(L, defer_owners);
  lua_pushlightuserdata(L, realm);
  lua_pushlightuserdata(L, future);
  lua_pushvalue(L, owners);
  if (lunado__try_alone(L, 3)) return;
  realm->settler.depth--;
}

/* Room on the stack for settling.  The outermost settle raises where there is
 * none, and nothing has changed; within a waiter's callback raising is not
 * allowed. */
static bool has_room(lua_State *L, lunado_realm *realm) {
  if (lua_checkstack(L, SETTLE_STACK)) return true;
  if (realm->frame == NULL) luaL_error(L, "not enough memory");
  lunado__log_text(L, realm, "a Future was not settled: not enough memory");
  return false;
}

static void settle_waited_for(lua_State *L, lunado_realm *realm, int idx,
                              lunado_future *future, int state) {
  lunado_frame frame = {L, 0};
  lunado_frame *outer = realm->frame;
  unsigned depth = realm->settler.depth;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  frame.owners = lua_gettop(L);
  if (depth >= LUNADO_SETTLE_DEPTH)
    prepare_to_defer(L, realm, future, frame.owners);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  realm->frame = &frame;
  (void)lunado_future_settle(&realm->settler, future, state);
  realm->settler.depth = depth;
  realm->frame = outer;
  lua_pop(L, 2);
}

void lunado__settle_waiters(lua_State *L, lunado_realm *realm, int idx,
                            lunado_future *future, int state) {
  lunado_waiter *sole;
  if (state == LUNADO_FAILED) lunado__failure_note_waiters(L, realm, future);
  if (future->flags & LUNADO_IS_HEIR) lunado__heir_hold(L, idx, false);
  sole = lunado_future_take_sole(future, lunado__coroutine_ready);
  if (sole != NULL) {
    lunado__coroutine_ready_sole(L, idx, sole);
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    future->state = (uint8_t)state;
  } else if (lunado_multi_settle(future, state) ||
             (realm->deferred == 0 && /* they come first */
              lunado_waititer_settle(future, state))) {
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  } else if (has_room(L, realm)) {
    settle_waited_for(L, realm, idx, future, state);
  } else {
    lua_pop(L, 1);
  }
}

void lunado__settle(lua_State *L, lunado_realm *realm, int idx, int state) {
  lunado__settle_future(L, realm, idx, lua_touserdata(L, idx), state);
}

static void settle_failed(lua_State *L, lunado_realm *realm, int idx,
                          lunado_future *future) {
  bool unheeded = lunado__late_unheeded(future);
  future->count = 0;
  lunado__settle_future(L, realm, idx, future, LUNADO_FAILED);
  if (unheeded) lunado__late_failed(L, realm, idx);
  lunado__untie_tied(L, realm, idx, future);
}

void lunado__fail(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future)) {
    lua_pop(L, 1);
    return;
  }
  settle_failed(L, realm, idx, future);
}

void lunado__copy_outcome(lua_State *L, lunado_realm *realm, int from,
                          int idx) {
  lunado_future *source = lua_touserdata(L, from);
  lunado_future *target = lua_touserdata(L, idx);
  if (!lunado_future_pending(target)) return;
  lua_getiuservalue(L, from, LUNADO_FUTURE_VALUE);
  if (source->state == LUNADO_FAILED) {
    lunado__failure_hand_on(lua_touserdata(L, -1));
    settle_failed(L, realm, idx, target);
  } else {
    target->count = source->count;
    lunado__settle_future(L, realm, idx, target, LUNADO_DONE);
  }
}

/* --- callbacks ------------------------------------------------------------ */

/* The owner of a waiter that calls a function or settles another Future.
 * User values: what it is for, the Future it waits for, and the loop. */
typedef struct {
  lunado_waiter waiter;
  lunado_ioloop *loop; /* the function is called on; NULL: at once */
} link_object;

enum { LINK_TARGET = 1, LINK_SOURCE, LINK_LOOP, LINK_VALUES = LINK_LOOP };

/* The link object, on top, holds its loop; without it where it is gone. */
static void hold_loop(lua_State *L, link_object *self) {
  lunado__pushloop(L, self->loop);
  if (lua_isnil(L, -1)) self->loop = NULL;
  lua_setiuservalue(L, -2, LINK_LOOP);
}

/* Returns false where the source is settled by then. */
static bool link_new(lua_State *L, int source, int target, lunado_ioloop *loop,
                     lunado_done_cb cb) {
  link_object *self;
  bool linked;
  source = lua_absindex(L, source);
  target = lua_absindex(L, target);
  self = lua_newuserdatauv(L, sizeof *self, LINK_VALUES);
  self->waiter.list = NULL;
  self->loop = loop;
  if (loop != NULL) hold_loop(L, self);
  lua_pushvalue(L, target);
  lua_setiuservalue(L, -2, LINK_TARGET);
  lua_pushvalue(L, source);
  lua_setiuservalue(L, -2, LINK_SOURCE);
  linked = lunado__wait(L, source, lua_gettop(L), &self->waiter, cb);
  lua_pop(L, 1);
  return linked;
}

static void on_done_now(lunado_settler *settler, lunado_waiter *waiter,
                        lunado_future *future) {
  lunado_realm *realm = lunado__settler_realm(settler);
  lua_State *L = realm->frame->L;
  (void)future;
  lunado__push_owner(realm, waiter);
  lua_getiuservalue(L, -1, LINK_TARGET);
  lua_getiuservalue(L, -2, LINK_SOURCE);
  lunado__callback(L, realm, NULL, 1);
  lua_pop(L, 1);
}

bool lunado__is_done_callback(const lunado_waiter *waiter) {
  return waiter->cb == on_done_now;
}

static void on_done_loop(lunado_settler *settler, lunado_waiter *waiter,
                         lunado_future *future) {
  lunado_realm *realm = lunado__settler_realm(settler);
  lua_State *L = realm->frame->L;
  link_object *self = lunado_container_of(waiter, link_object, waiter);
  lunado__push_owner(realm, waiter);
  if (self->loop != NULL) { /* else it is gone, and its callbacks with it */
    lua_getiuservalue(L, -1, LINK_TARGET);
    lua_getiuservalue(L, -2, LINK_SOURCE);
    if (future->state == LUNADO_FAILED) lunado__failure_queued(L, -1);
    lunado__queue_callback(L, realm, self->loop, 1);
  }
  lua_pop(L, 1);
}

void lunado__on_done(lua_State *L, lunado_realm *realm, int idx,
                     lunado_ioloop *loop) {
  lunado_future *future = lua_touserdata(L, idx);
  if (lunado_future_pending(future) &&
      link_new(L, idx, -1, loop, loop != NULL ? on_done_loop : on_done_now)) {
    lua_pop(L, 1);
    return;
  }
  if (loop != NULL && future->state == LUNADO_FAILED)
    lunado__failure_queued(L, idx);
  lua_pushvalue(L, idx);
  if (loop != NULL)
    lunado__queue_callback(L, realm, loop, 1);
  else
    lunado__callback(L, realm, NULL, 1);
}

/* Pops nothing; the callback is at `callback`. */
static void report_failure(lua_State *L, lunado_realm *realm,
                           lunado_ioloop *loop, int idx, int callback) {
  lunado_future *future = lua_touserdata(L, idx);
  if (future->state != LUNADO_FAILED) return;
  lua_pushvalue(L, callback);
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado__report(L, realm, loop);
}

static void on_discard(lunado_settler *settler, lunado_waiter *waiter,
                       lunado_future *future) {
  lunado_realm *realm = lunado__settler_realm(settler);
  lua_State *L = realm->frame->L;
  link_object *self = lunado_container_of(waiter, link_object, waiter);
  int top = lua_gettop(L);
  (void)future;
  lunado__push_owner(realm, waiter);
  lua_getiuservalue(L, -1, LINK_TARGET);
  lua_getiuservalue(L, -2, LINK_SOURCE);
  report_failure(L, realm, self->loop, top + 3, top + 2);
  lua_settop(L, top);
}

void lunado__discard(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                     int idx, int callback) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future) ||
      !link_new(L, idx, callback, loop, on_discard))
    report_failure(L, realm, loop, idx, callback);
}

/* Pushes what gets the outcome by way of the waiter, whose owner is on top. */
static void push_heir(lua_State *L, const lunado_waiter *waiter) {
  int owner = lua_gettop(L);
  if (!lunado__chain_target(L, waiter, owner) &&
      !lunado__waititer_next(L, waiter, owner))
    lua_pushnil(L);
}

void lunado__push_heirs(lua_State *L, lunado_realm *realm, int idx, int list) {
  const lunado_future *future = lua_touserdata(L, idx);
  const lunado_waiter *waiter = future->waiters;
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, NULL);
  if (waiter == NULL) return;
  do {
    const lunado_future *heir;
    if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
      lua_rawgetp(L, -1, waiter);
    push_heir(L, waiter);
    heir = lunado__tofuture(L, realm, -1);
    if (heir != NULL && lunado_future_pending(heir))
      lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    lua_settop(L, top);
    waiter = waiter->next;
  } while (waiter != future->waiters);
}

/* --- methods: consumer ---------------------------------------------------- */

/* The Future at 1.  A ticket that has withdrawn from its line gets what it
 * stands for when it is looked at. */
static lunado_future *check_self(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_future(L, realm, 1);
  if ((future->flags & LUNADO_IS_WITHDRAWN) && lunado_future_pending(future))
    lunado__ticket_ask(L, 1);
  return future;
}

static lunado_future *check_done(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_self(L, realm);
  if (!lunado_future_pending(future)) return future;
  lunado__pusherror(L, realm, LUNADO_E_INVALID_STATE,
                    "the Future has no result yet");
  lua_error(L);
  return NULL;
}

/* f:result([timeout]) → all result values; raises the error of a failed one,
 * InvalidStateError while it is pending.  Tornado: Future.result. */
static int future_result(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_future *future = check_done(L, realm);
  if (future->state == LUNADO_DONE) return lunado__push_results(L, 1);
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__failure_throw(L, realm);
  return lua_error(L);
}

/* f:exception([timeout]) → the error, or nil.  Tornado: Future.exception. */
static int future_exception(lua_State *L) {
  lunado_future *future = check_done(L, lunado__upvalue_realm(L));
  if (future->state == LUNADO_DONE) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__failure_throw(L, lunado__upvalue_realm(L));
  return 1;
}

/* f:exc_info() → error, traceback; nil unless it failed. */
static int future_exc_info(lua_State *L) {
  lunado_future *future = check_self(L, lunado__upvalue_realm(L));
  int failure;
  if (future->state != LUNADO_FAILED) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  failure = lua_gettop(L);
  lua_pushvalue(L, failure);
  lunado__failure_throw(L, lunado__upvalue_realm(L));
  lunado__failure_traceback(L, failure);
  return 2;
}

/* True for a claim, which passes for done. */
static bool is_claim(const lunado_future *future) {
  return (future->flags & LUNADO_IS_CLAIM) != 0;
}

static bool is_done(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  return is_claim(check_future(L, realm, 1)) ||
         !lunado_future_pending(check_self(L, realm));
}

static int future_done(lua_State *L) {
  lua_pushboolean(L, is_done(L));
  return 1;
}

static int future_running(lua_State *L) {
  lua_pushboolean(L, !is_done(L));
  return 1;
}

/* f:cancel(), f:cancelled() → false, always. */
static int future_cancel(lua_State *L) {
  check_future(L, lunado__upvalue_realm(L), 1);
  lua_pushboolean(L, 0);
  return 1;
}

/* f:add_done_callback(fn): fn(f) when done, at once when it is; then what fn
 * raises goes to the caller.  Tornado: Future.add_done_callback. */
static int future_add_done_callback(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_future *future = check_future(L, realm, 1);
  lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  if (lunado_future_pending(future)) {
    lunado__on_done(L, realm, 1, NULL);
    return 0;
  }
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

/* --- methods: producer ---------------------------------------------------- */

static lunado_future *check_pending(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_future(L, realm, 1);
  if (lunado_future_pending(future) &&
      (future->kind < LUNADO_KIND_TIED || !is_claim(future)))
    return future;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lunado__pusherror(L, realm, LUNADO_E_INVALID_STATE,
                    "the Future is done already");
  lua_error(L);
  return NULL;
}

/* f:set_result(...); raises InvalidStateError, and changes nothing, when it
 * is done already.  Tornado: Future.set_result. */
static int future_set_result(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_future *future = check_pending(L, realm);
  int n = lua_gettop(L) - 1;
  lunado__pack(L, n);
  if (n > 1) (void)check_pending(L, realm); /* finalizers may have run */
  future->count = (uint32_t)n;
  lunado__settle_future(L, realm, 1, future, LUNADO_DONE);
  lunado__untie_tied(L, realm, 1, future);
  return 0;
}

/* f:set_exc_info(err [, traceback]); the traceback is a string.
 * Tornado: Future.set_exc_info. */
static int future_set_exc_info(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  check_pending(L, realm);
  if (!lua_isnoneornil(L, 3)) luaL_checkstring(L, 3);
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    (void)lunado__failure_handed(L, realm, 2, 1);
  } else {
    (void)lunado__failure_new(L, realm, 2, -1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, LUNADO_FAILURE_TEXT);
  }
  lunado__fail(L, realm, 1);
  return 0;
}

/* f:set_exception(err).  Tornado: Future.set_exception. */
static int future_set_exception(lua_State *L) {
  check_pending(L, lunado__upvalue_realm(L));
  lua_settop(L, 2);
  return future_set_exc_info(L);
}

/* --- metamethods ---------------------------------------------------------- */

static int future__tostring(lua_State *L) {
  lunado_future *future = check_future(L, lunado__upvalue_realm(L), 1);
  const void *address = future;
  if (future->state == LUNADO_PENDING && !is_claim(future)) {
    lua_pushfstring(L, "Future: %p (pending)", address);
  } else if (future->state != LUNADO_FAILED) {
    lua_pushfstring(L, "Future: %p (finished)", address);
  } else {
    lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
    lunado__failure_errortext(L, -1);
    lua_pushfstring(L, "Future: %p (failed: %s)", address, lua_tostring(L, -1));
  }
  return 1;
}

/* --- functions ------------------------------------------------------------ */

/* Future() → a pending Future. */
static int concurrent_future(lua_State *L) {
  lunado_future *future = lua_newuserdatauv(L, sizeof *future, 1);
  lunado_future_init(future);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_FUTURE));
  lua_setmetatable(L, -2);
  return 1;
}

/* is_future(x) → boolean.  Tornado: concurrent.is_future. */
static int concurrent_is_future(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__tofuture(L, lunado__upvalue_realm(L), 1) != NULL);
  return 1;
}

/* chain_future(a, b): b gets a's outcome, unless it is done by then. */
static int concurrent_chain_future(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  check_future(L, realm, 1);
  check_future(L, realm, 2);
  lua_settop(L, 2);
  lunado__chain(L, realm, 1, 2);
  return 0;
}

/* --- open ----------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"result", future_result},
    {"exception", future_exception},
    {"exc_info", future_exc_info},
    {"done", future_done},
    {"running", future_running},
    {"cancel", future_cancel},
    {"cancelled", future_cancel},
    {"add_done_callback", future_add_done_callback},
    {"set_result", future_set_result},
    {"set_exception", future_set_exception},
    {"set_exc_info", future_set_exc_info},
    {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", future__tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"Future", concurrent_future},
                                     {"is_future", concurrent_is_future},
                                     {"chain_future", concurrent_chain_future},
                                     {NULL, NULL}};

void lunado__future_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__future_open(lua_State *L, lunado_realm *realm) {
  lunado_future *moment;
  lunado__heir_open(L, realm);
  (void)lunado__newclass(L, "lunado.Future", methods, metamethods);
  realm->future_class = luaL_ref(L, LUA_REGISTRYINDEX);
  moment = lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof *moment, 1);
  moment->flags = LUNADO_IS_MOMENT;
  (void)lunado_future_settle(&realm->settler, moment, LUNADO_DONE);
  lunado__setslot(L, realm, LUNADO_SLOT_MOMENT);
}
