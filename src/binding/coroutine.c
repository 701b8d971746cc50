/* SPDX-License-Identifier: MIT */
/*
 * coroutine.c - the runner: start, suspend, resume, end.
 *
 * Invariants:
 *   - a task waits (its waiter is linked, and one place of its loop's queue is
 *     reserved for it), or is queued, or runs, or is idle in the pool;
 *   - while it waits, the Future it waits for is on top of its thread's
 *     stack;
 *   - a coroutine is resumed by the loop only, never inside set_result;
 *   - what may fail is done before a task changes its state;
 *   - while it runs, its runner has the task on its stack, and the Future of
 *     its outcome above it.
 *
 * Starts nest on the C stack, of which Lua allows little.  Beyond NEST_MAX a
 * coroutine that calls another yields to the runner, which starts the callee
 * in its place and comes back to the caller when the callee suspends or ends:
 * so depth is bounded by memory alone.
 */
#include "binding/coroutine.h"

#include "binding/convert.h"
#include "binding/failure.h"
#include "binding/future.h"
#include "binding/ioloop.h"
#include "binding/realm.h"

/* Coroutines started inside each other on the C stack.  Each takes some three
 * of Lua's 200 C calls. */
#define NEST_MAX 30u

/* Bytes of C stack that may lie between the first of them and the next. */
#define NEST_STACK 16384

/* Room on the stack for running a coroutine and settling its Future. */
#define RUN_STACK 48

enum {
  TASK_FAILED = 1,   /* what the body returned is a Failure */
  TASK_AWAITING = 2, /* suspended by lunado__await, not by a plain yield */
  TASK_STARTING = 4, /* queued to be started */
  TASK_WAITING = 8,  /* enlisted on its loop, with a place reserved */
  TASK_QUEUED = 16,  /* enlisted on its loop, in its queue */
  TASK_BOUND = 32,   /* task and Future hold each other */
  TASK_CAPTURED = 64, /* SLOT_CAPTURED has the function that resumes it */
  TASK_WATCHED = 128 /* SLOT_FINISH wants to know of its end */
};

struct lunado_coroutine {
  lunado_waiter waiter;     /* linked while waiting */
  lua_State *thread;        /* LUNADO_TASK_THREAD holds it */
  lunado_ioloop *loop;      /* set at the first suspension; good while
                               enlisted */
  lunado_coroutine *caller; /* yielded for this one to start; the Future of
                               this one holds it */
  uint32_t count;           /* arguments to start with; results */
  uint32_t born;            /* realm->born when it was made */
  uint32_t flags;
};

/* --- the body ------------------------------------------------------------------- */

/* Replaces the Return object on top by its values. */
static int unpack_return(lua_State *L) {
  int object = lua_gettop(L);
  int n;
  lua_getfield(L, object, "n");
  n = (int)luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  luaL_checkstack(L, n + 1, "too many results");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, object, i);
  return n;
}

/* Replaces the error on top by the Failure that the handler made of it. */
static void take_failure(lua_State *L, lunado_realm *realm,
                         lunado_coroutine *task) {
  lunado__getslot(L, realm, LUNADO_SLOT_FAILURES);
  lua_rawgetp(L, -1, task);
  lua_pushnil(L);
  lua_rawsetp(L, -3, task);
  lua_remove(L, -2);
  if (!lunado__failure_is_of(L, -1, -2)) lua_pop(L, 1);
}

/* Tells SLOT_FINISH that the coroutine of the task is over. */
static void tell_finish(lua_State *L, lunado_realm *realm,
                        lunado_coroutine *task, bool succeeded) {
  task->flags &= ~(uint32_t)TASK_WATCHED;
  luaL_checkstack(L, 5, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_FINISH);
  lua_pushlightuserdata(L, task);
  lua_pushboolean(L, succeeded);
  lua_call(L, 2, 0);
}

static int body_done(lua_State *L, int status, lua_KContext ctx) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_coroutine *task = realm->current;
  int n;
  (void)ctx;
  if (task->flags & TASK_WATCHED)
    tell_finish(L, realm, task, status == LUA_OK || status == LUA_YIELD);
  if (status == LUA_OK || status == LUA_YIELD) {
    n = lua_gettop(L) - 1;
  } else if (lunado__isinstance(L, realm, -1, LUNADO_E_RETURN)) {
    n = unpack_return(L);
  } else {
    task->flags |= TASK_FAILED;
    take_failure(L, realm, task);
    return 1;
  }
  lunado__pack(L, n);
  task->count = (uint32_t)n;
  return 1;
}

int lunado__coroutine_body(lua_State *L) {
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_done);
  return body_done(L, status, 0);
}

/* Notes where the error was raised.  The error itself goes on unchanged, for
 * the handlers of to-be-closed variables see it. */
