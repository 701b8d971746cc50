/* SPDX-License-Identifier: MIT */
/*
 * runsync.c - IOLoop.run_sync and lunado.run.
 *
 * A run has a `sync_wait`, a userdata of its own, because the awaited Future
 * and the loop hold it.  Invariant: the wait's waiter and timer are linked only
 * while the loop is `awaited`.  Functions that may raise are called before or
 * after that.
 */
#include "binding/loop/runsync.h"

#include <math.h>

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/walk.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/with_timeout.h"
#include "binding/loop/anchor.h"
#include "binding/loop/interrupt.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/queue.h"
#include "binding/loop/uncaught.h"
#include "binding/state/argument.h"
#include "binding/state/log.h"
#include "binding/state/naming.h"

/* User values of a wait: the loop; the function that is run, or nil. */
enum { WAIT_LOOP = 1, WAIT_FUNCTION, WAIT_VALUES = WAIT_FUNCTION };

typedef struct {
  lunado_waiter waiter;
  lunado_timer timer;
  lunado_loop *core; /* valid while the waiter or the timer is linked */
  double deadline;   /* INFINITY: there is none */
  uint32_t anchor;
  bool timed_out;
  lunado_until until;
} sync_wait;

static void on_done(lunado_settler *settler, lunado_waiter *waiter,
                    lunado_future *future) {
  sync_wait *self = lunado_container_of(waiter, sync_wait, waiter);
  (void)settler, (void)future;
  lunado__ioloop_end(self->core, &self->until);
}

static void on_deadline(lunado_loop *core, lunado_timer *timer) {
  sync_wait *self = lunado_container_of(timer, sync_wait, timer);
  lunado_ioloop *loop = core->owner;
  self->timed_out = true;
  lunado__anchor_drop(loop->L, loop, self->anchor);
  lunado__ioloop_end(core, &self->until);
}

/* Puts a new Failure with the message at idx and removes all values above
 * it. */
static int fail(lua_State *L, lunado_realm *realm, int idx,
                lunado_error_class which, const char *message) {
  lunado__exception_push(L, realm, which, "%s", message);
  lunado__failure_new(L, realm, -1, -1)->observed = true;
  lua_replace(L, idx);
  lua_settop(L, idx);
  return LUA_ERRRUN;
}

/* Pushes the description of a kind of Future, for messages. */
static void push_kind(lua_State *L, int kind) {
  static const char *const kinds[] = {
      [LUNADO_KIND_PLAIN] = "a plain Future",
      [LUNADO_KIND_COROUTINE] = "the Future of a coroutine",
      [LUNADO_KIND_SLEEP] = "a sleep",
      [LUNADO_KIND_TIMEOUT] = "a with_timeout",
      [LUNADO_KIND_MULTI] = "a multi",
      [LUNADO_KIND_NEXT] = "next of a WaitIterator",
      [LUNADO_KIND_PROMISE] = "a promise",
      [LUNADO_KIND_JOB] = "an executor's job",
      [LUNADO_KIND_REQUEST] = "a request of libuv",
      [LUNADO_KIND_TICKET] = "the Future of a wait in line",
  };
  lua_pushstring(L, kinds[kind]);
}

/* For the Future on top, which no suspended coroutine will settle: pushes a
 * text with the place where the run was called, the kind of the Future, and the
 * name of the function that returned it, if known. */
static void push_origin(lua_State *L, const lunado_realm *realm, int wait_idx,
                        bool timed) {
  int kind = lua_gettop(L) + 1;
  push_kind(L, ((const lunado_future *)lua_touserdata(L, -1))->kind);
  lunado__naming_pushplace(L, realm, L);
  if (lua_getiuservalue(L, wait_idx, WAIT_FUNCTION) == LUA_TNIL)
    lua_pushliteral(L, "");
  else
    lunado__naming_push(L, lua_gettop(L));
  lua_pushfstring(L, "%s for %s%s%s%s", lua_tostring(L, kind + 1),
                  lua_tostring(L, kind), timed ? " in a with_timeout" : "",
                  lua_isnil(L, kind + 2) ? "" : " that was returned by ",
                  lua_tostring(L, -1));
}

