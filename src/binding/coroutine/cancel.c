/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - cancelling coroutines, and giving up what they wait for.
 *
 * A walk delivers notices.  It goes from a task to the Future that the task
 * waits for; if the Future can be given up and has no other waiter, to the task
 * or the Futures behind it; and so on to the leaves.  Its list of work is on
 * the Lua stack, which holds the objects meanwhile: so a walk needs no memory
 * but stack, and little C stack, however deep the waits are.  Cancellers, which
 * are the user's functions, may change everything.  Therefore each object is
 * examined again when its turn comes.
 */
#include "binding/coroutine/cancel.h"

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/group.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/settle.h"
#include "binding/future/with_timeout.h"
#include "binding/loop/callback.h"
#include "binding/state/argument.h"
#include "binding/state/log.h"

/* --- notices -------------------------------------------------------------- */

/* Pushes a CancelledError with the reason at `reason`. */
static void push_error(lua_State *L, lunado_realm *realm, int reason) {
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, reason);
  lua_setfield(L, -2, "reason");
  if (lua_type(L, reason) == LUA_TSTRING) {
    lua_pushvalue(L, reason);
    lua_setfield(L, -2, "message");
  }
  lunado__exception_pushclass(L, realm, LUNADO_E_CANCELLED);
  lua_setmetatable(L, -2);
}

/* Replaces the Failure on top by a Future that has failed with it. */
static void wrap_failure(lua_State *L, lunado_realm *realm) {
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  lua_insert(L, -2);
  lunado__settle_failed(L, realm, lua_gettop(L) - 1);
}

void lunado__cancel_notice(lua_State *L, lunado_realm *realm, int reason,
                           int level) {
  reason = lua_absindex(L, reason);
  luaL_checkstack(L, 16, NULL);
  push_error(L, realm, reason);
  (void)lunado__failure_new(L, realm, lua_gettop(L), level);
  lua_remove(L, -2);
  wrap_failure(L, realm);
}

/* (reason, a static string) → a notice without a traceback */
static int make_notice(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 1));
  lunado__cancel_notice(L, lunado__realm_find(L), 2, -1);
  return 1;
}

void lunado__cancel_notice_protected(lua_State *L, lunado_realm *realm,
                                     const char *reason) {
  lua_pushcfunction(L, make_notice);
  lua_pushlightuserdata(L, (void *)reason);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lunado__getslot(L, realm, LUNADO_SLOT_LAST_NOTICE);
}

/* --- what is due ---------------------------------------------------------- */

/* Walks the list of scopes of the task at t up to the first shield, and pushes
 * the last notice that it finds, or nil. */
static void push_outermost(lua_State *L, lunado_realm *realm, int t) {
  int found = lua_gettop(L) + 1, at = found + 1;
  lua_pushnil(L);
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  while (!lua_isnil(L, at)) {
    const lunado_scope *scope = lua_touserdata(L, at);
    if (lunado__tofuture(L, realm, at) != NULL) {
      lua_replace(L, found);
      return;
    }
    if (scope->kind == LUNADO_SCOPE_SHIELD) break;
    lua_getiuservalue(L, at, SCOPE_OUTER);
    if (scope->cancelled) {
      lua_getiuservalue(L, at, SCOPE_NOTICE);
      lua_replace(L, found);
    }
    lua_replace(L, at);
  }
  lua_pop(L, 1);
}

bool lunado__cancel_push_due(lua_State *L, lunado_realm *realm, int t) {
  push_outermost(L, realm, t);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

void lunado__cancel_update(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  bool due = lunado__cancel_push_due(L, realm, t);
  if (!due) {
    task->flags &= ~(uint32_t)TASK_CANCELLED;
    return;
  }
  lua_pop(L, 1);
  if (task->flags & TASK_CANCELLED) return;
  task->flags |= TASK_CANCELLED;
  task->swallowed = 0;
}

/* Appends the notice at `notice` to the scopes of the task at t, unless the
 * list ends with a notice already. */
static void add_notice(lua_State *L, lunado_realm *realm, int t, int notice) {
  lunado_task *task = lua_touserdata(L, t);
  int top = lua_gettop(L), at = top + 1, value = LUNADO_TASK_SCOPE;
  task->flags |= TASK_SCOPED;
  lua_pushvalue(L, t);
  while (lua_getiuservalue(L, at, value) != LUA_TNIL &&
         lunado__tofuture(L, realm, -1) == NULL) {
    lua_replace(L, at);
    value = SCOPE_OUTER;
  }
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, notice);
    lua_setiuservalue(L, at, value);
  }
  lua_settop(L, top);
  lunado__cancel_update(L, realm, t);
}

