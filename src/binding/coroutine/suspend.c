/* SPDX-License-Identifier: MIT */
/*
 * suspend.c - what happens to a coroutine from its yield until it is resumed:
 * it waits, is queued, or an error is prepared for its yield.
 */
#include "binding/coroutine/suspend.h"

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/run.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/throw.h"
#include "binding/coroutine/watch.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/future/yieldable.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/queue.h"
#include "binding/state/context.h"
#include "binding/state/hook.h"

int lunado__suspend_push_outcome(lua_State *L, lunado_realm *realm, int t,
                                 lunado_task *task, lunado_future *future) {
  lua_State *thread = task->thread;
  if (future->state == LUNADO_DONE) {
    if (future->count != 1)
      return lunado__future_push_results(thread, lua_gettop(thread));
    lua_getiuservalue(thread, -1, LUNADO_FUTURE_VALUE);
    return 1;
  }
  lua_getiuservalue(thread, -1, LUNADO_FUTURE_VALUE);
  lunado__throw_failure(L, realm, t, task);
  return 1;
}

/* Pushes the function that resumes the task at idx within its saved stack
 * contexts.  The function is queued in place of the task. */
static void push_wrapped(lua_State *L, lunado_realm *realm, lunado_task *task,
                         int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_WRAPPED_TASKS);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_pushvalue(L, idx);
  lua_pushnil(L);
  lua_rawset(L, -4);
  lua_remove(L, -2);
  task->flags &= ~(uint32_t)TASK_WRAPPED;
}

void lunado__suspend_queue(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task) {
  if (!(task->flags & TASK_WRAPPED)) {
    lua_pushvalue(L, t);
    lunado__queue_push_task(L, task->loop);
  } else {
    push_wrapped(L, realm, task, t);
    lunado__queue_push_function(L, task->loop);
  }
}

/* Queues the task on top, whose waiter has just been unlinked, and pops it.  A
 * task that was already collected is not queued, even if a finalizer settles
 * its Future. */
static void make_ready(lua_State *L, lunado_waiter *waiter) {
  lunado_task *task = lunado_container_of(waiter, lunado_task, waiter);
  lunado_ioloop *loop = task->loop;
  if (!(task->flags & TASK_WAITING)) {
    lua_pop(L, 1);
    return;
  }
  task->flags ^= TASK_WAITING | TASK_QUEUED;
  loop->queue.reserved--;
  lunado__suspend_queue(L, loop->realm, lua_gettop(L), task);
  lua_pop(L, 1);
}

void lunado__suspend_ready(lunado_settler *settler, lunado_waiter *waiter,
                           lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  (void)future;
  lunado__owner_push(realm, waiter);
  make_ready(L, waiter);
}

void lunado__suspend_ready_sole(lua_State *L, int idx, lunado_waiter *waiter) {
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_rawgetp(L, -1, waiter);
    lua_remove(L, -2);
  }
  make_ready(L, waiter);
}

void lunado__suspend_make_ready(lua_State *L, lunado_waiter *waiter) {
  make_ready(L, waiter);
}

static int raise_closed(lua_State *L) {
  return luaL_error(L, "the coroutine's IOLoop is closed");
}

/* (task) → its loop.  Gives the task a loop if it has none, and ensures that
 * the loop's queue has a free slot.  The loop is on the stack during that,
 * because finalizers may close it. */
static int push_loop_with_slot(lua_State *L) {
  lunado_task *task = lua_touserdata(L, 1);
  lunado_realm *realm = lunado__realm_find(L);
  bool is_new = task->loop == NULL;
  if (is_new) task->loop = lunado__ioloop_current(L, realm);
  if (task->loop->closed) return raise_closed(L);
  lunado__ioloop_push(L, task->loop);
  if (is_new && realm->coroutines.tracking) lunado__task_track(L, realm, 1);
  lunado__queue_add_slot(L, &task->loop->queue);
  return 1;
}

/* The fast path of push_loop_with_slot: gives the task a loop if it has none.
 * Returns true if the loop's queue has a free slot. */
static bool choose_loop_with_slot(lunado_realm *realm, lunado_task *task) {
  if (task->loop == NULL) {
    if (realm->coroutines.tracking) return false; /* tracking it may fail */
    task->loop = realm->loops.current;
  }
  return task->loop != NULL && lunado__queue_has_slot(&task->loop->queue);
}

/* Called from the queue, within the saved contexts: resumes the task, which is
 * its upvalue 3. */