/* Pushes the place at which the pending Future at idx waits.  For a
 * with_timeout this is the place of the Future that it waits for.  For a Future
 * of no coroutine it is the place where the run was called. */
static void push_where(lua_State *L, const lunado_realm *realm, int idx,
                       int wait_idx) {
  const lunado_task *task;
  const lunado_future *future;
  bool timed = false;
  lua_pushvalue(L, idx);
  while (future = lua_touserdata(L, -1),
         future->kind == LUNADO_KIND_TIMEOUT && lunado_future_pending(future)) {
    lunado__with_timeout_child(L, lua_gettop(L));
    lua_remove(L, -2);
    timed = true;
  }
  task = lunado__coroutine_push_task(L, lua_gettop(L));
  if (task != NULL)
    lunado__task_pushplace(L, task);
  else
    push_origin(L, realm, wait_idx, timed);
  lua_replace(L, idx + 1);
  lua_settop(L, idx + 1);
}

/* Puts the Failure for a run that has ended while the Future at idx is still
 * pending. */
static int fail_unfinished(lua_State *L, lunado_ioloop *loop, int idx,
                           int wait_idx, int rc) {
  lunado_realm *realm = loop->realm;
  if (loop->core->closed || lunado_loop_taken(loop->core))
    return fail(L, realm, idx, LUNADO_E_EXCEPTION,
                "the IOLoop was closed before the function was done");
  if (rc == LUNADO_RUN_STOPPED)
    return fail(L, realm, idx, LUNADO_E_EXCEPTION,
                "the IOLoop was stopped before the function was done");
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  push_where(L, realm, idx, wait_idx);
  lua_pushfstring(L,
                  "the run would never end: it waits at %s, and nothing on "
                  "the IOLoop is left that could set what it waits for",
                  lua_tostring(L, -1));
  return fail(L, realm, idx, LUNADO_E_EXCEPTION, lua_tostring(L, -1));
}

/* (wait, loop): starts the timer. */
static int start_timer(lua_State *L) {
  sync_wait *self = lua_touserdata(L, 1);
  lunado_ioloop *loop = lua_touserdata(L, 2);
  lua_settop(L, 1);
  lunado__anchor_starttimer(L, loop, &self->timer, self->deadline,
                            &self->anchor);
  return 0;
}

/* Starts the wait's timer if there is a deadline.  If this fails, pushes the
 * error and returns false. */
static bool start_protected(lua_State *L, lunado_ioloop *loop, int wait_idx) {
  const sync_wait *self = lua_touserdata(L, wait_idx);
  if (self->deadline == INFINITY) return true;
  lua_pushcfunction(L, start_timer);
  lua_pushvalue(L, wait_idx);
  lua_pushlightuserdata(L, loop);
  return lua_pcall(L, 2, 0, 0) == LUA_OK;
}

/* Begins the wait for the Future at idx.  False: it is done, or the time has
 * passed. */
static bool join(lua_State *L, lunado_ioloop *loop, int idx, int wait_idx) {
  sync_wait *self = lua_touserdata(L, wait_idx);
  if (!lunado_future_pending(lua_touserdata(L, idx)) || self->timed_out)
    return false;
  self->until = (lunado_until){.ended = false};
  if (!lunado__owner_wait(L, idx, wait_idx, &self->waiter, on_done))
    return false;
  loop->awaited = true;
  return true;
}

/* Ends the wait for the Future at idx, and stops its timer. */
static void part(lua_State *L, lunado_ioloop *loop, int idx, sync_wait *self) {
  loop->awaited = false;
  lunado__owner_forget(L, idx, &self->waiter);
  if (!loop->core->closed)
    lunado__anchor_stoptimer(L, loop, &self->timer, self->anchor);
}

