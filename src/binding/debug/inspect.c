/* SPDX-License-Identifier: MIT */
/*
 * inspect.c - which tasks are suspended, where, and what they wait for.
 *
 * No function here changes a task or a Future.  They read only values that
 * tasks and Futures have anyway; the one exception is the table of tracked
 * tasks.
 */
#include "binding/debug/inspect.h"

#include "binding/coroutine/canceller.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/group.h"
#include "binding/coroutine/member.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/task.h"
#include "binding/future/chain.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/sleep.h"
#include "binding/future/waititer.h"
#include "binding/future/with_timeout.h"
#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/naming.h"

/* --- tracking ------------------------------------------------------------- */

/* track() → the table of tracked tasks: task -> the time of its loop when the
 * task was first suspended.  Every call returns the same table.  From the first
 * call on, each task is added when it is first suspended.  The table is weak,
 * so it keeps no task alive. */
static int core_track(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!realm->coroutines.tracking) {
    lua_newtable(L);
    lunado__class_setweak(L, "k");
    lunado__setslot(L, realm, LUNADO_SLOT_TRACKED);
    realm->coroutines.tracking = true;
  }
  lunado__getslot(L, realm, LUNADO_SLOT_TRACKED);
  return 1;
}

static lunado_task *to_task(lua_State *L, int idx) {
  return lunado__toclass(L, idx, lunado__realm_upvalue(L)->types.task);
}

/* When the state is closed, the loop may be released before the task. */
static bool is_suspended(const lunado_task *task) {
  return (task->flags & (TASK_WAITING | TASK_QUEUED)) != 0 &&
         task->loop->core != NULL;
}

/* track_task(x): if x is a suspended task that is not in the table of track(),
 * adds it, with the present time. */
static int core_track_task(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_task *task = to_task(L, 1);
  if (task == NULL || !realm->coroutines.tracking || !is_suspended(task))
    return 0;
  lunado__getslot(L, realm, LUNADO_SLOT_TRACKED);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, -2) == LUA_TNIL) lunado__task_track(L, realm, 1);
  return 0;
}

/* stack(thread) → a list of the values on the stack of a thread that runs no
 * function, such as the threads that make up a queue.  Returns nothing for any
 * other value. */
