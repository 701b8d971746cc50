/* SPDX-License-Identifier: MIT */
/*
 * coroutine.c - the runner: start, suspend, resume, end.
 *
 * Starts nest on the C stack, of which Lua allows little.  Beyond NEST_MAX a
 * coroutine that calls another yields to the runner, which starts the callee
 * in its place and comes back to the caller when the callee suspends or ends:
 * so depth is bounded by memory alone.
 */
#include "binding/coroutine/coroutine.h"

#include <string.h>

#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/debug/inspect.h"
#include "binding/loop/ioloop.h"
#include "binding/state/realm.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/watch.h"

/* Coroutines started inside each other on the C stack.  Each takes some three
 * of Lua's 200 C calls. */
#define NEST_MAX 30u

/* Bytes of C stack that may lie between the first of them and the next. */
#define NEST_STACK 24576

/* Room on the stack for running a coroutine and settling its Future, for which
 * nobody waits before it was returned.  With a task, its Future and the
 * function it is less than what Lua gives each function of C, so that few
 * arguments need no more. */
#define RUN_STACK 14
#define FEW_ARGUMENTS (LUA_MINSTACK - RUN_STACK - 3)

/* --- ending --------------------------------------------------------------- */

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
  lua_pushvalue(L, t);
  lua_xmove(L, realm->pool, 1);
  realm->idle[realm->pooled++] = task;
}

/* The thread of a coroutine that failed does not serve again; nor does one
 * with a hook, of which Lua's debug library keeps the function by the thread.
 */
static void drop_thread(lua_State *L, int t, lunado_coroutine *task) {
  task->thread = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_THREAD);
}

/* Task and Future let each other go. */
static void untie(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_FUTURE);
  lua_pushnil(L);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_TASK);
}

/* The task at t lets the Failure go that its coroutine was given last. */
static void forget_received(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_RECEIVED);
}

/* The coroutine of the task at t has died of the error on top. */
static void finish_failed(lua_State *L, lunado_realm *realm, int t) {
  lunado__failure_wrap(L, realm);
  lunado__failure_hand_on(lua_touserdata(L, -1));
  lunado__fail(L, realm, t + 1);
}

/* The coroutine of the task at t has ended, with n values on its thread: the
 * task becomes idle, and its Future gets the outcome. */
static void finish(lua_State *L, lunado_realm *realm, int t,
                   lunado_coroutine *task, int status, int n) {
  lunado_future *future = task->future;
  if (task->flags & TASK_BOUND) untie(L, t);
  if (task->flags & TASK_RECEIVED) forget_received(L, t);
  if (n == 1 || status != LUA_OK)
    lua_xmove(task->thread, L, 1);
  else
    lua_pushnil(L);
  if (status != LUA_OK) {
    task->flags |= TASK_FAILED;
    (void)lua_resetthread(task->thread);
  }
  if (task->flags & TASK_WATCHED) lunado__watch_end(L, t, task);
  if (task->flags & TASK_FAILED || lua_gethook(task->thread) != NULL)
    drop_thread(L, t, task);
  recycle(L, realm, t, task);
  if (task->flags & TASK_FAILED) {
    finish_failed(L, realm, t);
  } else if (lunado_future_pending(future)) {
    future->count = task->results;
    lunado__settle_future(L, realm, t + 1, future, LUNADO_DONE);
  } else { /* somebody else has set it */
    lua_pop(L, 1);
  }
}

/* --- running -------------------------------------------------------------- */

static int resume(lua_State *L, lunado_realm *realm, lunado_coroutine *task,
                  int nargs, int *n) {
  lunado_coroutine *outer = realm->current;
  int status;
  realm->current = task;
  status = lua_resume(task->thread, L, nargs, n);
  realm->current = outer;
  task->flags &= ~(uint32_t)TASK_AWAITING;
  if (realm->awaiting || realm->throwing) lunado__task_resumed(realm, task);
  return status;
}

static int make_overflow(lua_State *L) {
  return luaL_error(L, "stack overflow (too many coroutines are started inside "
                       "each other)");
}