/* Runs the loop until the Future at idx is done or the wait's deadline has
 * passed. */
static int run_until_done(lua_State *L, lunado_ioloop *loop, int idx,
                          int wait_idx) {
  sync_wait *self = lua_touserdata(L, wait_idx);
  int rc;
  if (!join(L, loop, idx, wait_idx)) return LUNADO_RUN_STOPPED;
  if (!start_protected(L, loop, wait_idx)) {
    part(L, loop, idx, self);
    lunado__coroutine_withdraw(L, idx);
    return lua_error(L);
  }
  rc = lunado__ioloop_run(L, loop, &self->until);
  part(L, loop, idx, self);
  if (rc != UV_ENOMEM) return rc;
  lunado__coroutine_withdraw(L, idx);
  return luaL_error(L, "not enough memory");
}

/* --- a run that is broken off --------------------------------------------- */

/* Seconds that a coroutine has to end after it was cancelled. */
static const double LAST_WAIT = 1;

/* Cancels the coroutine, or gives up the work, behind the Future at idx.
 * Returns false if there is nothing of that kind.  `reason` is static. */
static bool give_up(lua_State *L, lunado_realm *realm, int idx,
                    const char *reason) {
  int notice = lua_gettop(L) + 1;
  bool taken = true;
  lunado__notice_push_protected(L, realm, reason);
  if (lunado__coroutine_push_task(L, idx) != NULL)
    lunado__cancel_task(L, realm, notice + 1, notice);
  else
    taken = lunado__walk_future(L, realm, idx, notice);
  lua_settop(L, notice - 1);
  return taken;
}

/* (Failure): logs it, unless it is a CancelledError. */
static int log_last(lua_State *L) {
  lua_settop(L, 1);
  lua_pushnil(L);
  lunado__cancel_log(L, lunado__realm_find(L),
                     "Error in a coroutine that was cancelled at the end of a "
                     "run: ",
                     1, 2);
  return 0;
}

/* Calls log_last with the Failure on top, and pops it. */
static void log_protected(lua_State *L, lunado_realm *realm) {
  lua_pushcfunction(L, log_last);
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lunado__log_value(L, realm, "Error at the end of a run: ");
}

/* Runs the loop until the Future at idx is done, for at most LAST_WAIT. */
static void run_last(lua_State *L, lunado_ioloop *loop, int idx, int wait_idx) {
  sync_wait *self = lua_touserdata(L, wait_idx);
  self->timed_out = false;
  self->deadline = lunado_loop_time(loop->core) + LAST_WAIT;
  if (!join(L, loop, idx, wait_idx)) return;
  if (start_protected(L, loop, wait_idx))
    (void)lunado__ioloop_run(L, loop, &self->until);
  else
    lua_pop(L, 1);
  part(L, loop, idx, self);
  if (lunado__interrupt_take(L, loop->realm)) lua_pop(L, 1);
  if (lunado__queue_gave_up(L, loop)) log_protected(L, loop->realm);
}

/* To be called when the run ends before the Future at idx is done: cancels what
 * it leaves behind and waits for that, but not for long.  So its `<close>`
 * handlers run.  Returns false if there is nothing to cancel. */
static bool wind_up(lua_State *L, lunado_ioloop *loop, int idx, int wait_idx,
                    const char *reason) {
  if (!lua_checkstack(L, LUA_MINSTACK) || !give_up(L, loop->realm, idx, reason))
    return false;
  if (!loop->core->closed) run_last(L, loop, idx, wait_idx);
  return true;
}

/* Does the same for a run that ends with an error of its own; that of the
 * Future is logged. */
static void wind_up_failed(lua_State *L, lunado_ioloop *loop, int idx,
                           int wait_idx, const char *reason) {
  const lunado_future *future = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  if (!lunado_future_pending(future)) return;
  (void)wind_up(L, loop, idx, wait_idx, reason);
  if (future->state == LUNADO_FAILED) {
    lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    log_protected(L, loop->realm);
  }
  lua_settop(L, top);
}