/* --- the walk ---------------------------------------------------------------
 * An item of the list of work takes three slots of the stack: a task, or a
 * pending Future whose last waiter gives it up; the number of children of the
 * Future, a multi, that were visited; the notice. */

enum { ITEM_NUMBER = 1, ITEM_NOTICE, ITEM_SIZE };

/* Slots that a step may use above its item. */
enum { STEP_STACK = 2 * LUA_MINSTACK };

/* The lowest number of a walk.  No coroutine starts with so many values, so
 * that task->count and task->pass cannot be confused. */
#define FIRST_PASS (UINT32_C(1) << 24)

/* True if the Future has at most one waiter. */
static bool is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter == NULL || waiter->next == waiter;
}

/* True if the present walk has gone through the task, which waits: a wait for
 * it would be a cycle. */
static bool is_passed(const lunado_realm *realm, const lunado_task *task) {
  return task->flags & TASK_WAITING && task->pass == realm->coroutines.pass;
}

/* True if the Future on top, of kind LUNADO_KIND_REQUEST, has its request. */
static bool has_request(lua_State *L) {
  bool has = lua_getiuservalue(L, -1, LUNADO_FUTURE_REQUEST) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

/* True if the pending Future on top can be given up: it will be settled then,
 * at once or once the work behind it has ended.  Any other Future is let go
 * by its waiter. */
static bool can_give_up(lua_State *L, const lunado_realm *realm) {
  const lunado_future *future = lua_touserdata(L, -1);
  const lunado_task *task;
  if (future->flags & (LUNADO_HAS_CANCELLER | LUNADO_IS_KEPT)) return true;
  switch (future->kind) {
  case LUNADO_KIND_MULTI:
  case LUNADO_KIND_NEXT: /* so its WaitIterator keeps the next outcome */
  case LUNADO_KIND_SLEEP:
  case LUNADO_KIND_TIMEOUT:
    return true;
  case LUNADO_KIND_JOB:
    return realm->jobs.is_queued(future);
  case LUNADO_KIND_REQUEST:
    return has_request(L);
  case LUNADO_KIND_COROUTINE:
    lua_getiuservalue(L, -1, LUNADO_FUTURE_TASK);
    task = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return task != NULL && !is_passed(realm, task);
  default:
    return false;
  }
}

/* True if the Future on top is that of a coroutine for which the same notice is
 * due, for example a child of a group that was told just now: its outcome will
 * come, whoever else waits for it. */
static bool is_told(lua_State *L, lunado_realm *realm, int notice) {
  const lunado_future *future = lua_touserdata(L, -1);
  int top = lua_gettop(L);
  bool told = false;
  if (future->kind != LUNADO_KIND_COROUTINE) return false;
  if (lua_getiuservalue(L, top, LUNADO_FUTURE_TASK) != LUA_TNIL &&
      lunado__cancel_push_due(L, realm, top + 1))
    told = lua_rawequal(L, top + 2, notice) != 0;
  lua_settop(L, top);
  return told;
}

/* True if the waiter, which is cancelled with the notice, takes the pending
 * Future on top along; false if it must let the Future go. */
static bool takes_along(lua_State *L, lunado_realm *realm, int notice) {
  if (!lua_checkstack(L, STEP_STACK + ITEM_SIZE)) return false;
  return can_give_up(L, realm) &&
         (is_sole(lua_touserdata(L, -1)) || is_told(L, realm, notice));
}

/* Replaces the object of the item by the value on top. */
static void continue_with(lua_State *L, int item) {
  lua_replace(L, item);
  lua_settop(L, item + ITEM_NOTICE);
}

static void drop(lua_State *L, int item) { lua_settop(L, item - 1); }

/* Runs in place of the function of a coroutine that was cancelled before it
 * started.  (Failure) */
static int end_cancelled(lua_State *L) {
  lunado__realm_find(L)->coroutines.current->flags |=
      TASK_FAILED | TASK_FAILURE;
  return 1;
}

/* Makes the queued task of the item, which has not started, end with the
 * notice's Failure. */
static void never_start(lua_State *L, int item, lunado_task *task) {
  lua_settop(task->thread, 0);
  lua_pushcfunction(task->thread, end_cancelled);
  lua_getiuservalue(L, item + ITEM_NOTICE, LUNADO_FUTURE_VALUE);
  lua_xmove(L, task->thread, 1);
  task->count = 1;
}

/* Makes the suspended task of the item let go what it waits for. */
static void let_go(lua_State *L, int item) {
  lua_pushvalue(L, item + ITEM_NOTICE);
  (void)lunado__suspend_fail_wait(L, item);
}

/* True if the task waits for a pending Future, which is on top of its
 * thread. */
static bool waits(const lunado_task *task) {
  return task->flags & TASK_WAITING && lunado__task_untouched(task) &&
         lunado_future_pending(task->waiter.future);
}

/* Tells the notice of the item's task to the groups within the scope from which
 * it comes. */
static void tell_groups(lua_State *L, lunado_realm *realm, int item) {
  int at = lua_gettop(L) + 1, notice = item + ITEM_NOTICE;
  lua_getiuservalue(L, item, LUNADO_TASK_SCOPE);
  while (!lua_isnil(L, at) && lunado__tofuture(L, realm, at) == NULL) {
    const lunado_scope *scope = lua_touserdata(L, at);
    if (scope->kind == LUNADO_SCOPE_SHIELD) break;
    if (scope->kind == LUNADO_SCOPE_GROUP) {
      lua_getiuservalue(L, at, SCOPE_GROUP);
      lunado__group_tell(L, realm, at + 1, notice);
    }
    lua_getiuservalue(L, at, SCOPE_NOTICE);
    if (lua_rawequal(L, -1, notice)) break;
    lua_getiuservalue(L, at, SCOPE_OUTER);
    lua_replace(L, at);
    lua_settop(L, at);
  }
  lua_settop(L, at - 1);
}

static void step_task(lua_State *L, lunado_realm *realm, int item) {
  lunado_task *task = lua_touserdata(L, item);
  if (!(task->flags & TASK_CANCELLED) ||
      !lunado__cancel_push_due(L, realm, item)) {
    drop(L, item);
    return;
  }
  lua_replace(L, item + ITEM_NOTICE);
  tell_groups(L, realm, item);
  if (task->flags & TASK_STARTING) {
    never_start(L, item, task);
  } else if (waits(task) && lua_checkstack(task->thread, 1)) {
    lua_pushvalue(task->thread, -1);
    lua_xmove(task->thread, L, 1);
    if (takes_along(L, realm, item + ITEM_NOTICE)) {
      task->pass = realm->coroutines.pass;
      continue_with(L, item);
      return;
    }
    let_go(L, item);
  } else if (task->flags & TASK_QUEUED && task->waiter.future == NULL) {
    let_go(L, item);
  } /* else it runs, or its outcome is on the way */
  drop(L, item);
}

/* Fails the Future of the item with the notice's error, and drops the item. */
static void fail(lua_State *L, lunado_realm *realm, int item) {
  lua_getiuservalue(L, item + ITEM_NOTICE, LUNADO_FUTURE_VALUE);
  lunado__settle_failed(L, realm, item);
  drop(L, item);
}

/* Calls the canceller of the item's Future, once. */
static void call_canceller(lua_State *L, lunado_realm *realm, int item) {
  lunado_future *future = lua_touserdata(L, item);
  future->flags &= (uint16_t)~LUNADO_HAS_CANCELLER;
  lunado__getslot(L, realm, LUNADO_SLOT_CANCELLERS);
  lua_pushvalue(L, item);
  lua_rawget(L, -2);
  lua_pushvalue(L, item);
  lua_pushnil(L);
  lua_rawset(L, -4);
  lua_pushvalue(L, item);
  lunado__callback(L, realm, NULL, 1);
  if (lunado_future_pending(future) && !(future->flags & LUNADO_IS_KEPT))
    fail(L, realm, item);
  else
    drop(L, item);
}

/* Goes on with the task whose outcome the item's Future is. */
static void step_coroutine(lua_State *L, lunado_realm *realm, int item) {
  if (lua_getiuservalue(L, item, LUNADO_FUTURE_TASK) == LUA_TNIL) {
    drop(L, item);
    return;
  }
  add_notice(L, realm, item + ITEM_SIZE, item + ITEM_NOTICE);
  continue_with(L, item);
}

/* Goes on with the child of the item's with_timeout.  If the child is done, its
 * outcome is on the way: settling is nested so deeply that it was deferred. */
static void step_timeout(lua_State *L, lunado_realm *realm, int item) {
  const lunado_future *child;
  lunado__with_timeout_child(L, item);
  child = lua_touserdata(L, -1);
  if (child != NULL && !lunado_future_pending(child))
    drop(L, item);
  else if (child != NULL && takes_along(L, realm, item + ITEM_NOTICE))
    continue_with(L, item);
  else
    fail(L, realm, item);
}

/* Has lunado.uv give up the request of the item's Future. */
static void step_request(lua_State *L, lunado_realm *realm, int item) {
  lunado__getslot(L, realm, LUNADO_SLOT_CANCEL_REQUEST);
  lua_pushvalue(L, item);
  lua_getiuservalue(L, item, LUNADO_FUTURE_REQUEST);
  lunado__callback(L, realm, NULL, 2);
  if (lunado_future_pending(lua_touserdata(L, item)))
    fail(L, realm, item);
  else
    drop(L, item);
}

/* Takes the job of the item's Future out of the queue. */
static void step_job(lua_State *L, lunado_realm *realm, int item) {
  lua_getiuservalue(L, item + ITEM_NOTICE, LUNADO_FUTURE_VALUE);
  realm->jobs.withdraw(L, item);
  drop(L, item);
}

/* Goes on with the next child of the item's multi, if there is one. */
static void step_multi(lua_State *L, lunado_realm *realm, int item) {
  int i = (int)lua_tointeger(L, item + ITEM_NUMBER);
  if (!lunado__multi_push_waited(L, item, &i)) {
    drop(L, item);
    return;
  }
  lua_pushinteger(L, i);
  lua_replace(L, item + ITEM_NUMBER);
  if (takes_along(L, realm,
                  item + ITEM_NOTICE)) { /* the child begins an item */
    lua_pushinteger(L, 0);
    lua_pushvalue(L, item + ITEM_NOTICE);
    return;
  }
  lunado__multi_replace(L, realm, item, i, item + ITEM_NOTICE);
  lua_settop(L, item + ITEM_NOTICE);
}

static void step_future(lua_State *L, lunado_realm *realm, int item) {
  const lunado_future *future = lua_touserdata(L, item);
  if (!lunado_future_pending(future))
    drop(L, item);
  else if (future->flags & LUNADO_HAS_CANCELLER)
    call_canceller(L, realm, item);
  else if (future->flags & LUNADO_IS_KEPT)
    drop(L, item);
  else if (future->kind == LUNADO_KIND_COROUTINE)
    step_coroutine(L, realm, item);
  else if (future->kind == LUNADO_KIND_MULTI)
    step_multi(L, realm, item);
  else if (future->kind == LUNADO_KIND_TIMEOUT)
    step_timeout(L, realm, item);
  else if (future->kind == LUNADO_KIND_JOB)
    step_job(L, realm, item);
  else if (future->kind == LUNADO_KIND_REQUEST)
    step_request(L, realm, item);
  else
    fail(L, realm, item);
}

/* Gives the walk that begins a number. */
static void begin_walk(lunado_realm *realm) {
  if (realm->coroutines.pass++ < FIRST_PASS)
    realm->coroutines.pass = FIRST_PASS;
}

/* Walks from the task or Future at idx, with the notice at `notice`.  If memory
 * is too short for more stack, the stack of a C function is enough to let go
 * what the task waits for. */
static void walk(lua_State *L, lunado_realm *realm, int idx, int notice) {
  int base = lua_gettop(L);
  (void)lua_checkstack(L, STEP_STACK + ITEM_SIZE);
  lua_pushvalue(L, idx);
  lua_pushinteger(L, 0);
  lua_pushvalue(L, notice);
  while (lua_gettop(L) > base) {
    int item = lua_gettop(L) - ITEM_NOTICE;
    if (lunado__tofuture(L, realm, item) != NULL)
      step_future(L, realm, item);
    else
      step_task(L, realm, item);
  }
}

void lunado__cancel_walk(lua_State *L, lunado_realm *realm, int t) {
  const lunado_task *task = lua_touserdata(L, t);
  if (!(task->flags & TASK_CANCELLED)) return;
  begin_walk(realm);
  walk(L, realm, t, t);
}

void lunado__cancel_task(lua_State *L, lunado_realm *realm, int t, int notice) {
  add_notice(L, realm, t, notice);
  lunado__cancel_walk(L, realm, t);
}

/* --- the level ------------------------------------------------------------ */

/* After so many suspensions that a cancellation has ended, a warning names the
 * coroutine. */
enum { SWALLOWED_MOST = 100 };

/* (task): logs the warning. */
static int warn(lua_State *L) {
  lua_pushliteral(L, "Coroutine goes on at ");
  lunado__task_pushplace(L, lua_touserdata(L, 1));
  lua_pushfstring(L,
                  " although it was cancelled: its CancelledError was caught "
                  "%d times",
                  SWALLOWED_MOST);
  lua_concat(L, 3);
  lunado__log(L, lunado__realm_find(L), LUNADO_LOG_WARNING);
  return 0;
}

void lunado__cancel_again(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  if (task->swallowed <= SWALLOWED_MOST &&
      task->swallowed++ == SWALLOWED_MOST) {
    lua_pushcfunction(L, warn);
    lua_pushvalue(L, t);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  lunado__cancel_walk(L, realm, t);
}

/* --- the end -------------------------------------------------------------- */

void lunado__cancel_end(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  task->flags &= ~(uint32_t)(TASK_SCOPED | TASK_CANCELLED);
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_SCOPE);
  lunado__scope_abandon(L, realm);
  if (!lua_isnil(L, -1)) task->future->flags |= LUNADO_WAS_CANCELLED;
  lua_pop(L, 1);
}

/* --- cancelling by Future ------------------------------------------------- */

/* Pushes the task of the coroutine whose outcome the Future at idx will be, and
 * returns true; else pushes nothing and returns false. */
static bool push_task(lua_State *L, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  if (future->kind != LUNADO_KIND_COROUTINE) return false;
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_TASK) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

/* The task is looked up again after the notice was made, because a finalizer
 * may have run. */
bool lunado__cancel_future(lua_State *L, lunado_realm *realm, int idx,
                           int reason, int level) {
  int top = lua_gettop(L);
  bool found = push_task(L, idx);
  lua_settop(L, top);
  if (!found) return false;
  lunado__cancel_notice(L, realm, reason, level);
  found = push_task(L, idx);
  if (found) lunado__cancel_task(L, realm, top + 2, top + 1);
  lua_settop(L, top);
  return found;
}

void lunado__cancel_setcanceller(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  int fn = lua_gettop(L);
  bool given = !lua_isnil(L, fn);
  lunado__getslot(L, realm, LUNADO_SLOT_CANCELLERS);
  lua_pushvalue(L, idx);
  lua_pushvalue(L, fn);
  lua_rawset(L, -3);
  if (given)
    future->flags |= LUNADO_HAS_CANCELLER;
  else
    future->flags &= (uint16_t)~LUNADO_HAS_CANCELLER;
  lua_settop(L, fn - 1);
}

/* --- functions ------------------------------------------------------------ */

/* cancel(future [, reason]) → true.  Cancels the coroutine whose outcome the
 * Future is.  Returns false if it is no coroutine's, or the coroutine has
 * ended. */
static int tasks_cancel(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)lunado__checkfuture(L, realm, 1);
  lua_settop(L, 2);
  lua_pushboolean(L, lunado__cancel_future(L, realm, 1, 2, 1));
  return 1;
}

