/* SPDX-License-Identifier: MIT */
/*
 * task.c - the task, which runs a coroutine, and the pool of idle tasks.
 */
#include "binding/coroutine/task.h"

#include <string.h>

#include "binding/coroutine/body.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/gc_canary.h"
#include "binding/coroutine/watch.h"
#include "binding/future/future.h"
#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/naming.h"

/* Removes the finalizer of the task at t, whose coroutine has ended. */
static void retire(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setmetatable(L, t);
}

void lunado__task_recycle(lua_State *L, lunado_realm *realm, int t,
                          lunado_task *task) {
  if (!realm->idle.reuse || realm->idle.count == LUNADO_IDLE_TASKS) {
    retire(L, t);
    return;
  }
  lua_pushvalue(L, t);
  lua_xmove(L, realm->idle.thread, 1);
  realm->idle.tasks[realm->idle.count++] = task;
}

void lunado__task_drop_thread(lua_State *L, int t, lunado_task *task) {
  task->thread = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_THREAD);
}

void lunado__task_unbind(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_FUTURE);
  lua_pushnil(L);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_TASK);
}

void lunado__task_forget_received(lua_State *L, int t) {
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_RECEIVED);
}

/* Gives the task on top a new thread. */
static void set_thread(lua_State *L, lunado_task *task) {
  lua_State *thread = lua_newthread(L);
  lua_setiuservalue(L, -2, LUNADO_TASK_THREAD);
  task->thread = thread;
}

static lunado_task *task_new(lua_State *L, lunado_realm *realm) {
  lunado_task *task = lua_newuserdatauv(L, sizeof *task, LUNADO_TASK_VALUES);
  *task = (lunado_task){0};
  set_thread(L, task);
  task->sequence = ++realm->collector.sequence;
  lunado__class_set(L, realm->types.task);
  return task;
}

static lunado_task *task_from_pool(lua_State *L, lunado_realm *realm) {
  lunado_task *task;
  lua_Hook hook = lua_gethook(L);
  lua_xmove(realm->idle.thread, L, 1);
  task = realm->idle.tasks[--realm->idle.count];
  if (task->thread == NULL || lua_gethook(task->thread) != NULL)
    set_thread(L, task); /* its hook was set while it was idle */
  else                   /* as lua_newthread does */
    memcpy(lua_getextraspace(task->thread), lua_getextraspace(realm->main),
           LUA_EXTRASPACE);
  /* A new thread inherits the hook of its creator. */
  if (hook != NULL)
    lua_sethook(task->thread, hook, lua_gethookmask(L), lua_gethookcount(L));
  return task;
}

lunado_task *lunado__task_push(lua_State *L, lunado_realm *realm, int nargs) {
  lunado_task *task;
  task = realm->idle.count > 0 ? task_from_pool(L, realm) : task_new(L, realm);
  if (realm->coroutines.has_thread_hook)
    lunado__watch_thread(L, realm, lua_gettop(L));
  if (nargs > LUA_MINSTACK / 2 && !lua_checkstack(task->thread, nargs + 5))
    luaL_error(L, "too many arguments");
  task->future = lunado__future_new(L, realm, LUNADO_KIND_COROUTINE,
                                    sizeof(lunado_future), LUNADO_FUTURE_TASK);
  lua_pushcfunction(task->thread, lunado__body_run);
  lua_pushlightuserdata(task->thread, realm);
  lua_pushcfunction(task->thread, lunado__body_handler);
  task->count = (uint32_t)nargs + 3;
  task->results = 1;
  task->flags = 0;
  task->received = 0;
  task->loop = NULL;
  task->waiter.list = NULL;
  return task;
}

void lunado__task_bind(lua_State *L, int t, lunado_task *task) {
  task->flags |= TASK_BOUND;
  lua_pushvalue(L, t + 1);
  lua_setiuservalue(L, t, LUNADO_TASK_FUTURE);
  lua_pushvalue(L, t);
  lua_setiuservalue(L, t + 1, LUNADO_FUTURE_TASK);
}

void lunado__task_pushplace(lua_State *L, const lunado_task *task) {
  lunado__naming_pushplace(L, lunado__realm_find(L), task->thread);
}

/* --- the finalizer -------------------------------------------------------- */

static void push_warning(lua_State *L, const lunado_task *task) {
  if (!lunado__task_untouched(task)) {
    lua_pushliteral(L,
                    "Coroutine was collected that somebody else had resumed or "
                    "closed: its Future stays pending");
    return;
  }
  lua_pushliteral(L, "Coroutine was collected while waiting at ");
  lunado__task_pushplace(L, task);
  lua_pushliteral(L, ": nobody can set the Future it waits for");
  lua_concat(L, 3);
}

bool lunado__task_is_preempted(const lunado_task *task) {
  lua_Debug ar;
  return lua_status(task->thread) == LUA_YIELD &&
         lua_getstack(task->thread, 0, &ar) &&
         lua_getinfo(task->thread, "S", &ar) && *ar.what != 'C';
}

/* Logs that the task was collected while it waited, unless the state is being
 * closed. */
static void report(lua_State *L, lunado_realm *realm, const lunado_task *task) {
  lunado_gc_cause cause = lunado__gc_canary_cause(L, realm, task->sequence);
  if (cause == LUNADO_GC_CLOSING) return;
  push_warning(L, task);
  lunado__gc_canary_log(L, realm, cause);
}

static int task__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_task *task = lua_touserdata(L, 1);
  uint32_t how = task->flags & (TASK_WAITING | TASK_QUEUED);
  bool silent = !(how & TASK_WAITING);
  if ((how & TASK_QUEUED) && !task->loop->closed) {
    /* Another finalizer has queued the task, or the state is being closed.  The
     * loop may still run the task, so it gets its finalizer back. */
    lua_settop(L, 1);
    lunado__class_set(L, realm->types.task);
    return 0;
  }
  if (how & TASK_WAITING) task->loop->queue.reserved--;
  if (how != 0) {
    silent = silent || task->loop->closed;
    lunado__ioloop_unref(L, task->loop);
  }
  task->flags &= ~how;
  if (!silent) report(L, realm, task);
  return 0;
}

void lunado__task_track(lua_State *L, const lunado_realm *realm, int t) {
  const lunado_task *task = lua_touserdata(L, t);
  luaL_checkstack(L, 4, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_TRACKED);
  lua_pushvalue(L, t);
  lua_pushnumber(L, (lua_Number)lunado_loop_time(task->loop->core));
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static const luaL_Reg metamethods[] = {{"__gc", task__gc}, {NULL, NULL}};

void lunado__task_open(lua_State *L, lunado_realm *realm) {
  realm->types.task = lunado__class_new(L, "lunado.Task", NULL, metamethods);
  lua_pop(L, 1);
  realm->idle.thread = lua_newthread(L);
  if (!lua_checkstack(realm->idle.thread, LUNADO_IDLE_TASKS))
    luaL_error(L, "not enough memory");
  lua_rawsetp(L, LUA_REGISTRYINDEX, realm->idle.tasks);
}