/* Logs that the Future at idx is still pending. */
static void warn_unfinished(lua_State *L, lunado_ioloop *loop, int idx,
                            int wait_idx) {
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  push_where(L, loop->realm, idx, wait_idx);
  lua_pushfstring(L,
                  "the run has ended, but its function goes on although it was "
                  "cancelled: it waits at %s",
                  lua_tostring(L, -1));
  lunado__log(L, loop->realm, LUNADO_LOG_WARNING);
}

/* To be called when the run was dismissed before the Future at idx was done:
 * winds it up.  Returns true if the run has no result: the Future is pending
 * still, or its coroutine has ended by the cancellation. */
static bool end_dismissed(lua_State *L, lunado_ioloop *loop, int idx,
                          int wait_idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  bool wound_up = wind_up(L, loop, idx, wait_idx, "the worker was told to end");
  if (lunado_future_pending(future)) {
    if (wound_up) warn_unfinished(L, loop, idx, wait_idx);
  } else {
    if (future->state != LUNADO_FAILED) return false;
    lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    if (!lunado__failure_is_cancelled(L, loop->realm, -1)) {
      lua_pop(L, 1);
      return false;
    }
    lunado__failure_observe(L, -1);
  }
  lua_settop(L, idx - 1);
  return true;
}

/* --- a run ---------------------------------------------------------------- */

/* If a Failure has ended the run, pushes it and returns true. */
static bool push_end(lua_State *L, lunado_ioloop *loop, int idx, int wait_idx) {
  if (lunado__interrupt_take(L, loop->realm)) {
    if (!loop->realm->errors.interrupted) /* else a run around it ends, too */
      wind_up_failed(L, loop, idx, wait_idx, "the run was interrupted");
    return true;
  }
  if (!lunado__queue_gave_up(L, loop)) return false;
  if (lunado_future_pending(lua_touserdata(L, idx))) {
    lunado__coroutine_withdraw(L, idx);
    return true;
  }
  lua_pop(L, 1);
  return false;
}

/* Replaces the Future at idx, on top, by its outcome; while that is again a
 * Future, waits for that one too. */
static int wait_for_outcome(lua_State *L, lunado_ioloop *loop, int idx,
                            int wait_idx, double timeout) {
  lunado_realm *realm = loop->realm;
  sync_wait *self = lua_touserdata(L, wait_idx);
  do {
    int rc = loop->dismissed ? LUNADO_RUN_STOPPED
                             : run_until_done(L, loop, idx, wait_idx);
    lunado_future *future = lua_touserdata(L, idx);
    if (push_end(L, loop, idx, wait_idx)) {
      lua_replace(L, idx);
      return LUA_ERRRUN;
    }
    if (lunado_future_pending(future) && loop->dismissed &&
        end_dismissed(L, loop, idx, wait_idx))
      return LUA_OK;
    if (lunado_future_pending(future) && self->timed_out) {
      wind_up_failed(L, loop, idx, wait_idx, "run_sync timed out");
      lua_pushfstring(L, "Operation timed out after %f seconds",
                      (lua_Number)timeout);
      return fail(L, realm, idx, LUNADO_E_TIMEOUT, lua_tostring(L, -1));
    }
    if (lunado_future_pending(future))
      return fail_unfinished(L, loop, idx, wait_idx, rc);
    if (future->state == LUNADO_FAILED) {
      lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
      ((lunado_failure *)lua_touserdata(L, -1))->observed = true;
      lua_replace(L, idx);
      return LUA_ERRRUN;
    }
    (void)lunado__future_push_results(L, idx);
    lua_remove(L, idx);
  } while (lua_gettop(L) == idx && lunado__tofuture(L, realm, idx) != NULL);
  return LUA_OK;
}