/* Argument `arg` as a notice. */
static void check_notice(lua_State *L, lunado_realm *realm, int arg) {
  const lunado_future *future = lunado__checkfuture(L, realm, arg);
  luaL_argcheck(L, future->state == LUNADO_FAILED, arg, "not a notice");
}

/* notice([reason [, level]]) → a notice whose traceback begins `level`
 * functions above the caller; 0 by default. */
static int core_notice(lua_State *L) {
  lua_Integer level = luaL_optinteger(L, 2, 0);
  lua_settop(L, 1);
  lunado__cancel_notice(L, lunado__realm_upvalue(L), 1, (int)level + 1);
  return 1;
}

/* give_up(future, notice) → true.  Gives up the pending Future as if the last
 * that waited for it had been cancelled: it will be done, at once or later.
 * Returns false, and changes nothing, if it is done, cannot be given up or has
 * a waiter. */
static int core_give_up(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  bool taken;
  check_notice(L, realm, 2);
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  begin_walk(realm);
  taken = lunado_future_pending(future) && future->waiters == NULL &&
          takes_along(L, realm, 2);
  if (taken) walk(L, realm, 1, 2);
  lua_pushboolean(L, taken);
  return 1;
}

/* withdraw(future): gives up the pending Future, which has a canceller, whoever
 * waits for it. */