static int resume_wrapped(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  lunado__run_wake(L, lunado__realm_upvalue(L), 1);
  return 0;
}

/* (task): saves the current stack contexts.  The task will be resumed within
 * them. */
static int wrap(lua_State *L) {
  lunado_task *task = lua_touserdata(L, 1);
  lunado_realm *realm = lunado__realm_find(L);
  lunado__getslot(L, realm, LUNADO_SLOT_WRAPPED_TASKS);
  lua_pushvalue(L, 1);
  lunado__pushclosure(L, resume_wrapped, 1);
  lunado__context_wrap(L, realm, 4);
  lua_rawset(L, 2);
  task->flags |= TASK_WRAPPED;
  return 0;
}

void lunado__suspend_wrap(lua_State *L, const lunado_realm *realm, int t) {
  if (realm->contexts.current == NULL) return;
  lua_pushcfunction(L, wrap);
  lua_pushvalue(L, t);
  lua_call(L, 1, 0);
}

/* Prepares the task at t for suspension.  If that fails, returns false, with an
 * error prepared for its yield.  The queue slot comes last, because finalizers
 * that run in the steps before could take it.  The last check is needed because
 * a debug hook may close the loop when push_loop_with_slot returns; the loop is
 * still on the stack then. */
static bool try_to_prepare(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task) {
  bool found;
  if (task->flags & TASK_ENTERING) lunado__watch_enter(L, realm, t, task);
  if (realm->contexts.current != NULL) {
    lua_pushvalue(L, t);
    if (!lunado__throw_protected(L, realm, t, wrap, 1)) return false;
  }
  if (choose_loop_with_slot(realm, task)) return true;
  lua_pushvalue(L, t);
  if (!lunado__throw_protected(L, realm, t, push_loop_with_slot, 1))
    return false;
  found = lunado__queue_has_slot(&task->loop->queue);
  lua_pop(L, 1);
  if (!found) (void)lunado__throw_raised(L, realm, t, raise_closed);
  return found;
}

/* The slow path of prepare_suspension.  It runs user code, which may resume or
 * close the thread. */
static int prepare_slowly(lua_State *L, lunado_realm *realm, int t,
                          lunado_task *task, lunado_ioloop *home) {
  lua_State *thread = task->thread;
  int n = lua_gettop(thread), rc = 0;
  const void *top = n > 0 ? lua_topointer(thread, -1) : NULL;
  if (!try_to_prepare(L, realm, t, task))
    rc = lunado__throw_count(task);
  else if (lua_status(thread) != LUA_YIELD || lua_gettop(thread) != n ||
           (n > 0 && lua_topointer(thread, -1) != top))
    rc = RESUMED_OUTSIDE;
  if (rc != 0) task->loop = home;
  return rc;
}

/* Prepares a task for suspension: ensures a free slot in its loop's queue, and
 * saves the current stack contexts.  Returns 0; or, on failure, how many values
 * to resume it with, or RESUMED_OUTSIDE.  On failure task->loop is restored,
 * because a task that is not suspended has not reffed the loop and would not
 * keep it alive. */
static inline int prepare_suspension(lua_State *L, lunado_realm *realm, int t,
                                     lunado_task *task) {
  lunado_ioloop *home = task->loop;
  if (!(task->flags & TASK_ENTERING) && realm->contexts.current == NULL &&
      choose_loop_with_slot(realm, task))
    return 0;
  return prepare_slowly(L, realm, t, task, home);
}

void lunado__suspend_ref(lua_State *L, int t, lunado_task *task, uint32_t how) {
  if (!(task->flags & TASK_BOUND)) lunado__task_bind(L, t, task);
  task->flags |= how;
  lunado__ioloop_ref(task->loop);
}

/* Queues the task, which will be resumed with no values on the next turn.
 * Returns as lunado__suspend_wait. */
static int requeue(lua_State *L, lunado_realm *realm, int t,
                   lunado_task *task) {
  int rc = prepare_suspension(L, realm, t, task);
  if (rc != 0) return rc;
  lunado__suspend_ref(L, t, task, TASK_QUEUED);
  task->waiter.future = NULL;
  lunado__suspend_queue(L, realm, t, task);
  return SUSPENDED;
}

/* (task, future): links the task to a Future that has other waiters or is a
 * dependent.  That makes or extends a table of owners, which may fail. */