static int body_handler(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  if (lunado__isinstance(L, realm, 1, LUNADO_E_RETURN)) return 1;
  lunado__failure_new(L, realm, 1, 1)->observed = true;
  lunado__failure_set_inner(L, realm, 1);
  lunado__getslot(L, realm, LUNADO_SLOT_FAILURES);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, realm->current);
  lua_settop(L, 1);
  return 1;
}

/* --- raising at a yield ------------------------------------------------------------ */

static void restore_hook(lua_State *L, lunado_realm *realm) {
  lua_sethook(L, realm->user_hook, realm->user_hook_mask,
              realm->user_hook_count);
  realm->user_hook = NULL;
}

/* The first return in a coroutine that is resumed is that of the yield
 * itself, with the value it was resumed with on top. */
static void raise_at_return(lua_State *L, lua_Debug *ar) {
  lunado_realm *realm = lunado__findrealm(L);
  (void)ar;
  restore_hook(L, realm);
  realm->throwing = false;
  (void)lua_error(L);
}

/* Has the value on top of the task's thread raised when it is resumed. */
static void prepare_throw(lunado_realm *realm, lunado_coroutine *task) {
  lua_State *thread = task->thread;
  realm->throwing = true;
  if (task->flags & TASK_AWAITING) return;
  realm->user_hook = lua_gethook(thread);
  realm->user_hook_mask = lua_gethookmask(thread);
  realm->user_hook_count = lua_gethookcount(thread);
  lua_sethook(thread, raise_at_return, LUA_MASKRET, 0);
}

/* Pushes what the Future on top of the task's thread came to; returns how
 * many values to resume with. */
static int push_outcome(lunado_realm *realm, lunado_coroutine *task,
                        lunado_future *future) {
  lua_State *thread = task->thread;
  if (future->state == LUNADO_DONE) {
    if (future->count != 1)
      return lunado__push_results(thread, lua_gettop(thread));
    lua_getiuservalue(thread, -1, LUNADO_FUTURE_VALUE);
    return 1;
  }
  lua_getiuservalue(thread, -1, LUNADO_FUTURE_VALUE);
  lunado__failure_throw(thread, realm);
  prepare_throw(realm, task);
  return 1;
}

/* --- suspending -------------------------------------------------------------------- */

/* Within stack contexts a task is queued as the function that resumes it
 * there.  Pushes that of the task at idx. */
static void push_captured(lua_State *L, lunado_realm *realm,
                          lunado_coroutine *task, int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_CAPTURED);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_pushvalue(L, idx);
  lua_pushnil(L);
  lua_rawset(L, -4);
  lua_remove(L, -2);
  task->flags &= ~(uint32_t)TASK_CAPTURED;
}

/* Puts the task at t, which is to be resumed, into its loop's queue, which has
 * room. */
static void queue_task(lua_State *L, lunado_realm *realm, int t,
                       lunado_coroutine *task) {
  if (!(task->flags & TASK_CAPTURED)) {
    lunado__queue_push(L, task->loop, t);
    return;
  }
  push_captured(L, realm, task, t);
  lunado__queue_push(L, task->loop, lua_gettop(L));
  lua_pop(L, 1);
}

/* Queues the task on top, whose waiter has just been taken, and pops it. */
static void make_ready(lua_State *L, lunado_waiter *waiter) {
  lunado_coroutine *task =
      lunado_container_of(waiter, lunado_coroutine, waiter);
  lunado_ioloop *loop = task->loop;
  task->flags ^= TASK_WAITING | TASK_QUEUED;
  loop->queue.reserved--;
  queue_task(L, loop->realm, lua_gettop(L), task);
  lua_pop(L, 1);
}

void lunado__coroutine_ready(lunado_settler *settler, lunado_waiter *waiter,
                             lunado_future *future) {
  lunado_realm *realm = lunado__settler_realm(settler);
  lua_State *L = realm->frame->L;
  (void)future;
  lunado__push_owner(realm, waiter);
  make_ready(L, waiter);
}

void lunado__coroutine_ready_sole(lua_State *L, int idx,
                                  lunado_waiter *waiter) {
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_rawgetp(L, -1, waiter);
    lua_remove(L, -2);
  }
  make_ready(L, waiter);
}

/* (task): sees that it has a loop, and that a place in its queue is free. */
static int find_place(lua_State *L) {
  lunado_coroutine *task = lua_touserdata(L, 1);
  if (task->loop == NULL)
    task->loop = lunado__currentloop(L, lunado__findrealm(L));
  if (task->loop->closed)
    luaL_error(L, "the coroutine's IOLoop is closed");
  lunado__queue_reserve(L, &task->loop->queue, 1);
  return 0;
}

static bool has_place(lunado_realm *realm, lunado_coroutine *task) {
  const lunado_queue *queue;
  if (task->loop == NULL) task->loop = realm->loop;
  if (task->loop == NULL) return false;
  queue = &task->loop->queue;
  return queue->count + queue->reserved < queue->capacity;
}

/* Calls function(task); on failure moves the error to the task's thread and
 * has it raised there. */