static int core_withdraw(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  lua_settop(L, 1);
  if (!lunado_future_pending(future) || !(future->flags & LUNADO_HAS_CANCELLER))
    return 0;
  lunado__cancel_notice_protected(L, realm, "withdrawn");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  lua_pushvalue(L, 2);
  call_canceller(L, realm, 3);
  return 0;
}

/* set_canceller(future, fn): fn(future) is called once, when the last that
 * waits for the Future is cancelled.  A Future that is still pending when fn
 * returns fails with CancelledError.  Nil for fn removes the canceller. */
static int tasks_set_canceller(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)lunado__checkfuture(L, realm, 1);
  if (!lua_isnil(L, 2)) lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  lunado__cancel_setcanceller(L, realm, 1);
  return 0;
}

void lunado__cancel_log(lua_State *L, lunado_realm *realm, const char *what,
                        int failure, int quiet) {
  int top = lua_gettop(L);
  lunado__failure_observe(L, failure);
  if (!lunado__failure_is_cancelled(L, realm, failure) &&
      !lunado__quiet_covers(L, top + 1, quiet)) {
    lunado__failure_mark_logged(L, realm, failure);
    lua_pushstring(L, what);
    lunado__failure_text(L, failure);
    lua_concat(L, 2);
    lunado__log(L, realm, LUNADO_LOG_ERROR);
  }
  lua_settop(L, top);
}

