/* SPDX-License-Identifier: MIT */
/*
 * ticket.c - Futures in a wait queue, and the functions with which
 * lunado.waiters settles them without failing halfway.
 */
#include "binding/future/ticket.h"

#include "binding/error/failure.h"
#include "binding/future/forsaken.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/loop/timeout.h"

/* User values of a ticket, besides that of a Future: the wait queue; the value
 * that the ticket brings to the wait queue; the timer of its deadline, while it
 * is withdrawn. */
enum {
  TICKET_WAITQUEUE = 2,
  TICKET_VALUE,
  TICKET_TIMER,
  TICKET_VALUES = TICKET_TIMER
};

typedef struct {
  lunado_future future;
  lunado_waiter absent; /* linked while there is no other waiter */
  lua_Integer number;   /* its number in the wait queue; 0: a claim */
} ticket;

/* Fields of a wait queue.  HELD, WEAK and TIMERS are tables indexed by number:
 * the tickets with waiters; all tickets in the wait queue, held weakly; the
 * timers.  ASK, CLAIM and REMOVE are functions: a withdrawn ticket calls ASK to
 * get its outcome, a claim calls CLAIM, and REMOVE removes a ticket from the
 * wait queue. */
enum {
  WAITQUEUE_HELD = 1,
  WAITQUEUE_WEAK,
  WAITQUEUE_TIMERS,
  WAITQUEUE_ASK,
  WAITQUEUE_CLAIM,
  WAITQUEUE_REMOVE
};

/* Fields of a timer: the loop; the handle of its timeout, or false while it is
 * not running; the deadline, once the timeout was stopped. */
enum { TIMER_LOOP = 1, TIMER_HANDLE, TIMER_WHEN };

static ticket *to_ticket(lunado_future *future) {
  return lunado_container_of(future, ticket, future);
}

static lunado_future *check_ticket(lua_State *L, int arg) {
  lunado_future *future = lunado__checkfuture(L, lunado__realm_upvalue(L), arg);
  luaL_argcheck(L, future->kind == LUNADO_KIND_TICKET, arg, "not a ticket");
  return future;
}

/* --- waiting -------------------------------------------------------------- */

/* Called when a ticket without other waiters is settled.  The owner of `absent`
 * is the ticket itself; it is taken from the owners because a deferred waiter's
 * owner must be removed. */
static void on_absent(lunado_settler *settler, lunado_waiter *waiter,
                      lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  (void)future;
  lunado__owner_push(realm, waiter);
  lua_pop(realm->futures.frame->L, 1);
}

/* Links the waiter `absent` to the pending ticket at idx, which has no
 * waiter. */
static void link_absent(lua_State *L, int idx, ticket *self) {
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado_future_wait(&self->future, &self->absent, on_absent);
}

bool lunado__ticket_is_idle(const lunado_future *future) {
  return lunado_container_of(future, const ticket, future)->absent.list != NULL;
}

/* Settles the pending claim at idx with the outcome that CLAIM returns.  If a
 * finalizer has settled the claim meanwhile, gives the outcome back by a second
 * call of CLAIM. */
static void take_claim(lua_State *L, int idx, ticket *self) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  lua_getiuservalue(L, idx, TICKET_WAITQUEUE);
  lua_rawgeti(L, top + 1, WAITQUEUE_CLAIM);
  lua_getiuservalue(L, idx, TICKET_VALUE);
  lua_call(L, 1, 1);
  if (lunado_future_pending(&self->future)) {
    self->future.count = 1;
    lunado__settle_known(L, lunado__realm_find(L), idx, &self->future,
                         LUNADO_DONE);
  } else {
    lua_rawgeti(L, top + 1, WAITQUEUE_CLAIM);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_call(L, 2, 0);
  }
  lua_settop(L, top);
}

/* Asks the wait queue for the outcome of the withdrawn ticket at idx, and, if
 * `waits`, for a new place in the wait queue.  The marks of with_timeouts that
 * timed out are removed during the call: the caller gets an error that the
 * ticket gets now, so it must not be logged. */
