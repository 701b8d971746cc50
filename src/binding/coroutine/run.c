/* SPDX-License-Identifier: MIT */
/* run.c - the runner: resume, suspend, end. */
#include "binding/coroutine/run.h"

#include <string.h>

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/throw.h"
#include "binding/coroutine/watch.h"
#include "binding/error/failure.h"
#include "binding/future/done.h"
#include "binding/future/settle.h"
#include "binding/loop/ioloop.h"
#include "binding/state/context.h"

/* The maximum number of coroutines on the C stack, each started within the one
 * before.  Each takes some three of the 200 C calls that Lua allows. */
#define NEST_MAX 30u

/* The maximum distance on the C stack, in bytes, from the first of them to a
 * coroutine that starts. */
#define NEST_STACK 24576

/* --- ending --------------------------------------------------------------- */

/* Resets the thread, which closes its pending to-be-closed variables.  Only in
 * Lua 5.4.5 does lua_resetthread have a second parameter: the calling thread.
 */
static void reset(lua_State *thread) {
#if defined(LUA_VERSION_RELEASE_NUM) && LUA_VERSION_RELEASE_NUM == 50405
  (void)lua_resetthread(thread, NULL);
#else
  (void)lua_resetthread(thread);
#endif
}

/* Settles the Future of the task at t with the error on top, or with the
 * Failure on top. */
static void finish_failed(lua_State *L, lunado_realm *realm, int t,
                          const lunado_task *task) {
  if (!(task->flags & TASK_FAILURE)) lunado__failure_wrap(L, realm);
  lunado__failure_hand_on(lua_touserdata(L, -1));
  if (lunado__done_is_discarded(lua_touserdata(L, t + 1)))
    lunado__done_fail_discarded(L, realm, t + 1);
  else
    lunado__settle_failed(L, realm, t + 1);
}

/* The rare part of `finish`: the outcome is on top. */
static void leave(lua_State *L, lunado_realm *realm, int t, lunado_task *task) {
  if (task->flags & TASK_WATCHED) lunado__watch_end(L, t, task);
  if (task->flags & TASK_SCOPED) lunado__cancel_end(L, realm, t);
}

/* True if the coroutine, which has left no value, has closed itself, as it can
 * in Lua 5.5: it ended well, but its body has not returned.  Its Future then
 * has no result.  If it did so in a finalizer or in a hook, Lua never calls a
 * hook in its thread again; throw.c needs hooks, so that thread must not be
 * reused. */
static bool has_closed_itself(lunado_task *task) {
  if (task->results == 0) return false;
  task->results = 0;
  return true;
}

/* Handles the end of the coroutine of the task at t, which has left n values on
 * its thread: the task becomes idle, and its Future gets the outcome. */
static void finish(lua_State *L, lunado_realm *realm, int t, lunado_task *task,
                   int status, int n) {
  lunado_future *future = task->future;
  bool reusable = status == LUA_OK;
  if (task->flags & TASK_BOUND) lunado__task_unbind(L, t);
  if (task->received > 0) lunado__task_forget_received(L, t);
  if (n == 1 || status != LUA_OK) {
    lua_xmove(task->thread, L, 1);
  } else {
    lua_pushnil(L);
    reusable = !has_closed_itself(task);
  }
  if (status != LUA_OK) {
    /* A return hook may have raised when the body returned its Failure. */
    task->flags = (task->flags | TASK_FAILED) & ~(unsigned)TASK_FAILURE;
    lunado__throw_unhook(task->thread);
    reset(task->thread);
  }
  if (task->flags & (TASK_WATCHED | TASK_SCOPED)) leave(L, realm, t, task);
  if (!reusable || lua_gethook(task->thread) != NULL)
    lunado__task_drop_thread(L, t, task);
  lunado__task_recycle(L, realm, t, task);
  if (task->flags & TASK_FAILED) {
    finish_failed(L, realm, t, task);
  } else if (lunado_future_pending(future)) {
    future->count = task->results;
    lunado__settle_known(L, realm, t + 1, future, LUNADO_DONE);
  } else { /* other code has settled it */
    lua_pop(L, 1);
  }
}