static bool protected(lua_State *L, lunado_realm *realm, int t,
                      lua_CFunction function, int nargs) {
  lunado_coroutine *task = lua_touserdata(L, t);
  lua_pushcfunction(L, function);
  lua_insert(L, -(nargs + 1));
  if (lua_pcall(L, nargs, LUA_MULTRET, 0) == LUA_OK) return true;
  lua_xmove(L, task->thread, 1);
  prepare_throw(realm, task);
  return false;
}

/* (task): resumes it, from the queue, within the contexts captured. */
static int resume_captured(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  lunado__coroutine_wake(L, lunado__upvalue_realm(L), 1);
  return 0;
}

/* (task): keeps the current stack contexts for when it is resumed. */
static int capture(lua_State *L) {
  lunado_coroutine *task = lua_touserdata(L, 1);
  lunado_realm *realm = lunado__findrealm(L);
  lunado__getslot(L, realm, LUNADO_SLOT_CAPTURED);
  lua_pushvalue(L, 1);
  lunado__pushclosure(L, resume_captured, 1);
  lunado__wrap(L, realm, 4);
  lua_rawset(L, 2);
  task->flags |= TASK_CAPTURED;
  return 0;
}

/* Readies the task to be suspended: sees that it will have a place in its
 * loop's queue, and keeps its stack contexts. */
static bool ensure_place(lua_State *L, lunado_realm *realm, int t,
                         lunado_coroutine *task) {
  if (!has_place(realm, task)) {
    lua_pushvalue(L, t);
    if (!protected(L, realm, t, find_place, 1)) return false;
  }
  if (realm->context == NULL) return true;
  lua_pushvalue(L, t);
  return protected(L, realm, t, capture, 1);
}

/* The task at t leaves the stack of its runner: from now on it and the Future
 * above it hold each other. */
static void tie(lua_State *L, int t, lunado_coroutine *task) {
  task->flags |= TASK_BOUND;
  lua_pushvalue(L, t + 1);
  lua_setiuservalue(L, t, LUNADO_TASK_FUTURE);
  lua_pushvalue(L, t);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_TASK);
}

static void enlist(lua_State *L, int t, lunado_coroutine *task, uint32_t how) {
  if (!(task->flags & TASK_BOUND)) tie(L, t, task);
  task->flags |= how;
  lunado__ioloop_enlist(task->loop);
}

/* Queues the task for the loop's next turn. */
static bool requeue(lua_State *L, lunado_realm *realm, int t,
                    lunado_coroutine *task) {
  if (!ensure_place(L, realm, t, task)) return false;
  enlist(L, t, task, TASK_QUEUED);
  task->waiter.future = NULL;
  queue_task(L, realm, t, task);
  return true;
}

/* (task, future): another waiter is there already, so that a table of owners
 * has to be made, which may fail. */
static int wait_behind_others(lua_State *L) {
  lunado_coroutine *task = lua_touserdata(L, 1);
  lunado__wait(L, 2, 1, &task->waiter, lunado__coroutine_ready);
  return 0;
}

/* Links the task to the pending Future on top of its thread's stack. */
static bool wait_for(lua_State *L, lunado_realm *realm, int t,
                     lunado_coroutine *task, lunado_future *future) {
  lua_State *thread = task->thread;
  if (!ensure_place(L, realm, t, task)) return false;
  if (future->waiters == NULL) {
    lua_pushvalue(L, t);
    lua_xmove(L, thread, 1);
    lua_setiuservalue(thread, -2, LUNADO_FUTURE_VALUE);
    lunado_future_wait(future, &task->waiter, lunado__coroutine_ready);
  } else {
    lua_pushvalue(L, t);
    lua_pushvalue(thread, -1);
    lua_xmove(thread, L, 1);
    if (!protected(L, realm, t, wait_behind_others, 2)) return false;
  }
  task->loop->queue.reserved++;
  enlist(L, t, task, TASK_WAITING);
  return true;
}

/* Replaces what was yielded, n values on top of the thread's stack and not a
 * single Future, by one Future on top. */
static bool convert(lua_State *L, lunado_realm *realm, int t, int n) {
  lunado_coroutine *task = lua_touserdata(L, t);
  lunado_coroutine *outer = realm->yielder;
  bool converted;
  if (!lua_checkstack(task->thread, 4) || !lua_checkstack(L, n + 4)) {
    lua_pushliteral(task->thread, "not enough memory");
    prepare_throw(realm, task);
    return false;
  }
  lua_xmove(task->thread, L, n);
  realm->yielder = task;
  converted = protected(L, realm, t, lunado__convert_yield, n);
  realm->yielder = outer;
  if (!converted) return false;
  lua_xmove(L, task->thread, 1);
  return true;
}

/* Deals with a yield of n values, of which the last one is not a Future that
 * is done.  Returns -1 when the task is suspended, else how many values to
 * resume it with. */