/* Where the C stack is by now.  Not by the address of a variable, for which
 * AddressSanitizer may have another place. */
static inline uintptr_t stack_here(void) {
#if defined(__GNUC__)
  return (uintptr_t)__builtin_frame_address(0);
#else
  volatile char here = 0;
  return (uintptr_t)&here;
#endif
}

/* True if the caller, which is to go on after its callee, is as it was left. */
static bool awaits_start(const lunado_coroutine *caller,
                         const lunado_coroutine *callee) {
  lua_State *thread = caller->thread;
  return lua_status(thread) == LUA_YIELD && lua_gettop(thread) >= 2 &&
         lua_touserdata(thread, -2) == (const void *)callee;
}

/* Puts an end to a coroutine that somebody else has resumed or closed, with an
 * error on its thread's stack. */
static int end_stolen(const lunado_coroutine *task) {
  (void)lua_resetthread(task->thread);
  lua_settop(task->thread, 0);
  lua_pushliteral(task->thread,
                  "the coroutine was resumed or closed by somebody else");
  return LUA_ERRRUN;
}

static int make_inconsistent(lua_State *L) {
  lunado__getslot(L, lunado__findrealm(L), LUNADO_SLOT_INCONSISTENT);
  lua_call(L, 0, 1);
  return lua_error(L);
}

/* The task at *t has yielded its callee and the callee's Future, on top of its
 * thread's stack.  Pushes both, and sets *t and *task to the callee where there
 * is stack for one more level.  Returns how many values to resume *task with.
 */
static int descend(lua_State *L, lunado_realm *realm, int *t,
                   lunado_coroutine **task) {
  lunado_coroutine *callee = realm->callee;
  lua_State *thread = (*task)->thread;
  realm->callee = NULL;
  if (!lua_checkstack(L, RUN_STACK))
    return lunado__task_raise(L, realm, *t, make_overflow);
  lua_pushvalue(thread, -2);
  lua_pushvalue(thread, -2);
  lua_xmove(thread, L, 2);
  callee->caller = *task;
  *task = callee;
  *t += 2;
  return (int)callee->count;
}

/* Deals with a yield of n values by the task at t.  Returns how many values to
 * resume it with, or SUSPENDED. */
static int yielded(lua_State *L, lunado_realm *realm, int t,
                   lunado_coroutine *task, int n, const void *context) {
  if (realm->context != context && !lunado__watch_is_within(L, realm, task))
    return lunado__task_raise(L, realm, t, make_inconsistent);
  if (lunado__push_ready_result(task->thread, realm, n)) return 1;
  n = lunado__task_suspend(L, realm, t, task, n);
  if (task->flags & TASK_ENTERING) lunado__watch_enter(L, realm, t, task);
  return n;
}

/* Runs the coroutine of the task at t, whose thread has nargs values to be
 * resumed with, or that is STOLEN, until it is suspended or ends.  Its Future
 * is at t + 1.  Those that it starts by yielding to the runner are above, each
 * with its Future. */
static void run(lua_State *L, lunado_realm *realm, int t,
                lunado_coroutine *task, int nargs) {
  lunado_coroutine *caller;
  const void *context = realm->context;
  lua_State *outer = realm->runner;
  int outer_place = realm->place;
  if (realm->nesting++ == 0) realm->stack_base = stack_here();
  realm->runner = L;
  realm->place = t;
  for (;;) {
    int n = 1;
    int status =
        nargs == STOLEN ? end_stolen(task) : resume(L, realm, task, nargs, &n);
    caller = task->caller;
    if (status == LUA_YIELD) {
      if (realm->callee != NULL) {
        nargs = descend(L, realm, &t, &task);
        realm->place = t;
        continue;
      }
      nargs = yielded(L, realm, t, task, n, caller == NULL ? context : NULL);
      if (nargs != SUSPENDED) continue;
    }
    task->caller = NULL;
    if (task->flags & TASK_ENTERED) lunado__watch_leave(L, realm, task);
    if (status != LUA_YIELD) finish(L, realm, t, task, status, n);
    if (caller == NULL) break;
    nargs = awaits_start(caller, task) ? 0 : STOLEN;
    task = caller;
    t -= 2;
    realm->place = t;
    lua_settop(L, t + 1);
  }
  realm->runner = outer;
  realm->place = outer_place;
  realm->nesting--;
}