/* --- running -------------------------------------------------------------- */

#if LUA_VERSION_NUM >= 505

/* The realm's fields that tell of functions on the C stack.  A coroutine that
 * closes itself jumps over all those that were called inside it. */
typedef struct {
  lunado_settle_frame *frame;
  uintptr_t stack_base;
  lua_State *runner;
  int runner_index;
  unsigned settling;
  unsigned nesting;
} surroundings;

static surroundings remember(const lunado_realm *realm) {
  return (surroundings){
      realm->futures.frame,         realm->coroutines.stack_base,
      realm->coroutines.runner,     realm->coroutines.runner_index,
      realm->futures.settler.depth, realm->coroutines.nesting};
}

static void restore(lunado_realm *realm, const surroundings *before) {
  realm->futures.frame = before->frame;
  realm->coroutines.stack_base = before->stack_base;
  realm->coroutines.runner = before->runner;
  realm->coroutines.runner_index = before->runner_index;
  realm->futures.settler.depth = before->settling;
  realm->coroutines.nesting = before->nesting;
}

/* Calls lua_resume.  If the coroutine closes itself, all is as before, and so
 * are the stack contexts. */
static int call_resume(lua_State *L, lunado_realm *realm,
                       const lunado_task *task, int nargs, int *n) {
  surroundings before = remember(realm);
  const void *context = realm->contexts.current;
  int status;
  if (context != NULL)
    lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  else
    lua_pushboolean(L, 0);
  status = lua_resume(task->thread, L, nargs, n);
  if (status == LUA_YIELD || (status == LUA_OK && *n > 0) ||
      (status == LUA_OK && task->results == 0)) {
    lua_pop(L, 1);
    return status;
  }
  restore(realm, &before);
  lunado__context_set(L, realm);
  return status;
}

#else

static int call_resume(lua_State *L, lunado_realm *realm,
                       const lunado_task *task, int nargs, int *n) {
  (void)realm;
  return lua_resume(task->thread, L, nargs, n);
}

#endif

static int resume(lua_State *L, lunado_realm *realm, lunado_task *task,
                  int nargs, int *n) {
  lunado_task *outer = realm->coroutines.current;
  int status;
  realm->coroutines.current = task;
  status = call_resume(L, realm, task, nargs, n);
  realm->coroutines.current = outer;
  task->flags &= ~(uint32_t)TASK_AWAITING;
  if (realm->coroutines.awaiting || realm->coroutines.throwing)
    lunado__throw_resumed(realm, task);
  return status;
}

static int make_overflow(lua_State *L) {
  return luaL_error(L, "stack overflow (too many coroutines are started inside "
                       "each other)");
}

/* Returns the current address on the C stack.  The address of a variable would
 * not do, because AddressSanitizer may place variables elsewhere. */
static inline uintptr_t stack_here(void) {
#if defined(__GNUC__)
  return (uintptr_t)__builtin_frame_address(0);
#else
  volatile char here = 0;
  return (uintptr_t)&here;
#endif
}

/* True if the caller is still suspended as it was when it yielded its callee,
 * and so can continue. */
static bool awaits_start(const lunado_task *caller, const lunado_task *callee) {
  lua_State *thread = caller->thread;
  return lua_status(thread) == LUA_YIELD && lua_gettop(thread) >= 2 &&
         lua_touserdata(thread, -2) == (const void *)callee;
}

/* Ends a coroutine that other code has resumed or closed.  Leaves an error on
 * its thread's stack and returns LUA_ERRRUN, as a failed lua_resume would. */
static int end_resumed_outside(const lunado_task *task) {
  reset(task->thread);
  lua_settop(task->thread, 0);
  lua_pushliteral(task->thread,
                  "the coroutine was resumed or closed by somebody else");
  return LUA_ERRRUN;
}

