/* SPDX-License-Identifier: MIT */
/*
 * awaited.c - errors that a waiter will get, and errors that were never
 * retrieved.
 *
 * A finalizer cannot find out whether the state is being closed.  So the
 * finalizer of a Failure whose error is awaited sets itself again, to be called
 * by the next collection; if the state is ending, there is no next collection
 * and the error is not reported.
 */
#include "binding/future/awaited.h"

#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/queue.h"
#include "binding/state/class.h"
#include "binding/state/log.h"
#include "core/multi.h"
#include "core/waititer.h"

/* failure->home of an awaited error if no loop has been made yet. */
#define NO_LOOP UINT32_MAX

/* The id of the loop on which the waiter will get the error later; 0 if it gets
 * the error at once. */
static uint32_t home_of(const lunado_realm *realm,
                        const lunado_waiter *waiter) {
  if (waiter->cb == lunado__suspend_ready)
    return lunado_container_of(waiter, lunado_task, waiter)->loop->id;
  if (!lunado_multi_owns(waiter) && !lunado_waititer_owns(waiter)) return 0;
  return realm->loops.current != NULL ? realm->loops.current->id : NO_LOOP;
}

void lunado__awaited_note(lua_State *L, lunado_realm *realm,
                          const lunado_future *future) {
  lunado_failure *self = lua_touserdata(L, -1);
  const lunado_waiter *waiter = future->waiters;
  do {
    self->home = home_of(realm, waiter);
    waiter = waiter->next;
  } while (self->home == 0 && waiter != future->waiters);
}

void lunado__awaited_expect(lua_State *L, lunado_realm *realm, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  lunado_failure *self;
  if (future->state != LUNADO_FAILED) return;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  self = lua_touserdata(L, -1);
  self->home =
      realm->loops.current != NULL ? realm->loops.current->id : NO_LOOP;
  lua_pop(L, 1);
}

void lunado__awaited_queued(lua_State *L, int idx) {
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  ((lunado_failure *)lua_touserdata(L, -1))->queued = true;
  lua_pop(L, 1);
}

/* --- queues --------------------------------------------------------------- */

/* The Failure of the Future at idx of a queue's thread, or NULL. */
static lunado_failure *failure_at(lua_State *thread, const lunado_realm *realm,
                                  int idx) {
  const lunado_future *future = lunado__tofuture(thread, realm, idx);
  lunado_failure *failure;
  if (future == NULL || future->state != LUNADO_FAILED) return NULL;
  lua_getiuservalue(thread, idx, LUNADO_FUTURE_VALUE);
  failure = lua_touserdata(thread, -1);
  lua_pop(thread, 1);
  return failure;
}

/* A search for failed Futures in queues. */
typedef struct {
  const lunado_realm *realm;
  const lunado_failure *wanted; /* NULL: marks all errors as observed */
  bool found;
} search;

/* Visits an entry of `arity` values: the callable at idx and its arguments. */
static void on_entry(lua_State *thread, int idx, int arity, void *data) {
  search *self = data;
  lunado_failure *failure;
  if (arity < 2) return;
  failure = failure_at(thread, self->realm, idx + 1);
  if (failure == NULL) return;
  if (self->wanted == NULL)
    failure->observed = true;
  else if (failure == self->wanted)
    self->found = true;
}

void lunado__awaited_leave(lunado_ioloop *loop) {
  search all = {loop->realm, NULL, false};
  lunado__queue_each(&loop->queue, on_entry, &all);
}

/* Searches the queues of all loops. */
static void search_queues(lua_State *L, search *self) {
  lunado__getslot(L, self->realm, LUNADO_SLOT_LOOPS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    lunado_ioloop *loop = lua_touserdata(L, -1);
    lunado__queue_each(&loop->queue, on_entry, self);
  }
  lua_pop(L, 1);
}

/* --- finalizers ----------------------------------------------------------- */

static bool is_open(lua_State *L, const lunado_realm *realm, uint32_t id) {
  bool open = id == NO_LOOP;
  lunado__getslot(L, realm, LUNADO_SLOT_LOOPS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    const lunado_ioloop *loop = lua_touserdata(L, -1);
    if (loop->id == id) open = !loop->closed;
  }
  lua_pop(L, 1);
  return open;
}

/* True if a queue contains a Future with this Failure.  A value in a queue is
 * reachable, so its finalizer runs only if the state is being closed.  No entry
 * of any queue will then be called, so all errors in queues are marked as
 * observed. */
static bool is_queued(lua_State *L, lunado_realm *realm,
                      const lunado_failure *self) {
  search one = {realm, self, false}, all = {realm, NULL, false};
  search_queues(L, &one);
  if (one.found) search_queues(L, &all);
  return one.found;
}

bool lunado__awaited_still(lua_State *L, lunado_realm *realm, int idx) {
  lunado_failure *self = lua_touserdata(L, idx);
  if (self->queued && is_queued(L, realm, self)) return true;
  if (self->home == 0) return false;
  if (!is_open(L, realm, self->home)) return true;
  self->home = 0; /* the next finalizer call reports it */
  lua_pushvalue(L, idx);
  lunado__class_set(L, realm->types.failure);
  lua_pop(L, 1);
  return true;
}

#define NEVER_RETRIEVED "Future exception was never retrieved: "

/* (realm, failure): logs the error. */
static int report(lua_State *L) {
  lunado_failure *self = lua_touserdata(L, 2);
  self->observed = true;
  lua_pushliteral(L, NEVER_RETRIEVED);
  lunado__failure_text(L, 2);
  lua_concat(L, 2);
  lunado__log(L, lua_touserdata(L, 1), LUNADO_LOG_ERROR);
  return 0;
}

/* Logs the error of the Failure at idx; if there is no memory for its text, the
 * log says so. */
static void report_protected(lua_State *L, lunado_realm *realm, int idx) {
  lua_pushcfunction(L, report);
  lua_pushlightuserdata(L, realm);
  lua_pushvalue(L, idx < 0 ? idx - 2 : idx);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lunado__log_value(L, realm, NEVER_RETRIEVED "its text cannot be made: ");
}

void lunado__awaited_report_now(lua_State *L, lunado_realm *realm, int idx) {
  const lunado_failure *self = lua_touserdata(L, idx);
  if (!self->observed && !self->logged && !self->queued && self->home == 0 &&
      !lunado__failure_is_cancelled(L, realm, idx))
    report_protected(L, realm, idx);
}

static int failure__gc(lua_State *L) {
  const lunado_failure *self = lua_touserdata(L, 1);
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!self->observed && !self->logged &&
      !lunado__failure_is_cancelled(L, realm, 1) &&
      !lunado__awaited_still(L, realm, 1))
    report_protected(L, realm, 1);
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", failure__gc}, {NULL, NULL}};

void lunado__awaited_open(lua_State *L, lunado_realm *realm) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, realm->types.failure);
  lunado__setfunctions(L, metamethods);
  lua_pop(L, 1);
}