void lunado__coroutine_wake(lua_State *L, lunado_realm *realm, int t) {
  lunado_coroutine *task = lua_touserdata(L, t);
  luaL_checkstack(L, LUNADO_WAKE_STACK, NULL);
  lunado__ioloop_discharge(L, task->loop);
  lua_getiuservalue(L, t, LUNADO_TASK_FUTURE);
  task->flags &= ~(uint32_t)TASK_QUEUED;
  if (task->flags & TASK_STARTING) {
    task->flags &= ~(uint32_t)TASK_STARTING;
    run(L, realm, t, task, (int)task->count);
  } else if (!lunado__task_untouched(task)) {
    run(L, realm, t, task, STOLEN);
  } else if (task->waiter.future == NULL) {
    run(L, realm, t, task, 0);
  } else {
    run(L, realm, t, task,
        lunado__task_push_outcome(L, t, task, task->waiter.future));
  }
  lua_settop(L, t);
}

/* --- starting ------------------------------------------------------------- */

/* Gives the task on top a new thread. */
static void set_thread(lua_State *L, lunado_coroutine *task) {
  lua_State *thread = lua_newthread(L);
  lua_setiuservalue(L, -2, LUNADO_TASK_THREAD);
  task->thread = thread;
}

static lunado_coroutine *task_new(lua_State *L, lunado_realm *realm) {
  lunado_coroutine *task =
      lua_newuserdatauv(L, sizeof *task, LUNADO_TASK_VALUES);
  *task = (lunado_coroutine){0};
  set_thread(L, task);
  task->born = ++realm->born;
  lunado__setclass(L, realm->task_mt);
  return task;
}

static lunado_coroutine *task_from_pool(lua_State *L, lunado_realm *realm) {
  lunado_coroutine *task;
  lua_Hook hook = lua_gethook(L);
  lua_xmove(realm->pool, L, 1);
  task = realm->idle[--realm->pooled];
  if (task->thread == NULL || lua_gethook(task->thread) != NULL)
    set_thread(L, task); /* a hook may have been set meanwhile */
  else                   /* as lua_newthread does */
    memcpy(lua_getextraspace(task->thread), lua_getextraspace(realm->main),
           LUA_EXTRASPACE);
  /* A new thread inherits the hook of the one that makes it. */
  if (hook != NULL)
    lua_sethook(task->thread, hook, lua_gethookmask(L), lua_gethookcount(L));
  return task;
}

/* Pushes a task, and the Future of its outcome, where there is stack for both;
 * the task's thread gets what every coroutine begins with, the function and its
 * arguments to follow. */
static lunado_coroutine *push_task(lua_State *L, lunado_realm *realm,
                                   int nargs) {
  lunado_coroutine *task;
  task = realm->pooled > 0 ? task_from_pool(L, realm) : task_new(L, realm);
  if (realm->has_thread_hook) lunado__watch_thread(L, realm, lua_gettop(L));
  if (nargs > LUA_MINSTACK / 2 && !lua_checkstack(task->thread, nargs + 4))
    luaL_error(L, "too many arguments");
  task->future = lunado__future_new(L, realm, LUNADO_KIND_COROUTINE,
                                    sizeof(lunado_future), LUNADO_FUTURE_TASK);
  lua_pushcfunction(task->thread, lunado__coroutine_body);
  lua_pushcfunction(task->thread, lunado__body_handler);
  task->count = (uint32_t)nargs + 2;
  task->results = 1;
  task->flags = 0;
  task->loop = NULL;
  task->waiter.list = NULL;
  return task;
}

/* Replaces the function below nargs arguments by a task that is ready to run
 * it, and the task's Future above. */
static lunado_coroutine *prepare(lua_State *L, lunado_realm *realm, int nargs) {
  int base = lua_gettop(L) - nargs;
  lunado_coroutine *task;
  luaL_checkstack(L, RUN_STACK + 2, NULL);
  task = push_task(L, realm, nargs);
  lua_rotate(L, base, 2);
  lua_xmove(L, task->thread, nargs + 1);
  return task;
}