static int suspend(lua_State *L, lunado_realm *realm, int t,
                   lunado_coroutine *task, int n) {
  lua_State *thread = task->thread;
  lunado_future *future = NULL;
  if (n == 1) future = lunado__tofuture(thread, realm, -1);
  if (future == NULL) {
    if (n == 0 || (n == 1 && lua_isnil(thread, -1)))
      return requeue(L, realm, t, task) ? -1 : 1;
    if (!convert(L, realm, t, n)) return 1;
    future = lua_touserdata(thread, -1);
  }
  if (lunado_future_pending(future))
    return wait_for(L, realm, t, task, future) ? -1 : 1;
  if (future->flags & LUNADO_IS_MOMENT)
    return requeue(L, realm, t, task) ? -1 : 1;
  return push_outcome(realm, task, future);
}

/* The short way of suspend: pushes the one result of a Future that is done.
 * Returns false, and has changed nothing, for all else. */
static bool push_ready_result(lua_State *thread, lunado_realm *realm, int n) {
  lunado_future *future;
  if (n != 1) return false;
  future = lua_touserdata(thread, -1);
  if (future == NULL || !lua_getmetatable(thread, -1)) return false;
  if (lua_topointer(thread, -1) == realm->future_mt &&
      future->state == LUNADO_DONE && future->count == 1) {
    /* What is below the result is dropped when the yield returns. */
    lua_getiuservalue(thread, -2, LUNADO_FUTURE_VALUE);
    return true;
  }
  lua_pop(thread, 1);
  return false;
}

/* --- ending ------------------------------------------------------------------------ */

/* Lets the idle task at t go; it needs no finalizer any more. */
static void retire(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setmetatable(L, t);
}

/* Keeps the idle task at t for later, where there is room. */
static void recycle(lua_State *L, lunado_realm *realm, int t,
                    lunado_coroutine *task) {
  if (!realm->reuse || realm->pooled == LUNADO_POOL_SIZE) {
    retire(L, t);
    return;
  }
  if (lua_gethook(task->thread) != NULL) lua_sethook(task->thread, NULL, 0, 0);
  lua_pushvalue(L, t);
  lua_rawseti(L, LUA_REGISTRYINDEX, realm->pool + realm->pooled++);
}

/* Task and Future let each other go. */
static void untie(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_FUTURE);
  lua_pushnil(L);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_TASK);
}

/* The coroutine of the task at t has died of the error on top of its thread,
 * or returned a Failure there. */
static void finish_failed(lua_State *L, lunado_realm *realm, int t,
                          lunado_coroutine *task, int status) {
  lua_xmove(task->thread, L, 1);
  if (status != LUA_OK) (void)lua_resetthread(task->thread);
  lunado__failure_wrap(L, realm);
  ((lunado_failure *)lua_touserdata(L, -1))->observed = false;
  retire(L, t);
  lunado__fail(L, realm, t + 1);
}

/* The coroutine of the task at t has ended: its task becomes idle, and its
 * Future gets the outcome. */
static void finish(lua_State *L, lunado_realm *realm, int t,
                   lunado_coroutine *task, int status) {
  lunado_future *future = lua_touserdata(L, t + 1);
  if (task->flags & TASK_BOUND) untie(L, t);
  if (status != LUA_OK || (task->flags & TASK_FAILED)) {
    finish_failed(L, realm, t, task, status);
    return;
  }
  lua_xmove(task->thread, L, 1); /* the body returns one value */
  recycle(L, realm, t, task);
  if (!lunado_future_pending(future)) { /* somebody else has set it */
    lua_pop(L, 1);
    return;
  }
  future->count = task->count;
  lunado__settle_future(L, realm, t + 1, future, LUNADO_DONE);
}

/* --- running ------------------------------------------------------------------------ */

/* Deals with what a coroutine left behind in the realm when it was suspended
 * or ended. */
static void after_resume(lua_State *L, lunado_realm *realm,
                         lunado_coroutine *task) {
  if (realm->awaiting) {
    realm->awaiting = false;
    task->flags |= TASK_AWAITING;
  }
  if (realm->thrown) lunado__failure_forget(L, realm);
  if (realm->throwing) { /* it could not be resumed */
    realm->throwing = false;
    if (lua_gethook(task->thread) == raise_at_return)
      restore_hook(task->thread, realm);
  }
}

static int resume(lua_State *L, lunado_realm *realm, lunado_coroutine *task,
                  int nargs, int *n) {
  lunado_coroutine *outer = realm->current;
  int status;
  realm->current = task;
  status = lua_resume(task->thread, L, nargs, n);
  realm->current = outer;
  task->flags &= ~(uint32_t)TASK_AWAITING;
  if (realm->awaiting || realm->thrown || realm->throwing)
    after_resume(L, realm, task);
  return status;
}

/* The task at t has yielded its callee and the callee's Future, on top of its
 * thread's stack.  Puts the callee and its Future at t. */
