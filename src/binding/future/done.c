/* SPDX-License-Identifier: MIT */
/* done.c - functions that are called when a Future is done. */
#include "binding/future/done.h"

#include "binding/error/failure.h"
#include "binding/future/awaited.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/queue.h"

/* The owner of a waiter that calls a function, or that reports the error of a
 * Future that a callback returned.  User values: the function, or the callback
 * that returned the Future; the Future that it waits for; the loop. */
typedef struct {
  lunado_waiter waiter;
  lunado_ioloop *loop; /* where the function is called; NULL: at once */
} done_callback;

enum { DONE_TARGET = 1, DONE_SOURCE, DONE_LOOP, DONE_VALUES = DONE_LOOP };

/* Makes the done_callback on top hold its loop, or have none if the realm has
 * released the loop. */
static void hold_loop(lua_State *L, done_callback *self) {
  lunado__ioloop_push(L, self->loop);
  if (lua_isnil(L, -1)) self->loop = NULL;
  lua_setiuservalue(L, -2, DONE_LOOP);
}

/* Makes the Future at `source` call `cb` when it is done.  Returns false if it
 * is done already. */
static bool done_new(lua_State *L, int source, int target, lunado_ioloop *loop,
                     lunado_done_cb cb) {
  done_callback *self;
  bool linked;
  source = lua_absindex(L, source);
  target = lua_absindex(L, target);
  self = lua_newuserdatauv(L, sizeof *self, DONE_VALUES);
  self->waiter.list = NULL;
  self->loop = loop;
  if (loop != NULL) hold_loop(L, self);
  lua_pushvalue(L, target);
  lua_setiuservalue(L, -2, DONE_TARGET);
  lua_pushvalue(L, source);
  lua_setiuservalue(L, -2, DONE_SOURCE);
  linked = lunado__owner_wait(L, source, lua_gettop(L), &self->waiter, cb);
  lua_pop(L, 1);
  return linked;
}

static void on_done_now(lunado_settler *settler, lunado_waiter *waiter,
                        lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  (void)future;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, -1, DONE_TARGET);
  lua_getiuservalue(L, -2, DONE_SOURCE);
  lunado__callback(L, realm, NULL, 1);
  lua_pop(L, 1);
}

bool lunado__done_is_callback(const lunado_waiter *waiter) {
  return waiter->cb == on_done_now;
}

static void on_done_loop(lunado_settler *settler, lunado_waiter *waiter,
                         lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  done_callback *self = lunado_container_of(waiter, done_callback, waiter);
  lunado__owner_push(realm, waiter);
  if (self->loop != NULL) { /* else the loop was closed, and calls nothing */
    lua_getiuservalue(L, -1, DONE_TARGET);
    lua_getiuservalue(L, -2, DONE_SOURCE);
    if (future->state == LUNADO_FAILED) lunado__awaited_queued(L, -1);
    lunado__queue_callback(L, realm, self->loop, 1);
  }
  lua_pop(L, 1);
}

void lunado__done_call(lua_State *L, lunado_realm *realm, int idx,
                       lunado_ioloop *loop) {
  lunado_future *future = lua_touserdata(L, idx);
  if (lunado_future_pending(future) &&
      done_new(L, idx, -1, loop, loop != NULL ? on_done_loop : on_done_now)) {
    lua_pop(L, 1);
    return;
  }
  if (loop != NULL && future->state == LUNADO_FAILED)
    lunado__awaited_queued(L, idx);
  lua_pushvalue(L, idx);
  if (loop != NULL)
    lunado__queue_callback(L, realm, loop, 1);
  else
    lunado__callback(L, realm, NULL, 1);
}

/* Reports the error of the Future at idx, if it has failed, as an error of the
 * callback at `callback`.  Pops nothing. */
static void report_failure(lua_State *L, lunado_realm *realm,
                           lunado_ioloop *loop, int idx, int callback) {
  lunado_future *future = lua_touserdata(L, idx);
  if (future->state != LUNADO_FAILED) return;
  lua_pushvalue(L, callback);
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (lunado__failure_is_cancelled(L, realm, -1))
    lua_pop(L, 2);
  else
    lunado__callback_report(L, realm, loop);
}

static void on_discard(lunado_settler *settler, lunado_waiter *waiter,
                       lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  done_callback *self = lunado_container_of(waiter, done_callback, waiter);
  int top = lua_gettop(L);
  (void)future;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, -1, DONE_TARGET);
  lua_getiuservalue(L, -2, DONE_SOURCE);
  report_failure(L, realm, self->loop, top + 3, top + 2);
  lua_settop(L, top);
}

void lunado__done_discard(lua_State *L, lunado_realm *realm,
                          lunado_ioloop *loop, int idx, int callback) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future) ||
      !done_new(L, idx, callback, loop, on_discard))
    report_failure(L, realm, loop, idx, callback);
}

void lunado__done_discard_coroutine(lua_State *L, lunado_realm *realm,
                                    lunado_ioloop *loop, int idx,
                                    int callback) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future)) {
    report_failure(L, realm, loop, idx, callback);
    return;
  }
  future->flags |= LUNADO_IS_DISCARDED;
  lua_pushvalue(L, callback);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
}

void lunado__done_fail_discarded(lua_State *L, lunado_realm *realm, int idx) {
  int failure = lua_gettop(L);
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lua_insert(L, failure);
  lua_pushvalue(L, -1);
  lunado__settle_failed(L, realm, idx);
  if (lunado__failure_is_cancelled(L, realm, failure + 1))
    lua_pop(L, 2);
  else
    lunado__callback_report(L, realm, realm->loops.current);
}