/* log_loser(failure): logs the error of a loser of a race. */
static int core_log_loser(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (lunado__failure_at(L, realm, 1) == NULL) luaL_typeerror(L, 1, "Failure");
  lua_settop(L, 2);
  lunado__cancel_log(L, realm, "Error in a loser of a race: ", 1, 2);
  return 0;
}

/* request_future() → a pending Future of kind LUNADO_KIND_REQUEST. */
static int core_request_future(lua_State *L) {
  (void)lunado__future_new(L, lunado__realm_upvalue(L), LUNADO_KIND_REQUEST,
                           sizeof(lunado_future), LUNADO_FUTURE_REQUEST);
  return 1;
}

/* set_request(future, request): so that it can be given up. */
static int core_set_request(lua_State *L) {
  const lunado_future *future =
      lunado__checkfuture(L, lunado__realm_upvalue(L), 1);
  luaL_argcheck(L, future->kind == LUNADO_KIND_REQUEST, 1, "not a request's");
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LUNADO_FUTURE_REQUEST);
  return 0;
}

/* on_cancel_request(fn): fn(future, request) gives up a request. */
static int core_on_cancel_request(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_CANCEL_REQUEST);
  return 0;
}

static const luaL_Reg functions[] = {
    {"request_future", core_request_future},
    {"set_request", core_set_request},
    {"on_cancel_request", core_on_cancel_request},
    {"cancel", tasks_cancel},
    {"notice", core_notice},
    {"give_up", core_give_up},
    {"set_canceller", tasks_set_canceller},
    {"log_loser", core_log_loser},
    {"withdraw", core_withdraw},
    {NULL, NULL}};

void lunado__cancel_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__cancel_open(lua_State *L, lunado_realm *realm) {
  lunado__failure_nomemory(L, realm);
  wrap_failure(L, realm);
  lunado__setslot(L, realm, LUNADO_SLOT_LAST_NOTICE);
}