static lunado_coroutine *descend(lua_State *L, lunado_realm *realm, int t) {
  lunado_coroutine *caller = lua_touserdata(L, t);
  lunado_coroutine *callee = realm->callee;
  lua_State *thread = caller->thread;
  realm->callee = NULL;
  callee->caller = caller;
  if (!(caller->flags & TASK_BOUND)) tie(L, t, caller);
  lua_pushvalue(L, t);
  lua_xmove(L, thread, 1);
  lua_setiuservalue(thread, -2, LUNADO_FUTURE_VALUE);
  lua_pushvalue(thread, -2);
  lua_pushvalue(thread, -2);
  lua_xmove(thread, L, 2);
  lua_replace(L, t + 1);
  lua_replace(L, t);
  return callee;
}

/* Pushes the caller of the task at t, which goes on when that one suspends or
 * ends, and the caller's Future. */
static void push_caller(lua_State *L, int t) {
  lua_getiuservalue(L, t + 1, LUNADO_FUTURE_VALUE);
  lua_getiuservalue(L, -1, LUNADO_TASK_FUTURE);
  lua_pushnil(L);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_VALUE);
}

static int make_inconsistent(lua_State *L) {
  lunado__getslot(L, lunado__findrealm(L), LUNADO_SLOT_INCONSISTENT);
  lua_call(L, 0, 1);
  return lua_error(L);
}

/* The coroutine was suspended within a context that it has entered, or left:
 * raises that there.  Returns how many values to resume it with. */
static int raise_inconsistent(lua_State *L, lunado_realm *realm, int t) {
  (void)protected(L, realm, t, make_inconsistent, 0);
  return 1;
}

/* Runs the coroutine of the task at t, whose thread has nargs values to be
 * resumed with, until it is suspended or ends.  Its Future is at t + 1. */
static void run(lua_State *L, lunado_realm *realm, int t,
                lunado_coroutine *task, int nargs) {
  lunado_coroutine *caller;
  const void *context = realm->context;
  if (realm->nesting++ == 0) realm->stack_base = (uintptr_t)&caller;
  for (;;) {
    int n = 0;
    int status = resume(L, realm, task, nargs, &n);
    if (status == LUA_YIELD) {
      if (realm->callee != NULL) {
        task = descend(L, realm, t);
        nargs = (int)task->count;
        continue;
      }
      if (realm->context != (task->caller == NULL ? context : NULL))
        nargs = raise_inconsistent(L, realm, t);
      else if (push_ready_result(task->thread, realm, n))
        nargs = 1;
      else
        nargs = suspend(L, realm, t, task, n);
      if (nargs >= 0) continue;
    }
    caller = task->caller;
    if (caller != NULL) {
      task->caller = NULL;
      push_caller(L, t);
    }
    if (status != LUA_YIELD) finish(L, realm, t, task, status);
    if (caller == NULL) break;
    lua_replace(L, t + 1);
    lua_replace(L, t);
    task = caller;
    nargs = 0;
  }
  realm->nesting--;
}

/* True if the task's thread is as the runner left it. */
static bool is_untouched(const lunado_coroutine *task) {
  if (lua_status(task->thread) != LUA_YIELD) return false;
  if (task->waiter.future == NULL) return true;
  return lua_touserdata(task->thread, -1) == (void *)task->waiter.future;
}

static void finish_stolen(lua_State *L, lunado_realm *realm, int t) {
  lunado_coroutine *task = lua_touserdata(L, t);
  (void)lua_resetthread(task->thread);
  lua_settop(task->thread, 0);
  lua_pushliteral(task->thread,
                  "the coroutine was resumed or closed by somebody else");
  task->flags |= TASK_FAILED;
  finish(L, realm, t, task, LUA_OK);
}

void lunado__coroutine_wake(lua_State *L, lunado_realm *realm, int t) {
  lunado_coroutine *task = lua_touserdata(L, t);
  luaL_checkstack(L, RUN_STACK, NULL);
  lunado__ioloop_discharge(L, task->loop);
  lua_getiuservalue(L, t, LUNADO_TASK_FUTURE);
  task->flags &= ~(uint32_t)TASK_QUEUED;
  if (task->flags & TASK_STARTING) {
    task->flags &= ~(uint32_t)TASK_STARTING;
    run(L, realm, t, task, (int)task->count);
  } else if (!is_untouched(task)) {
    finish_stolen(L, realm, t);
  } else if (task->waiter.future == NULL) {
    run(L, realm, t, task, 0);
  } else {
    run(L, realm, t, task,
        push_outcome(realm, task, task->waiter.future));
  }
  lua_settop(L, t);
}

/* --- starting ----------------------------------------------------------------------- */

static lunado_coroutine *task_new(lua_State *L, lunado_realm *realm) {
  lunado_coroutine *task = lua_newuserdatauv(L, sizeof *task, 2);
  *task = (lunado_coroutine){0};
  task->thread = lua_newthread(L);
  lua_setiuservalue(L, -2, LUNADO_TASK_THREAD);
  task->born = ++realm->born;
  lua_rawgetp(L, LUA_REGISTRYINDEX, realm->task_mt);
  lua_setmetatable(L, -2);
  return task;
}