static void call_waitqueue(lua_State *L, int idx, ticket *self, bool waits) {
  int top = lua_gettop(L);
  uint16_t marks =
      self->future.flags & (LUNADO_IS_TIMED_OUT | LUNADO_IS_TIMED_OUT_QUIET);
  self->future.flags ^= marks;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (lua_getiuservalue(L, idx, TICKET_WAITQUEUE) == LUA_TUSERDATA) {
    lunado_ticket_owner *const *owner = lua_touserdata(L, -1);
    (*owner)->ask(L, top + 1, idx, waits);
    if (lunado_future_pending(&self->future)) self->future.flags |= marks;
    lua_settop(L, top);
    return;
  }
  lua_rawgeti(L, top + 1, WAITQUEUE_ASK);
  lua_insert(L, top + 1);
  lua_pushvalue(L, idx);
  lua_pushinteger(L, self->number);
  lua_pushboolean(L, waits);
  lua_getiuservalue(L, idx, TICKET_TIMER);
  lua_call(L, 5, 1);
  if (lua_isinteger(L, -1)) self->number = lua_tointeger(L, -1);
  if (lunado_future_pending(&self->future)) self->future.flags |= marks;
  lua_settop(L, top);
}

void lunado__ticket_ask(lua_State *L, int idx) {
  ticket *self = lua_touserdata(L, idx);
  if (self->future.flags & LUNADO_IS_CLAIM)
    take_claim(L, idx, self);
  else
    call_waitqueue(L, idx, self, false);
}

bool lunado__ticket_hold(lua_State *L, int idx, lunado_future *future,
                         int owner, lunado_waiter *waiter) {
  ticket *self = to_ticket(future);
  int top = lua_gettop(L);
  if (future->flags & LUNADO_IS_CLAIM) {
    take_claim(L, idx, self);
    return false;
  }
  if (future->flags & LUNADO_IS_WITHDRAWN) {
    call_waitqueue(L, idx, self, true);
    if (!lunado_future_pending(future)) return false;
    if (!lunado__ticket_is_idle(future))
      return lunado__owner_hold(L, idx, future, owner, waiter);
  }
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (lua_getiuservalue(L, idx, TICKET_WAITQUEUE) == LUA_TTABLE) {
    lua_rawgeti(L, top + 1, WAITQUEUE_HELD);
    lua_pushvalue(L, idx);
    lua_rawseti(L, top + 2, self->number);
  }
  lua_settop(L, top);
  lunado_waiter_forget(&self->absent);
  future->flags &= (uint16_t)~LUNADO_IS_WITHDRAWN;
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  return true;
}

/* Sets waitqueue[field][number] to nil; allocates nothing. */
static void clear_field(lua_State *L, int waitqueue, int field,
                        lua_Integer number) {
  lua_rawgeti(L, waitqueue, field);
  if (lua_rawgeti(L, -1, number) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, -3, number);
  }
  lua_pop(L, 2);
}

/* Stops the timer on top; the timer keeps its deadline. */
static void stop_timer(lua_State *L) {
  int timer = lua_gettop(L);
  double when;
  lua_rawgeti(L, timer, TIMER_LOOP);
  lua_rawgeti(L, timer, TIMER_HANDLE);
  if (lua_isinteger(L, -1) &&
      lunado__timeout_take(L, lua_touserdata(L, -2), lua_tointeger(L, -1),
                           &when)) {
    lua_pushnumber(L, (lua_Number)when);
    lua_rawseti(L, timer, TIMER_WHEN);
    lua_pushboolean(L, 0);
    lua_rawseti(L, timer, TIMER_HANDLE);
  }
  lua_settop(L, timer);
}

/* Stops the timer on top and removes it from the wait queue. */
static void take_timer(lua_State *L, int waitqueue, lua_Integer number) {
  stop_timer(L);
  lua_rawgeti(L, waitqueue, WAITQUEUE_TIMERS);
  lua_pushnil(L);
  lua_rawseti(L, -2, number);
  lua_getfield(L, waitqueue, "timed"); /* an existing field: setting it
                                        * allocates nothing */
  lua_pushinteger(L, lua_tointeger(L, -1) - 1);
  lua_setfield(L, waitqueue, "timed");
  lua_pop(L, 2);
}

/* Removes the ticket at idx, and its timer if it has one, from its wait queue.
 */