/* Pushes a new wait, which waits for no Future yet and has no function. */
static void push_wait(lua_State *L, lunado_ioloop *loop) {
  sync_wait *self;
  lunado__ioloop_push(L, loop); /* holds it: it may be closed during the run */
  self = lua_newuserdatauv(L, sizeof *self, WAIT_VALUES);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, WAIT_LOOP);
  self->waiter.list = NULL;
  self->core = loop->core;
  self->deadline = INFINITY;
  self->timed_out = false;
  lunado_timer_init(&self->timer, on_deadline);
}

/* Replaces the wait at base, and the Future above it on top, by the outcome of
 * the Future. */
static int run_wait(lua_State *L, lunado_ioloop *loop, int base,
                    double timeout) {
  sync_wait *self = lua_touserdata(L, base);
  int status;
  loop->dismissed = false;
  if (timeout > 0) self->deadline = lunado_loop_time(loop->core) + timeout;
  status = wait_for_outcome(L, loop, base + 1, base, timeout);
  lua_remove(L, base);
  return status;
}

int lunado__runsync(lua_State *L, lunado_ioloop *loop, int nargs,
                    double timeout) {
  int base = lua_gettop(L) - nargs;
  push_wait(L, loop);
  lua_pushvalue(L, base);
  lua_setiuservalue(L, -2, WAIT_FUNCTION);
  lua_insert(L, base); /* wait function arguments */
  lunado_loop_clear_stop(loop->core);
  lunado__coroutine_spawn_later(L, loop->realm, loop, nargs);
  return run_wait(L, loop, base, timeout);
}

/* --- raising to the caller ------------------------------------------------ */

static int run_and_return(lua_State *L, lunado_ioloop *loop, int nargs,
                          double timeout) {
  int base = lua_gettop(L) - nargs;
  if (lunado__runsync(L, loop, nargs, timeout) != LUA_OK)
    return lunado__uncaught_raise(L, loop->realm);
  return lua_gettop(L) - base + 1;
}

/* loop:run_sync(fn [, timeout]) → the results of fn, run as a coroutine.
 * Raises fn's error, or TimeoutError after `timeout` seconds.
 * Tornado: IOLoop.run_sync. */
static int loop_run_sync(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double timeout = 0;
  lunado__checkcallable(L, 2);
  if (!lua_isnoneornil(L, 3)) {
    timeout = lunado__checkseconds(L, 3);
    if (timeout <= 0) timeout = 1e-9;
  }
  lunado__ioloop_checkidle(L, loop);
  lua_settop(L, 2);
  return run_and_return(L, loop, 0, timeout);
}

/* lunado.run(fn, ...) → the results of fn(...), run as a coroutine on the
 * current loop.  Runs the loop until fn has ended, and raises fn's error. */
static int lunado_run(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop;
  lunado__checkcallable(L, 1);
  loop = lunado__ioloop_current(L, realm);
  lunado__ioloop_checkidle(L, loop);
  return run_and_return(L, loop, lua_gettop(L) - 1, 0);
}

/* wait(loop, future) → the results of the Future, as run_sync of a function
 * that returns the Future. */
static int core_wait(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_check(L, realm, 1);
  lunado__checkfuture(L, realm, 2);
  lunado__ioloop_checkidle(L, loop);
  lua_settop(L, 2);
  push_wait(L, loop);
  lua_insert(L, 2); /* loop wait future */
  if (run_wait(L, loop, 2, 0) != LUA_OK)
    return lunado__uncaught_raise(L, realm);
  return lua_gettop(L) - 1;
}

/* dismiss(loop): stops the loop.  A run_sync that is under way cancels its
 * function, and returns without a result if that leaves none. */
static int core_dismiss(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  loop->dismissed = true;
  lunado_loop_stop(loop->core);
  return 0;
}

static const luaL_Reg methods[] = {{"run_sync", loop_run_sync}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"run", lunado_run},
                                     {"wait", core_wait},
                                     {"dismiss", core_dismiss},
                                     {NULL, NULL}};

void lunado__runsync_methods(lua_State *L) { lunado__setfunctions(L, methods); }

void lunado__runsync_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