static lunado_coroutine *task_from_pool(lua_State *L, lunado_realm *realm) {
  lunado_coroutine *task;
  lua_Hook hook = lua_gethook(L);
  int place = realm->pool + --realm->pooled;
  lua_rawgeti(L, LUA_REGISTRYINDEX, place);
  lua_pushboolean(L, 0);
  lua_rawseti(L, LUA_REGISTRYINDEX, place);
  task = lua_touserdata(L, -1);
  /* A new thread inherits the hook of the one that makes it. */
  if (hook != NULL)
    lua_sethook(task->thread, hook, lua_gethookmask(L), lua_gethookcount(L));
  return task;
}

/* Pushes a task, and the Future of its outcome; the task's thread gets what
 * every coroutine begins with, the function and its arguments to follow. */
static lunado_coroutine *push_task(lua_State *L, lunado_realm *realm,
                                   int nargs) {
  lunado_coroutine *task;
  luaL_checkstack(L, RUN_STACK + nargs, "too many arguments");
  task = realm->pooled > 0 ? task_from_pool(L, realm) : task_new(L, realm);
  if (nargs > LUA_MINSTACK / 2 && !lua_checkstack(task->thread, nargs + 4))
    luaL_error(L, "too many arguments");
  (void)lunado__future_new(L, realm, sizeof(lunado_future),
                           LUNADO_FUTURE_TASK);
  lua_rawgeti(task->thread, LUA_REGISTRYINDEX, realm->body);
  lua_rawgeti(task->thread, LUA_REGISTRYINDEX, realm->body_handler);
  task->count = (uint32_t)nargs + 2;
  task->flags = 0;
  task->loop = NULL;
  task->waiter.list = NULL;
  return task;
}

/* Replaces the function below nargs arguments by a task that is ready to run
 * it, and the task's Future above. */
static lunado_coroutine *prepare(lua_State *L, lunado_realm *realm,
                                 int nargs) {
  int base = lua_gettop(L) - nargs;
  lunado_coroutine *task = push_task(L, realm, nargs);
  lua_rotate(L, base, 2);
  lua_xmove(L, task->thread, nargs + 1);
  return task;
}

static void start_later(lua_State *L, int t, lunado_ioloop *loop) {
  lunado_coroutine *task = lua_touserdata(L, t);
  lunado__queue_reserve(L, &loop->queue, 1);
  if (loop->realm->context != NULL) {
    lua_pushcfunction(L, capture);
    lua_pushvalue(L, t);
    lua_call(L, 1, 0);
  }
  task->loop = loop;
  enlist(L, t, task, TASK_QUEUED | TASK_STARTING);
  queue_task(L, loop->realm, t, task);
}

/* True if one more coroutine may be started on the C stack.  The calls between
 * the coroutines count as well: Lua allows some 200 in all, of which each
 * takes more than a hundred bytes. */
static bool may_nest(const lunado_realm *realm) {
  char here = 0;
  ptrdiff_t used = (ptrdiff_t)(realm->stack_base - (uintptr_t)&here);
  if (realm->nesting == 0) return true;
  return realm->nesting < NEST_MAX && used < NEST_STACK && -used < NEST_STACK;
}

/* Starts the task at t on the C stack, or, where that is used up, leaves it
 * to the loop. */
static void start(lua_State *L, lunado_realm *realm, int t,
                  lunado_coroutine *task) {
  if (may_nest(realm))
    run(L, realm, t, task, (int)task->count);
  else
    start_later(L, t, lunado__currentloop(L, realm));
}

void lunado__spawn(lua_State *L, lunado_realm *realm, int nargs) {
  int t = lua_gettop(L) - nargs;
  start(L, realm, t, prepare(L, realm, nargs));
  lua_remove(L, t);
}

void lunado__spawn_later(lua_State *L, lunado_realm *realm,
                         lunado_ioloop *loop, int nargs) {
  int t = lua_gettop(L) - nargs;
  (void)prepare(L, realm, nargs);
  start_later(L, t, loop);
  lua_remove(L, t);
}

static bool runs_on(lua_State *L, const lunado_realm *realm) {
  return realm->current != NULL && realm->current->thread == L;
}

/* The callee has been started; its Future is on top. */
static int callee_started(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  return 1;
}

/* True if the last of nargs arguments is util.kwargs. */
static bool has_kwargs(lua_State *L, const lunado_realm *realm, int nargs) {
  bool found;
  if (realm->kwargs_mt == NULL || lua_type(L, nargs) != LUA_TTABLE ||
      !lua_getmetatable(L, nargs))
    return false;
  found = lua_topointer(L, -1) == realm->kwargs_mt;
  lua_pop(L, 1);
  return found;
}

static int call_with_kwargs(lua_State *L, lunado_realm *realm, int nargs) {
  luaL_checkstack(L, 6, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_KWARGS);
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  lua_insert(L, 2);
  lua_call(L, nargs + 1, 1);
  return 1;
}