static int wait_behind_others(lua_State *L) {
  lunado_task *task = lua_touserdata(L, 1);
  (void)lunado__owner_wait(L, 2, 1, &task->waiter, lunado__suspend_ready);
  return 0;
}

/* True if the thread is suspended, with the Future on top of its stack. */
static bool is_on_top(lua_State *thread, const lunado_future *future) {
  return lua_status(thread) == LUA_YIELD && lua_gettop(thread) > 0 &&
         lua_touserdata(thread, -1) == (const void *)future;
}

/* Links the task, which is on top of L, to the Future on top of its thread's
 * stack, which has other waiters or is a dependent.  Returns as link_task. */
static int link_behind(lua_State *L, lunado_realm *realm, int t,
                       lunado_task *task, lunado_future *future) {
  lua_State *thread = task->thread;
  lunado__hook hook;
  bool linked;
  lua_pushvalue(thread, -1);
  lua_xmove(thread, L, 1);
  hook = lunado__hook_off(L);
  linked = lunado__throw_protected(L, realm, t, wait_behind_others, 2);
  lunado__hook_on(L, &hook);
  if (!linked) return lunado__throw_count(task);
  if (task->waiter.list != NULL) return SUSPENDED;
  if (!is_on_top(thread, future)) return RESUMED_OUTSIDE;
  return lunado__suspend_push_outcome(L, realm, t, task, future);
}

/* Links the task to the Future on top of its thread's stack.  Returns as
 * lunado__suspend_wait.  The task is not suspended if linking fails, or if a
 * finalizer has just settled the Future. */
static int link_task(lua_State *L, lunado_realm *realm, int t,
                     lunado_task *task, lunado_future *future) {
  lua_State *thread = task->thread;
  if (!lunado_future_pending(future))
    return lunado__suspend_push_outcome(L, realm, t, task, future);
  lua_pushvalue(L, t);
  if (future->waiters != NULL || future->flags & LUNADO_IS_DEPENDENT)
    return link_behind(L, realm, t, task, future);
  lua_xmove(L, thread, 1);
  lua_setiuservalue(thread, -2, LUNADO_FUTURE_VALUE);
  lunado_future_wait(future, &task->waiter, lunado__suspend_ready);
  return SUSPENDED;
}

/* Makes the task wait for the Future on top of its thread's stack.  Returns as
 * lunado__suspend_wait.  The task refs its loop and reserves its queue slot
 * before it is linked, because linking runs finalizers, which could close the
 * loop or take the slot. */
static int wait_for(lua_State *L, lunado_realm *realm, int t, lunado_task *task,
                    lunado_future *future) {
  lunado_ioloop *home = task->loop;
  int n = prepare_suspension(L, realm, t, task);
  if (n != 0) return n;
  task->loop->queue.reserved++;
  lunado__suspend_ref(L, t, task, TASK_WAITING);
  n = link_task(L, realm, t, task, future);
  if (n == SUSPENDED) return n;
  task->flags &= ~(uint32_t)TASK_WAITING;
  task->loop->queue.reserved--;
  lunado__ioloop_unref(L, task->loop);
  task->loop = home;
  return n;
}

/* Replaces the n values that were yielded, on top of the thread's stack, by one
 * Future.  Returns false if that raised an error, which is then prepared for
 * the yield, or if the thread no longer yields. */
static bool convert(lua_State *L, lunado_realm *realm, int t, int n) {
  lunado_task *task = lua_touserdata(L, t);
  lunado_task *outer = realm->coroutines.yielder;
  bool converted;
  if (!lua_checkstack(task->thread, 4) || !lua_checkstack(L, n + 4)) {
    lua_pushliteral(task->thread, "not enough memory");
    lunado__throw_value(realm, task);
    return false;
  }
  lua_xmove(task->thread, L, n);
  realm->coroutines.yielder = task;
  converted = lunado__throw_protected(L, realm, t, lunado__yieldable_yield, n);
  realm->coroutines.yielder = outer;
  if (!converted) return false;
  if (lua_status(task->thread) != LUA_YIELD) {
    lua_pop(L, 1);
    return false;
  }
  lua_xmove(L, task->thread, 1);
  return true;
}

