/* SPDX-License-Identifier: MIT */
/* with_timeout.c - gen.with_timeout: a Future with a deadline. */
#include "binding/future/with_timeout.h"

#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/future/timedout.h"
#include "binding/future/yieldable.h"
#include "binding/loop/anchor.h"
#include "binding/loop/deadline.h"
#include "binding/loop/ioloop.h"

/* User values besides that of a Future: the child, for which it waits;
 * quiet_exceptions. */
enum { TIMED_CHILD = 2, TIMED_QUIET, TIMED_VALUES = TIMED_QUIET };

typedef struct {
  lunado_future future;
  lunado_timer timer;
  lunado_waiter waiter; /* in the child; removed when it times out */
  lunado_ioloop *loop;  /* valid while the timer is running */
  uint32_t anchor;
} timed;

static void on_child(lunado_settler *settler, lunado_waiter *waiter,
                     lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  timed *self = lunado_container_of(waiter, timed, waiter);
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 24)) return;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, top + 1, TIMED_CHILD);
  lunado__anchor_stoptimer(L, self->loop, &self->timer, self->anchor);
  if (lunado_future_pending(&self->future)) {
    lunado__settle_copy(L, realm, top + 2, top + 1);
  } else if (future->state == LUNADO_FAILED) { /* the program had settled the
                                                * with_timeout */
    lua_getiuservalue(L, top + 1, TIMED_QUIET);
    lunado__timedout_log(L, realm, top + 2, top + 3);
  }
  lua_settop(L, top);
}

/* (realm) → the Failure of a TimeoutError */
static int make_timeout(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lunado__exception_push(L, realm, LUNADO_E_TIMEOUT, "Timeout");
  (void)lunado__failure_new(L, realm, 2, -1);
  return 1;
}

static void push_timeout(lua_State *L, lunado_realm *realm) {
  lua_pushcfunction(L, make_timeout);
  lua_pushlightuserdata(L, realm);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lunado__failure_nomemory(L, realm);
}

/* Makes the with_timeout at idx, which has timed out or is done, stop waiting
 * for its child, and marks the child (timedout.h). */
static void forget_child(lua_State *L, lunado_realm *realm, int idx) {
  timed *self = lua_touserdata(L, idx);
  int child = lua_gettop(L) + 1, quiet = child + 1;
  lua_getiuservalue(L, idx, TIMED_CHILD);
  lua_getiuservalue(L, idx, TIMED_QUIET);
  if (lunado_future_pending(self->waiter.future)) {
    lunado__timedout_mark(L, realm, child, quiet);
    lunado__owner_forget(L, child, &self->waiter);
    lua_pushnil(L);
    lua_setiuservalue(L, idx, TIMED_CHILD);
  }
  lua_settop(L, child - 1);
}

static void on_timed_out(lunado_loop *core, lunado_timer *timer) {
  timed *self = lunado_container_of(timer, timed, timer);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  lunado__anchor_take(L, loop, self->anchor);
  forget_child(L, loop->realm, top + 1);
  if (lunado_future_pending(&self->future)) {
    push_timeout(L, loop->realm);
    lunado__settle_failed(L, loop->realm, top + 1);
  }
  lua_settop(L, top);
}

void lunado__with_timeout_stop(lua_State *L, lunado_realm *realm, int idx) {
  timed *self = lua_touserdata(L, idx);
  if (!lunado_timer_running(&self->timer) || !lua_checkstack(L, 24)) return;
  lunado__anchor_stoptimer(L, self->loop, &self->timer, self->anchor);
  forget_child(L, realm, idx);
}

/* gen.with_timeout(timeout, yieldable [, quiet_exceptions]) → a Future that
 * gets the outcome of the yieldable, or TimeoutError if that is not done in
 * time. `timeout` is a deadline as in IOLoop:add_timeout.
 * Tornado: gen.with_timeout. */
static int gen_with_timeout(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  double when = lunado__deadline_check(L, lunado__ioloop_current(L, realm), 1);
  lunado_future *child;
  lunado_ioloop *loop;
  timed *self;
  luaL_checkany(L, 2);
  lunado__quiet_check(L, 3);
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  lunado__yieldable_one(L, realm);
  self = lunado__future_new(L, realm, LUNADO_KIND_TIMEOUT, sizeof *self,
                            TIMED_VALUES);
  loop = lunado__ioloop_current(L, realm); /* a converter may have closed the
                                            * former one */
  lunado_timer_init(&self->timer, on_timed_out);
  self->waiter.list = NULL;
  self->loop = loop;
  child = lua_touserdata(L, 4);
  if (!lunado_future_pending(child) ||
      !lunado__owner_hold(L, 4, child, 5, &self->waiter)) {
    lunado__settle_copy(L, realm, 4, 5);
    return 1;
  }
  lua_pushvalue(L, 4);
  lua_setiuservalue(L, 5, TIMED_CHILD);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 5, TIMED_QUIET);
  lunado__anchor_starttimer(L, loop, &self->timer, when, &self->anchor);
  lunado_future_wait(child, &self->waiter, on_child);
  return 1;
}

const lunado_timer *lunado__with_timeout_timer(const lunado_future *future) {
  return &lunado_container_of(future, timed, future)->timer;
}

void lunado__with_timeout_child(lua_State *L, int idx) {
  lua_getiuservalue(L, idx, TIMED_CHILD);
}

static const luaL_Reg functions[] = {{"with_timeout", gen_with_timeout},
                                     {NULL, NULL}};

void lunado__with_timeout_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