/* What gen.coroutine returns; upvalue 3 is the function. */
static int coroutine_call(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  int nargs = lua_gettop(L);
  lunado_coroutine *task;
  if (nargs > 0 && has_kwargs(L, realm, nargs))
    return call_with_kwargs(L, realm, nargs);
  task = push_task(L, realm, nargs);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  for (int i = 1; i <= nargs; i++) lua_pushvalue(L, i);
  lua_xmove(L, task->thread, nargs + 1);
  if (!may_nest(realm) && runs_on(L, realm) && lua_isyieldable(L) &&
      realm->context == NULL) {
    realm->callee = task;
    return lua_yieldk(L, 2, 0, callee_started);
  }
  start(L, realm, nargs + 1, task);
  return 1;
}

/* --- awaiting ----------------------------------------------------------------------- */

/* Pushes the name of the C function that keeps L from yielding, or "C". */
static void push_boundary(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sn", &ar);
    if (*ar.what == 'C' && ar.name != NULL) {
      lua_pushfstring(L, "'%s'", ar.name);
      return;
    }
  }
  lua_pushliteral(L, "C");
}

static int cannot_await(lua_State *L, lunado_realm *realm) {
  if (realm->current == NULL)
    return luaL_error(L, "cannot await outside of a coroutine: start the "
                         "function with gen.coroutine or lunado.run");
  if (!runs_on(L, realm))
    return luaL_error(
        L, "cannot await inside a coroutine that lunado does not run, such as "
           "a coroutine.wrap generator: await in the function that calls it");
  push_boundary(L);
  return luaL_error(
      L, "cannot await inside %s, which cannot be suspended (it is a C "
         "function, a finalizer or a message handler): await before calling "
         "it", lua_tostring(L, -1));
}

static void check_can_await(lua_State *L, lunado_realm *realm) {
  if (!runs_on(L, realm) || !lua_isyieldable(L)) cannot_await(L, realm);
}

int lunado__await(lua_State *L, lunado_realm *realm, int idx,
                  lua_KContext ctx, lua_KFunction k) {
  check_can_await(L, realm);
  lua_pushvalue(L, idx);
  realm->awaiting = true;
  return lua_yieldk(L, 1, ctx, k);
}

int lunado__awaited(lua_State *L, lunado_realm *realm, int top) {
  if (realm->throwing) {
    realm->throwing = false;
    return lua_error(L);
  }
  return lua_gettop(L) - top - 1;
}

static int await_done(lua_State *L, int status, lua_KContext top) {
  (void)status;
  return lunado__awaited(L, lunado__upvalue_realm(L), (int)top);
}

int lunado__raise_failed(lua_State *L, lunado_realm *realm, int idx) {
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado__failure_throw(L, realm);
  return lua_error(L);
}

/* Has the runner convert the arguments, as those of a plain yield. */
static int await_values(lua_State *L, lunado_realm *realm) {
  check_can_await(L, realm);
  realm->awaiting = true;
  return lua_yieldk(L, lua_gettop(L), 0, await_done);
}

/* gen.await(x) → the results of x, as coroutine.yield(x), but without a switch
 * when x is done.  Raises its error, and a clear one where it cannot wait. */
static int gen_await(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_future *future;
  if (push_ready_result(L, realm, lua_gettop(L))) return 1;
  if (lua_isnoneornil(L, 1) && lua_gettop(L) <= 1) {
    lua_settop(L, 0);
    lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
  }
  future = lunado__tofuture(L, realm, 1);
  if (future == NULL || lua_gettop(L) > 1) return await_values(L, realm);
  if (lunado_future_pending(future) || (future->flags & LUNADO_IS_MOMENT))
    return lunado__await(L, realm, 1, lua_gettop(L), await_done);
  if (future->state == LUNADO_FAILED) return lunado__raise_failed(L, realm, 1);
  return lunado__push_results(L, 1);
}

/* --- finalizers ----------------------------------------------------------------------- */

void lunado__coroutine_where(lua_State *L, const lunado_coroutine *task) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(task->thread, level, &ar); level++) {
    lua_getinfo(task->thread, "Sl", &ar);
    if (ar.currentline > 0) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
  lua_pushliteral(L, "?");
}

/* A collection clears the weak reference to the cycle object before it runs
 * any finalizer; the closing of a state does not.  Finalizers run from the
 * youngest object to the oldest, so that objects younger than the cycle
 * object see that for themselves, and for older ones its own finalizer has
 * seen it. */
static bool is_state_closing(lua_State *L, lunado_realm *realm,
                             uint32_t born) {
  if (realm->closing || born < realm->cycle_born) return realm->closing;
  lunado__getslot(L, realm, LUNADO_SLOT_CYCLE);
  realm->closing = lua_rawgeti(L, -1, 1) != LUA_TNIL;
  lua_pop(L, 2);
  return realm->closing;
}