int lunado__suspend_wait(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n) {
  lua_State *thread = task->thread;
  lunado_future *future = NULL;
  if (n == 1) future = lunado__tofuture(thread, realm, -1);
  if (future == NULL) {
    if (n == 0 || (n == 1 && lua_isnil(thread, -1)))
      return requeue(L, realm, t, task);
    if (!convert(L, realm, t, n)) return lunado__throw_count(task);
    future = lua_touserdata(thread, -1);
  }
  if (lunado_future_pending(future)) return wait_for(L, realm, t, task, future);
  if (future->flags & LUNADO_IS_MOMENT) return requeue(L, realm, t, task);
  return lunado__suspend_push_outcome(L, realm, t, task, future);
}

/* Tests the type without lunado__toclass, because the metatable may stay on the
 * stack. */
bool lunado__suspend_push_done(lua_State *thread, lunado_realm *realm, int n) {
  lunado_future *future;
  if (n != 1) return false;
  future = lua_touserdata(thread, -1);
  if (future == NULL || !lua_getmetatable(thread, -1)) return false;
  if (lua_topointer(thread, -1) == realm->types.future &&
      future->state == LUNADO_DONE && future->count == 1) {
    /* The values below the result are dropped when the yield returns. */
    lua_getiuservalue(thread, -2, LUNADO_FUTURE_VALUE);
    return true;
  }
  lua_pop(thread, 1);
  return false;
}

/* True if an error can be raised at the yield where the task is suspended. */
static bool can_fail_wait(const lunado_task *task) {
  const lunado_future *future = task->waiter.future;
  if (task->flags & TASK_STARTING ||
      !(task->flags & (TASK_WAITING | TASK_QUEUED)) ||
      !lunado__task_untouched(task))
    return false;
  return future == NULL || future->state != LUNADO_FAILED;
}

/* Unlinks the task on top from the pending Future on top of its thread's stack,
 * queues the task and pops it. */
static void stop_waiting(lua_State *L, lunado_task *task) {
  lua_pushvalue(task->thread, -1);
  lua_xmove(task->thread, L, 1);
  lunado__owner_forget(L, lua_gettop(L), &task->waiter);
  lua_pop(L, 1);
  make_ready(L, &task->waiter);
}

bool lunado__suspend_fail_wait(lua_State *L, int t) {
  lunado_task *task = lua_touserdata(L, t);
  lunado_future *failed = lua_touserdata(L, -1);
  if (!can_fail_wait(task) || !lua_checkstack(task->thread, 2)) {
    lua_pop(L, 1);
    return false;
  }
  if (task->flags & TASK_WAITING &&
      lunado_future_pending(task->waiter.future)) {
    lua_pushvalue(L, t);
    stop_waiting(L, task);
  }
  lua_xmove(L, task->thread, 1);
  if (task->waiter.future != NULL) lua_replace(task->thread, -2);
  task->waiter.future = failed; /* held by the thread's stack */
  return true;
}

static int make_inconsistent(lua_State *L) {
  lunado__getslot(L, lunado__realm_find(L), LUNADO_SLOT_INCONSISTENT);
  lua_call(L, 0, 1);
  return lua_error(L);
}

/* The rare part of lunado__suspend_next, once the yield was handled with the
 * result n. */
static void after_wait(lua_State *L, lunado_realm *realm, int t,
                       lunado_task *task, int n) {
  if (task->flags & TASK_ENTERING) lunado__watch_enter(L, realm, t, task);
  if (task->flags & TASK_CANCELLED && n == SUSPENDED)
    lunado__cancel_again(L, realm, t);
}

int lunado__suspend_next(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n, const void *context) {
  if (realm->contexts.current != context &&
      !lunado__watch_is_within(L, realm, task))
    return lunado__throw_raised(L, realm, t, make_inconsistent);
  if (lunado__suspend_push_done(task->thread, realm, n)) return 1;
  n = lunado__suspend_wait(L, realm, t, task, n);
  if (task->flags & (TASK_ENTERING | TASK_CANCELLED))
    after_wait(L, realm, t, task, n);
  return n;
}

void lunado__suspend_start_later(lua_State *L, int t, lunado_ioloop *loop) {
  lunado_task *task = lua_touserdata(L, t);
  lunado__ioloop_push(L, loop); /* held, because finalizers may close it */
  lunado__suspend_wrap(L, loop->realm, t);
  lunado__queue_add_slot(L, &loop->queue);
  lua_pop(L, 1);
  task->loop = loop;
  if (loop->realm->coroutines.tracking) lunado__task_track(L, loop->realm, t);
  lunado__suspend_ref(L, t, task, TASK_QUEUED | TASK_STARTING);
  lunado__suspend_queue(L, loop->realm, t, task);
}