static void leave_waitqueue(lua_State *L, int idx, const ticket *self) {
  int waitqueue = lua_gettop(L) + 1;
  if (!lua_checkstack(L, LUA_MINSTACK)) return; /* the queue finds it later */
  if (lua_getiuservalue(L, idx, TICKET_WAITQUEUE) == LUA_TUSERDATA) {
    lunado_ticket_owner *const *owner = lua_touserdata(L, waitqueue);
    (*owner)->removed(L, waitqueue, idx);
    lua_settop(L, waitqueue - 1);
    return;
  }
  clear_field(L, waitqueue, WAITQUEUE_HELD, self->number);
  clear_field(L, waitqueue, WAITQUEUE_WEAK, self->number);
  lua_rawgeti(L, waitqueue, WAITQUEUE_TIMERS);
  if (lua_rawgeti(L, -1, self->number) == LUA_TTABLE) {
    take_timer(L, waitqueue, self->number);
    if (lunado_future_pending(&self->future))
      lua_setiuservalue(L, idx, TICKET_TIMER);
  }
  lua_settop(L, waitqueue - 1);
}

void lunado__ticket_withdraw(lua_State *L, int idx, lunado_future *future) {
  ticket *self = to_ticket(future);
  link_absent(L, idx, self);
  future->flags |= LUNADO_IS_WITHDRAWN;
  leave_waitqueue(L, idx, self);
}

void lunado__ticket_settled(lua_State *L, int idx) {
  const ticket *self = lua_touserdata(L, idx);
  if (self->number != 0) leave_waitqueue(L, idx, self);
}

void lunado__ticket_push_waitqueue(lua_State *L, int idx) {
  lua_getiuservalue(L, idx, TICKET_WAITQUEUE);
}

/* --- looking -------------------------------------------------------------- */

lunado_ticket_standing lunado__ticket_standing(lua_State *L,
                                               lunado_realm *realm, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  int found;
  if (!lunado_future_pending(future)) return LUNADO_TICKET_SETTLED;
  if (future->flags & LUNADO_IS_WITHDRAWN) return LUNADO_TICKET_WITHDRAWN;
  if (future->waiters == NULL || lunado__ticket_is_idle(future))
    return LUNADO_TICKET_IDLE;
  found = lunado__forsaken_find(L, realm, idx);
  if (found & LUNADO_WAITER_ALIVE) return LUNADO_TICKET_WAITS;
  return found & LUNADO_WAITER_DEAD ? LUNADO_TICKET_FORSAKEN
                                    : LUNADO_TICKET_WITHDRAWN;
}

/* standing(ticket) → 0 if it is done; 1 if it has a waiter; 2 if it has never
 * had one; 3 if it had one and has none any more; 4 if all its waiters are
 * coroutines that were closed, or resumed by other code. */
static int core_standing(lua_State *L) {
  (void)check_ticket(L, 1);
  lua_pushinteger(L, lunado__ticket_standing(L, lunado__realm_upvalue(L), 1));
  return 1;
}

/* --- making --------------------------------------------------------------- */

lunado_future *lunado__ticket_new(lua_State *L, lunado_realm *realm,
                                  int owner) {
  ticket *self = lunado__future_new(L, realm, LUNADO_KIND_TICKET, sizeof *self,
                                    TICKET_WAITQUEUE);
  self->number = 1;
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, -2, TICKET_WAITQUEUE);
  link_absent(L, lua_gettop(L), self);
  return &self->future;
}

/* ticket(waitqueue, number [, value]) → a new pending ticket with that number
 * in the wait queue; number 0 makes a claim. */
static int core_ticket(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lua_Integer number = luaL_checkinteger(L, 2);
  ticket *self;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  self = lunado__future_new(L, realm, LUNADO_KIND_TICKET, sizeof *self,
                            TICKET_VALUES);
  self->number = number;
  if (number == 0) self->future.flags = LUNADO_IS_WITHDRAWN | LUNADO_IS_CLAIM;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, TICKET_VALUE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 4, TICKET_WAITQUEUE);
  link_absent(L, 4, self);
  return 1;
}

/* ticket_value(ticket) → the value that was passed to ticket(). */
static int core_ticket_value(lua_State *L) {
  check_ticket(L, 1);
  lua_getiuservalue(L, 1, TICKET_VALUE);
  return 1;
}