/* Handles a yield of the task at *t for its callee.  The callee and its Future
 * are on top of the thread's stack: pushes both on L, and sets *t and *task to
 * the callee.  If L has no stack for one more level, an error is raised at the
 * yield instead.  Returns how many values to resume *task with. */
static int descend(lua_State *L, lunado_realm *realm, int *t,
                   lunado_task **task) {
  lunado_task *callee = realm->coroutines.callee;
  lua_State *thread = (*task)->thread;
  realm->coroutines.callee = NULL;
  if (!lua_checkstack(L, LUNADO_RUN_STACK))
    return lunado__throw_raised(L, realm, *t, make_overflow);
  lua_pushvalue(thread, -2);
  lua_pushvalue(thread, -2);
  lua_xmove(thread, L, 2);
  callee->caller = *task;
  *task = callee;
  *t += 2;
  return (int)callee->count;
}

void lunado__run(lua_State *L, lunado_realm *realm, int t, lunado_task *task,
                 int nargs) {
  lunado_task *caller;
  const void *context = realm->contexts.current;
  lua_State *outer = realm->coroutines.runner;
  int outer_index = realm->coroutines.runner_index;
  if (realm->coroutines.nesting++ == 0)
    realm->coroutines.stack_base = stack_here();
  realm->coroutines.runner = L;
  realm->coroutines.runner_index = t;
  for (;;) {
    int n = 1;
    int status = nargs == RESUMED_OUTSIDE ? end_resumed_outside(task)
                                          : resume(L, realm, task, nargs, &n);
    caller = task->caller;
    if (status == LUA_YIELD) {
      if (realm->coroutines.callee != NULL) {
        nargs = descend(L, realm, &t, &task);
        realm->coroutines.runner_index = t;
        continue;
      }
      /* If a task has a caller, no stack context was current at its start. */
      nargs = lunado__suspend_next(L, realm, t, task, n,
                                   caller == NULL ? context : NULL);
      if (nargs != SUSPENDED) continue;
    }
    task->caller = NULL;
    if (task->flags & TASK_ENTERED) lunado__watch_leave(L, realm, task);
    if (status != LUA_YIELD) finish(L, realm, t, task, status, n);
    if (caller == NULL) break;
    nargs = awaits_start(caller, task) ? 0 : RESUMED_OUTSIDE;
    task = caller;
    t -= 2;
    realm->coroutines.runner_index = t;
    lua_settop(L, t + 1);
  }
  realm->coroutines.runner = outer;
  realm->coroutines.runner_index = outer_index;
  realm->coroutines.nesting--;
}

void lunado__run_wake(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  luaL_checkstack(L, LUNADO_WAKE_STACK, NULL);
  lunado__ioloop_unref(L, task->loop);
  lua_getiuservalue(L, t, LUNADO_TASK_FUTURE);
  task->flags &= ~(uint32_t)TASK_QUEUED;
  if (task->flags & TASK_STARTING) {
    task->flags &= ~(uint32_t)TASK_STARTING;
    lunado__run(L, realm, t, task, (int)task->count);
  } else if (!lunado__task_untouched(task)) {
    lunado__run(L, realm, t, task, RESUMED_OUTSIDE);
  } else if (task->waiter.future == NULL) {
    lunado__run(L, realm, t, task, 0);
  } else {
    int n =
        lunado__suspend_push_outcome(L, realm, t, task, task->waiter.future);
    lunado__run(L, realm, t, task, n);
  }
  lua_settop(L, t);
}

bool lunado__run_may_nest(const lunado_realm *realm) {
  ptrdiff_t used = (ptrdiff_t)(realm->coroutines.stack_base - stack_here());
  if (realm->coroutines.nesting == 0) return true;
  return realm->coroutines.nesting < NEST_MAX && used < NEST_STACK &&
         -used < NEST_STACK;
}