static void start_later(lua_State *L, int t, lunado_ioloop *loop) {
  lunado_coroutine *task = lua_touserdata(L, t);
  lunado__pushloop(L, loop); /* which finalizers may close */
  lunado__task_capture(L, loop->realm, t);
  lunado__queue_add_place(L, &loop->queue);
  lua_pop(L, 1);
  task->loop = loop;
  if (loop->realm->tracking) lunado__track(L, loop->realm, t);
  lunado__task_enlist(L, t, task, TASK_QUEUED | TASK_STARTING);
  lunado__task_queue(L, loop->realm, t, task);
}

/* True if one more coroutine may be started on the C stack.  The calls between
 * the coroutines count as well: Lua allows some 200 in all, of which each
 * takes more than a hundred bytes. */
static bool may_nest(const lunado_realm *realm) {
  ptrdiff_t used = (ptrdiff_t)(realm->stack_base - stack_here());
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

void lunado__spawn_later(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                         int nargs) {
  int t = lua_gettop(L) - nargs;
  (void)prepare(L, realm, nargs);
  start_later(L, t, loop);
  lua_remove(L, t);
}

static int do_nothing(lua_State *L) {
  (void)L;
  return 0;
}

void lunado__withdraw(lua_State *L, int idx) {
  lunado_coroutine *task;
  const lunado_future *future = lua_touserdata(L, idx);
  if (future->kind != LUNADO_KIND_COROUTINE) return;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_TASK);
  task = lua_touserdata(L, -1);
  if (task != NULL && task->flags & TASK_STARTING) {
    lua_settop(task->thread, 0);
    lua_pushcfunction(task->thread, do_nothing);
    task->count = 0;
  }
  lua_pop(L, 1);
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
  if (nargs > FEW_ARGUMENTS)
    luaL_checkstack(L, RUN_STACK + 3 + nargs, "too many arguments");
  task = push_task(L, realm, nargs);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  for (int i = 1; i <= nargs; i++) lua_pushvalue(L, i);
  lua_xmove(L, task->thread, nargs + 1);
  if (!may_nest(realm) && lunado__is_running(L, realm) && lua_isyieldable(L) &&
      realm->context == NULL) {
    realm->callee = task;
    return lua_yieldk(L, 2, 0, callee_started);
  }
  start(L, realm, nargs + 1, task);
  return 1;
}

/* --- functions ------------------------------------------------------------ */

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

bool lunado__is_coroutine_function(lua_State *L, int idx) {
  return lua_tocfunction(L, idx) == coroutine_call;
}

/* gen.is_coroutine_function(f).  Tornado: gen.is_coroutine_function. */
static int gen_is_coroutine_function(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__is_coroutine_function(L, 1));
  return 1;
}

/* gen.reuse_threads(on): whether finished threads serve later coroutines. */
static int gen_reuse_threads(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  luaL_checktype(L, 1, LUA_TBOOLEAN);
  realm->reuse = lua_toboolean(L, 1) != 0;
  if (realm->reuse) return 0;
  lua_settop(realm->pool, 0);
  realm->pooled = 0;
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

static const luaL_Reg functions[] = {
    {"set_kwargs", core_set_kwargs},
    {"coroutine", gen_coroutine},
    {"is_coroutine_function", gen_is_coroutine_function},
    {"reuse_threads", gen_reuse_threads},
    {NULL, NULL}};

void lunado__coroutine_functions(lua_State *L) {
  lunado__await_functions(L);
  lunado__watch_functions(L);
  lunado__setfunctions(L, functions);
}

void lunado__coroutine_open(lua_State *L, lunado_realm *realm) {
  lunado__lifetime_open(L, realm);
  realm->pool = lua_newthread(L);
  if (!lua_checkstack(realm->pool, LUNADO_POOL_SIZE))
    luaL_error(L, "not enough memory");
  lua_rawsetp(L, LUA_REGISTRYINDEX, realm->idle);
}