/* --- handing out ---------------------------------------------------------- */

/* The depth of calls after reserve(), with timers and without, and the stack
 * that these calls need. */
#define RESERVED_CALLS 5
#define RESERVED_FEW 2
#define RESERVED_STACK (6 * LUA_MINSTACK)

/* (n): calls itself n times. */
static int call_down(lua_State *L) {
  lua_Integer n = lua_tointeger(L, 1);
  if (n == 0) return 0;
  lua_pushcfunction(L, call_down);
  lua_pushinteger(L, n - 1);
  lua_call(L, 1, 0);
  return 0;
}

/* reserve([timed]): ensures that the calls which the caller makes next find
 * stack and call records, or raises if memory is short.  This holds until
 * something is allocated, because Lua frees neither outside of a collection.
 * With `timed` false, the caller must call only `hand` or `settle` and have no
 * timer to remove. */
static int core_reserve(lua_State *L) {
  bool few = lua_isboolean(L, 1) && !lua_toboolean(L, 1);
  if (!lua_checkstack(L, RESERVED_STACK))
    return luaL_error(L, "not enough memory");
  lua_pushcfunction(L, call_down);
  lua_pushinteger(L, (few ? RESERVED_FEW : RESERVED_CALLS) - 1);
  lua_call(L, 1, 0);
  return 0;
}

/* If the value on top is a pending Future, settles it with the value at 2.
 * Pops the Future.  The caller has reserved the stack. */
static void settle_one(lua_State *L, lunado_realm *realm, uint32_t count) {
  lunado_future *future = lunado__tofuture(L, realm, -1);
  if (future != NULL && lunado_future_pending(future)) {
    future->count = count;
    lua_pushvalue(L, 2);
    lunado__settle_known(L, realm, 3, future, LUNADO_DONE);
  }
  lua_settop(L, 2);
}

/* settle(future or list of them [, value]): settles the pending ones with the
 * value.  If memory is short, raises before it has settled any. */
static int core_settle(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  uint32_t count = lua_gettop(L) > 1;
  lua_Integer n;
  lua_settop(L, 2);
  if (!lua_checkstack(L, 2 * LUA_MINSTACK))
    return luaL_error(L, "not enough memory");
  if (lua_type(L, 1) != LUA_TTABLE) {
    lua_pushvalue(L, 1);
    settle_one(L, realm, count);
    return 0;
  }
  n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    settle_one(L, realm, count);
  }
  return 0;
}

/* hand(waitqueue, number, ticket [, value]): to be called after reserve().
 * Removes the ticket from the wait queue and, if it is pending, settles it with
 * the value. Cannot fail. */
static int core_hand(lua_State *L) {
  lunado_future *future = check_ticket(L, 3);
  lua_Integer number = luaL_checkinteger(L, 2);
  uint32_t count = lua_gettop(L) > 3;
  lua_settop(L, 4);
  luaL_checkstack(L, 2 * LUA_MINSTACK, NULL);
  lua_rawgeti(L, 1, WAITQUEUE_TIMERS);
  if (lua_rawgeti(L, -1, number) == LUA_TNIL) {
    clear_field(L, 1, WAITQUEUE_HELD, number);
    clear_field(L, 1, WAITQUEUE_WEAK, number);
  } else {
    lua_rawgeti(L, 1, WAITQUEUE_REMOVE);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, number);
    lua_call(L, 2, 0);
  }
  if (!lunado_future_pending(future)) return 0;
  lua_settop(L, 4);
  future->count = count;
  lunado__settle_known(L, lunado__realm_upvalue(L), 3, future, LUNADO_DONE);
  return 0;
}

/* fail_for_memory(future): settles the Future with the error "not enough
 * memory"; works without free memory. */
static int core_fail_for_memory(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado__checkfuture(L, realm, 1);
  lunado__failure_nomemory(L, realm);
  lunado__settle_failed(L, realm, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"ticket", core_ticket},
                                     {"ticket_value", core_ticket_value},
                                     {"standing", core_standing},
                                     {"reserve", core_reserve},
                                     {"settle", core_settle},
                                     {"hand", core_hand},
                                     {"fail_for_memory", core_fail_for_memory},
                                     {NULL, NULL}};

void lunado__ticket_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