static int core_stack(lua_State *L) {
  lua_State *thread = lua_tothread(L, 1);
  lua_Debug ar;
  int n;
  if (thread == NULL || thread == L || lua_getstack(thread, 0, &ar)) return 0;
  if (!lua_checkstack(thread, 1)) return luaL_error(L, "not enough memory");
  lua_createtable(L, lua_gettop(thread), 0);
  n = lua_gettop(thread); /* finalizers may have used a queue */
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(thread, i);
    lua_xmove(thread, L, 1);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* --- tasks ---------------------------------------------------------------- */

/* Finds the function that the body of the coroutine has called: the second
 * function from the base of the thread's stack. */
static bool find_base(lua_State *thread, lua_Debug *ar) {
  if (!lua_getstack(thread, 0, ar)) return false;
  return lua_getstack(thread, lunado__naming_lastlevel(thread, 0) - 1, ar) != 0;
}

/* Pushes the function that the coroutine runs. */
static void push_function(lua_State *L, const lunado_task *task) {
  lua_State *thread = task->thread;
  lua_Debug ar;
  if (!lua_checkstack(thread, 1)) luaL_error(L, "not enough memory");
  if (task->flags & TASK_STARTING)
    lua_pushvalue(thread, 4); /* body nil handler function arguments */
  else if (find_base(thread, &ar))
    lua_getinfo(thread, "f", &ar);
  else
    lua_pushnil(thread);
  lua_xmove(thread, L, 1);
}

/* Pushes the pending Future that the coroutine waits for, or nil. */
static void push_awaited(lua_State *L, const lunado_task *task) {
  lua_State *thread = task->thread;
  if (!(task->flags & TASK_WAITING) || lua_gettop(thread) == 0 ||
      lua_touserdata(thread, -1) != (void *)task->waiter.future) {
    lua_pushnil(L);
    return;
  }
  if (!lua_checkstack(thread, 1)) luaL_error(L, "not enough memory");
  lua_pushvalue(thread, -1);
  lua_xmove(thread, L, 1);
}

/* task(t) → seven values, or nothing if the task is not suspended:
 *   1. how it is suspended: "waiting", "ready" or "starting";
 *   2. its thread;
 *   3. the Future of its outcome;
 *   4. the Future that it waits for, or nil;
 *   5. its function;
 *   6. "file:line" of the place where it is suspended;
 *   7. the time of its loop. */
static int core_task(lua_State *L) {
  lunado_task *task = to_task(L, 1);
  if (task == NULL) return luaL_typeerror(L, 1, "task");
  if (!is_suspended(task)) return 0;
  lua_settop(L, 1);
  lua_pushstring(L, task->flags & TASK_WAITING    ? "waiting"
                    : task->flags & TASK_STARTING ? "starting"
                                                  : "ready");
  lua_getiuservalue(L, 1, LUNADO_TASK_THREAD);
  lua_getiuservalue(L, 1, LUNADO_TASK_FUTURE);
  push_awaited(L, task);
  push_function(L, task);
  lunado__task_pushplace(L, task);
  lua_pushnumber(L, (lua_Number)lunado_loop_time(task->loop->core));
  return 7;
}

/* --- Futures -------------------------------------------------------------- */

/* Pushes the number of seconds until the timer runs; nil if it is on no loop.
 */
static void push_left(lua_State *L, const lunado_realm *realm,
                      const lunado_timer *timer) {
  lunado__getslot(L, realm, LUNADO_SLOT_LOOPS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    lunado_ioloop *loop = lua_touserdata(L, -1);
    double when;
    if (loop->core == NULL || !lunado_timer_when(loop->core, timer, &when))
      continue;
    lua_pop(L, 3);
    lua_pushnumber(L, (lua_Number)(when - lunado_loop_time(loop->core)));
    return;
  }
  lua_pop(L, 1);
  lua_pushnil(L);
}

/* Pushes what the Future at 1 waits for: all results of core_parts but the
 * first. */
static void push_parts(lua_State *L, const lunado_realm *realm,
                       const lunado_future *future) {
  switch ((lunado_kind)future->kind) {
  case LUNADO_KIND_COROUTINE:
    lua_getiuservalue(L, 1, LUNADO_FUTURE_TASK);
    break;
  case LUNADO_KIND_MULTI:
    lunado__multi_children(L, 1);
    break;
  case LUNADO_KIND_SLEEP:
    push_left(L, realm, lunado__sleep_timer(future));
    break;
  case LUNADO_KIND_TIMEOUT:
    lunado__with_timeout_child(L, 1);
    push_left(L, realm, lunado__with_timeout_timer(future));
    break;
  case LUNADO_KIND_PLAIN:
    lunado__canceller_push(L, realm, 1);
    break;
  case LUNADO_KIND_NEXT:
  case LUNADO_KIND_PROMISE:
  case LUNADO_KIND_JOB:
  case LUNADO_KIND_REQUEST:
  case LUNADO_KIND_TICKET:
    break;
  }
}

/* --- scopes --------------------------------------------------------------- */

/* Pushes a table of the Futures of the children that run in the group at idx,
 * by the numbers of their spawns. */
static void push_children(lua_State *L, int idx) {
  int list = lua_gettop(L) + 1;
  lua_newtable(L);
  lua_getiuservalue(L, idx, GROUP_MEMBERS);
  for (lua_pushnil(L); lua_next(L, list + 1) != 0; lua_settop(L, list + 2)) {
    const lunado_member *child = lua_touserdata(L, list + 2);
    if (lua_getiuservalue(L, list + 2, MEMBER_FUTURE) != LUA_TNIL)
      lua_rawseti(L, list, child->number);
  }
  lua_settop(L, list);
}

/* Adds the fields of the group at idx to the table on top. */
static void describe_group(lua_State *L, int idx) {
  const lunado_group *group = lua_touserdata(L, idx);
  lua_getiuservalue(L, idx, GROUP_PLACE);
  lua_setfield(L, -2, "place");
  lua_getiuservalue(L, idx, GROUP_JOIN);
  lua_setfield(L, -2, "join");
  lua_pushinteger(L, group->count);
  lua_setfield(L, -2, "running");
  lua_pushinteger(L, group->spawned);
  lua_setfield(L, -2, "spawned");
  push_children(L, idx);
  lua_setfield(L, -2, "children");
}

/* Pushes the description of the scope at idx. */
static void describe_scope(lua_State *L, const lunado_realm *realm, int idx) {
  static const char *const kinds[] = {[LUNADO_SCOPE_TIMEOUT] = "timeout",
                                      [LUNADO_SCOPE_GROUP] = "group",
                                      [LUNADO_SCOPE_SHIELD] = "shield"};
  const lunado_scope *scope = lua_touserdata(L, idx);
  lua_newtable(L);
  lua_pushstring(L, kinds[scope->kind]);
  lua_setfield(L, -2, "kind");
  lua_pushboolean(L, scope->cancelled);
  lua_setfield(L, -2, "cancelled");
  if (scope->kind == LUNADO_SCOPE_TIMEOUT) {
    push_left(L, realm, &scope->timer);
    lua_setfield(L, -2, "left");
  } else if (scope->kind == LUNADO_SCOPE_GROUP) {
    int table = lua_gettop(L);
    lua_getiuservalue(L, idx, SCOPE_GROUP);
    lua_pushvalue(L, table);
    describe_group(L, table + 1);
    lua_settop(L, table);
  }
}

/* scopes(task) → a list of the scopes that are open in the task's coroutine,
 * the innermost first.  Each is a table with `kind` ("timeout", "group" or
 * "shield") and `cancelled`; of a timeout, `left`, the seconds until its
 * deadline; of a group, `place`, `running`, `spawned`, `children`, the
 * Futures of those that run by the numbers of their spawns, and `join`, the
 * Future for which the end of its block waits. */
static int core_scopes(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (to_task(L, 1) == NULL) return luaL_typeerror(L, 1, "task");
  lua_settop(L, 1);
  lua_newtable(L);
  lua_getiuservalue(L, 1, LUNADO_TASK_SCOPE);
  for (lua_Integer i = 1; lunado__scope_at(L, realm, 3) != NULL; i++) {
    describe_scope(L, realm, 3);
    lua_rawseti(L, 2, i);
    lua_getiuservalue(L, 3, SCOPE_OUTER);
    lua_replace(L, 3);
  }
  lua_settop(L, 2);
  return 1;
}

/* --- parts ---------------------------------------------------------------- */

/* Indexed by lunado_kind. */
static const char *const kind_names[] = {
    "plain", "coroutine", "multi", "next",    "promise",
    "job",   "plain",     "sleep", "timeout", "ticket"};

/* parts(future) → the kind of a pending Future, and what it waits for:
 *   "coroutine": the task, or nil if it is not suspended;
 *   "multi": the table of children;
 *   "sleep": the seconds left;
 *   "timeout": the child, and the seconds left;
 *   "plain": its canceller, or nil;
 *   "next", "promise", "job", "ticket": no further values.
 * Returns nothing if the Future is not pending. */
static int core_parts(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  lua_settop(L, 1);
  if (!lunado_future_pending(future)) return 0;
  lua_pushstring(L, kind_names[future->kind]);
  push_parts(L, realm, future);
  return lua_gettop(L) - 1;
}

/* Pushes the Future that gets the outcome through the waiter whose owner is on
 * top, or nil. */
static void push_dependent(lua_State *L, const lunado_waiter *waiter) {
  int owner = lua_gettop(L);
  if (!lunado__chain_target(L, waiter, owner) &&
      !lunado__waititer_next(L, waiter, owner))
    lua_pushnil(L);
}

/* Appends to the list at `list` the pending Futures that get, or may get, the
 * outcome of the pending Future at idx through lunado__chain or a
 * WaitIterator. */
static void push_dependents(lua_State *L, lunado_realm *realm, int idx,
                            int list) {
  const lunado_future *future = lua_touserdata(L, idx);
  const lunado_waiter *waiter = future->waiters;
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, NULL);
  if (waiter == NULL) return;
  do {
    const lunado_future *dependent;
    if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
      lua_rawgetp(L, -1, waiter);
    push_dependent(L, waiter);
    dependent = lunado__tofuture(L, realm, -1);
    if (dependent != NULL && lunado_future_pending(dependent))
      lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    lua_settop(L, top);
    waiter = waiter->next;
  } while (waiter != future->waiters);
}

/* dependents(future) → a list of the pending Futures that will or may get the
 * outcome of this one, by chain_future or a WaitIterator. */
static int core_dependents(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  if (lunado_future_pending(future)) push_dependents(L, realm, 1, 2);
  return 1;
}

static const luaL_Reg functions[] = {
    {"track", core_track},   {"track_task", core_track_task},
    {"stack", core_stack},   {"task", core_task},
    {"parts", core_parts},   {"dependents", core_dependents},
    {"scopes", core_scopes}, {NULL, NULL}};

void lunado__inspect_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
