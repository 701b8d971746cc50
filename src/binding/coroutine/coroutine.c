/* SPDX-License-Identifier: MIT */
/*
 * coroutine.c - gen.coroutine: how coroutines are called and started.
 *
 * A coroutine that calls another one starts it on the C stack, of which Lua
 * allows little.  When that is used up (lunado__run_may_nest), the caller
 * yields to the runner instead.  The runner starts the callee in the caller's
 * place, and continues the caller when the callee is suspended or has ended.
 * So only memory bounds the depth of calls.
 */
#include "binding/coroutine/coroutine.h"

#include <string.h>

#include "binding/coroutine/await.h"
#include "binding/coroutine/body.h"
#include "binding/coroutine/gc_canary.h"
#include "binding/coroutine/run.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/watch.h"
#include "binding/future/future.h"
#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"

/* --- starting ------------------------------------------------------------- */

/* The maximum number of arguments for which the stack that Lua gives each C
 * function is enough. */
#define FEW_ARGUMENTS (LUA_MINSTACK - LUNADO_RUN_STACK - 3)

/* Replaces the function and its nargs arguments, which are on top, by a task
 * that is ready to run the function and, above it, the task's Future. */
static lunado_task *prepare(lua_State *L, lunado_realm *realm, int nargs) {
  int base = lua_gettop(L) - nargs;
  lunado_task *task;
  luaL_checkstack(L, LUNADO_RUN_STACK + 2, NULL);
  task = lunado__task_push(L, realm, nargs);
  lua_rotate(L, base, 2);
  lua_xmove(L, task->thread, nargs + 1);
  return task;
}

/* Starts the task at t now; or, if the C stack is used up, on the next turn of
 * the current loop. */
static void start(lua_State *L, lunado_realm *realm, int t, lunado_task *task) {
  if (lunado__run_may_nest(realm))
    lunado__run(L, realm, t, task, (int)task->count);
  else
    lunado__suspend_start_later(L, t, lunado__ioloop_current(L, realm));
}

void lunado__coroutine_spawn(lua_State *L, lunado_realm *realm, int nargs) {
  int t = lua_gettop(L) - nargs;
  start(L, realm, t, prepare(L, realm, nargs));
  lua_remove(L, t);
}

void lunado__coroutine_spawn_later(lua_State *L, lunado_realm *realm,
                                   lunado_ioloop *loop, int nargs) {
  int t = lua_gettop(L) - nargs;
  (void)prepare(L, realm, nargs);
  lunado__suspend_start_later(L, t, loop);
  lua_remove(L, t);
}

static int do_nothing(lua_State *L) {
  (void)L;
  return 0;
}

lunado_task *lunado__coroutine_push_task(lua_State *L, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  if (future->kind != LUNADO_KIND_COROUTINE) return NULL;
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_TASK) != LUA_TNIL)
    return lua_touserdata(L, -1);
  lua_pop(L, 1);
  return NULL;
}

void lunado__coroutine_withdraw(lua_State *L, int idx) {
  lunado_task *task = lunado__coroutine_push_task(L, idx);
  if (task == NULL) return;
  if (task->flags & TASK_STARTING) {
    lua_settop(task->thread, 0);
    lua_pushcfunction(task->thread, do_nothing);
    task->count = 0;
  }
  lua_pop(L, 1);
}

/* The continuation of coroutine_call, after the runner has started the callee.
 * The callee's Future is on top. */
static int callee_started(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  return 1;
}

/* True if the last of the nargs arguments was made by util.kwargs. */
static bool has_kwargs(lua_State *L, const lunado_realm *realm, int nargs) {
  bool found;
  if (realm->types.kwargs == NULL || lua_type(L, nargs) != LUA_TTABLE ||
      !lua_getmetatable(L, nargs))
    return false;
  found = lua_topointer(L, -1) == realm->types.kwargs;
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

/* The function that gen.coroutine returns; upvalue 3 is the user's function. */
static int coroutine_call(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int nargs = lua_gettop(L);
  lunado_task *task;
  if (nargs > 0 && has_kwargs(L, realm, nargs))
    return call_with_kwargs(L, realm, nargs);
  if (nargs > FEW_ARGUMENTS)
    luaL_checkstack(L, LUNADO_RUN_STACK + 3 + nargs, "too many arguments");
  task = lunado__task_push(L, realm, nargs);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UPVALUES + 1));
  for (int i = 1; i <= nargs; i++) lua_pushvalue(L, i);
  lua_xmove(L, task->thread, nargs + 1);
  if (!lunado__run_may_nest(realm) && lunado__task_is_running(L, realm) &&
      lua_isyieldable(L) && realm->contexts.current == NULL) {
    realm->coroutines.callee = task;
    return lua_yieldk(L, 2, 0, callee_started);
  }
  start(L, realm, nargs + 1, task);
  return 1;
}

/* --- functions ------------------------------------------------------------ */

/* gen.coroutine(fn) → a function that runs fn as a coroutine and returns the
 * Future of its results.  Tornado: gen.coroutine. */
static int gen_coroutine(lua_State *L) {
  lunado__checkcallable(L, 1);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_REALM));
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_FUTURE));
  lua_rotate(L, 1, 2);
  lua_pushcclosure(L, coroutine_call, LUNADO_UPVALUES + 1);
  return 1;
}

void lunado__coroutine_spawn_any(lua_State *L, lunado_realm *realm, int nargs) {
  int fn = lua_gettop(L) - nargs;
  if (lua_tocfunction(L, fn) == coroutine_call) {
    lua_getupvalue(L, fn, LUNADO_UPVALUES + 1);
    lua_replace(L, fn);
  }
  lunado__coroutine_spawn(L, realm, nargs);
}

bool lunado__coroutine_is_function(lua_State *L, int idx) {
  return lua_tocfunction(L, idx) == coroutine_call;
}

/* gen.is_coroutine_function(f).  Tornado: gen.is_coroutine_function. */
static int gen_is_coroutine_function(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__coroutine_is_function(L, 1));
  return 1;
}

/* gen.reuse_threads(on): whether the threads of ended coroutines are reused for
 * later ones. */
static int gen_reuse_threads(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  luaL_checktype(L, 1, LUA_TBOOLEAN);
  realm->idle.reuse = lua_toboolean(L, 1) != 0;
  if (realm->idle.reuse) return 0;
  lua_settop(realm->idle.thread, 0);
  realm->idle.count = 0;
  return 0;
}

/* set_kwargs(metatable, call): tables with this metatable are keyword
 * arguments.  If a coroutine function is called with such a table as its last
 * argument, call(fn, ...) makes the call; fn is the user's function. */
static int core_set_kwargs(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  realm->types.kwargs = lua_topointer(L, 1);
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
  realm->coroutines.base = lunado__body_run;
  realm->coroutines.decorated = coroutine_call;
  lunado__task_open(L, realm);
  lunado__gc_canary_open(L, realm);
}