static void make_cycle_object(lua_State *L, lunado_realm *realm) {
  uint32_t *born = lua_newuserdatauv(L, sizeof *born, 0);
  *born = realm->cycle_born = ++realm->born;
  luaL_setmetatable(L, "lunado.Cycle");
  lunado__getslot(L, realm, LUNADO_SLOT_CYCLE);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
}

static int cycle__gc(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  uint32_t *born = lua_touserdata(L, 1);
  if (!is_state_closing(L, realm, *born)) make_cycle_object(L, realm);
  return 0;
}

static int task__gc(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_coroutine *task = lua_touserdata(L, 1);
  bool waited = (task->flags & TASK_WAITING) != 0;
  bool told = !waited || is_state_closing(L, realm, task->born);
  if (waited) task->loop->queue.reserved--;
  if (task->flags & (TASK_WAITING | TASK_QUEUED)) {
    told = told || task->loop->closed;
    lunado__ioloop_discharge(L, task->loop);
  }
  task->flags &= ~(uint32_t)(TASK_WAITING | TASK_QUEUED);
  if (task->flags & TASK_WATCHED) tell_finish(L, realm, task, false);
  if (told) return 0;
  lua_pushliteral(L, "Coroutine was collected while waiting at ");
  lunado__coroutine_where(L, task);
  lua_pushliteral(L, ": nobody can set the Future it waits for");
  lua_concat(L, 3);
  lunado__log(L, realm, LUNADO_LOG_WARNING);
  return 0;
}

/* --- functions ------------------------------------------------------------------------- */

/* gen.coroutine(fn) → a function that runs fn as a coroutine and returns a
 * Future of what it returns.  Tornado: gen.coroutine. */
static int gen_coroutine(lua_State *L) {
  lunado__checkcallable(L, 1);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_REALM));
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_FUTURE));
  lua_rotate(L, 1, 2);
  lua_pushcclosure(L, coroutine_call, LUNADO_UPVALUES + 1);
  return 1;
}

/* gen.is_coroutine_function(f).  Tornado: gen.is_coroutine_function. */
static int gen_is_coroutine_function(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lua_tocfunction(L, 1) == coroutine_call);
  return 1;
}

/* gen.reuse_threads(on): whether finished threads serve later coroutines. */
static int gen_reuse_threads(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  luaL_checktype(L, 1, LUA_TBOOLEAN);
  realm->reuse = lua_toboolean(L, 1) != 0;
  if (realm->reuse) return 0;
  while (realm->pooled > 0) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, realm->pool + --realm->pooled);
  }
  return 0;
}

/* set_kwargs(metatable, call): tables with that metatable are keyword
 * arguments; call(fn, ...) calls a coroutine function that gets one. */
static int core_set_kwargs(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  realm->kwargs_mt = lua_topointer(L, 1);
  lunado__setslot(L, realm, LUNADO_SLOT_KWARGS);
  return 0;
}

/* set_finish_hook(fn): fn(task, succeeded) at the end of each coroutine that
 * has called watch_finish. */
static int core_set_finish_hook(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__upvalue_realm(L), LUNADO_SLOT_FINISH);
  return 0;
}

/* watch_finish() → the identity of the coroutine whose yield is being
 * converted, or that runs; nil outside of any. */
static int core_watch_finish(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_coroutine *task =
      realm->yielder != NULL ? realm->yielder : realm->current;
  if (task == NULL) {
    lua_pushnil(L);
    return 1;
  }
  task->flags |= TASK_WATCHED;
  lua_pushlightuserdata(L, task);
  return 1;
}

static const luaL_Reg functions[] = {
    {"set_kwargs", core_set_kwargs},
    {"set_finish_hook", core_set_finish_hook},
    {"watch_finish", core_watch_finish},
    {"coroutine", gen_coroutine},
    {"await", gen_await},
    {"is_coroutine_function", gen_is_coroutine_function},
    {"reuse_threads", gen_reuse_threads},
    {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", task__gc}, {NULL, NULL}};
static const luaL_Reg cycle_metamethods[] = {{"__gc", cycle__gc},
                                             {NULL, NULL}};

void lunado__coroutine_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__coroutine_open(lua_State *L, lunado_realm *realm) {
  realm->task_mt = lunado__newclass(L, "lunado.Task", NULL, metamethods);
  lua_rawsetp(L, LUA_REGISTRYINDEX, realm->task_mt);
  (void)lunado__newclass(L, "lunado.Cycle", NULL, cycle_metamethods);
  lua_pop(L, 1);
  lunado__pushfunction(L, lunado__coroutine_body);
  realm->body = luaL_ref(L, LUA_REGISTRYINDEX);
  lunado__pushfunction(L, body_handler);
  realm->body_handler = luaL_ref(L, LUA_REGISTRYINDEX);
  realm->pool = (int)lua_rawlen(L, LUA_REGISTRYINDEX) + 1;
  for (int i = 0; i < LUNADO_POOL_SIZE; i++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, realm->pool + i);
  }
  make_cycle_object(L, realm);
}
