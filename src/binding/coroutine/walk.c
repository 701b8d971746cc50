/* SPDX-License-Identifier: MIT */
/*
 * walk.c - giving up what cancelled coroutines wait for.
 *
 * A walk goes from a task to the Future that the task waits for; if the Future
 * can be given up and has no other waiter, to the task or the Futures behind
 * it; and so on to the leaves.  Its list of work is on the Lua stack, which
 * holds the objects meanwhile: so a walk needs no memory but stack, and little
 * C stack, however deep the waits are.  Cancellers, which are the user's
 * functions, may change everything.  Therefore each object is examined again
 * when its turn comes.
 */
#include "binding/coroutine/walk.h"

#include "binding/coroutine/canceller.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/groupcancel.h"
#include "binding/coroutine/member.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/waitcycle.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/settle.h"
#include "binding/future/with_timeout.h"
#include "binding/loop/callback.h"

/* An item of the list of work takes three slots of the stack:
 *   1. a task; a pending Future whose last waiter gives it up; or a group,
 * below which is the branch of its children (waitcycle.h);
 *   2. of a multi, the number of children that were visited; of a group, the
 *      member that was visited last; of a task, 0, and when it comes back from
 *      a group, the scope from which it goes on, or what ends the list;
 *   3. the notice. */

enum { ITEM_NUMBER = 1, ITEM_NOTICE, ITEM_SIZE };

/* Slots that a step may use above its item. */
enum { STEP_STACK = 2 * LUA_MINSTACK };

/* True if the Future has at most one waiter. */
static bool is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter == NULL || waiter->next == waiter;
}

/* True if the Future on top, of kind LUNADO_KIND_REQUEST, has its request. */
static bool has_request(lua_State *L) {
  bool has = lua_getiuservalue(L, -1, LUNADO_FUTURE_REQUEST) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

/* Returns the task of the Future on top, of kind LUNADO_KIND_COROUTINE, or
 * NULL. */
static const lunado_task *task_of(lua_State *L) {
  const lunado_task *task;
  lua_getiuservalue(L, -1, LUNADO_FUTURE_TASK);
  task = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return task;
}

/* True if the pending Future on top can be given up: it will be settled then,
 * at once or once the work behind it has ended.  Any other Future is let go
 * by its waiter. */
static bool can_give_up(lua_State *L, const lunado_realm *realm) {
  const lunado_future *future = lua_touserdata(L, -1);
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
    return task_of(L) != NULL;
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
      lunado__notice_push_due(L, realm, top + 1))
    told = lua_rawequal(L, top + 2, notice) != 0;
  lua_settop(L, top);
  return told;
}

/* True if the pending Future on top is that of a coroutine which waits for the
 * walk: nobody may wait for it here, or a cycle of waits would not end. */
static bool is_ancestor(lua_State *L, lunado_realm *realm) {
  const lunado_future *future = lua_touserdata(L, -1);
  return future->kind == LUNADO_KIND_COROUTINE &&
         !(future->flags & LUNADO_HAS_CANCELLER) &&
         lunado__waitcycle_has(realm, task_of(L));
}

/* True if the waiter, which is cancelled with the notice, takes the pending
 * Future on top along; false if it must let the Future go. */
static bool takes_along(lua_State *L, lunado_realm *realm, int notice) {
  if (!lua_checkstack(L, STEP_STACK + ITEM_SIZE)) return false;
  return can_give_up(L, realm) &&
         (is_sole(lua_touserdata(L, -1)) || is_told(L, realm, notice)) &&
         !is_ancestor(L, realm);
}

/* Replaces the object of the item by the value on top. */
static void continue_with(lua_State *L, int item) {
  lua_replace(L, item);
  lua_pushinteger(L, 0);
  lua_replace(L, item + ITEM_NUMBER);
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

/* Replaces the group on top by an item, which cancels its children with the
 * notice at `notice`.  If there is no stack, logs that they are not cancelled,
 * and returns false. */
static bool begin_group(lua_State *L, lunado_realm *realm, int notice) {
  if (!lunado__groupcancel_has_stack(L, realm)) return false;
  (void)lua_checkstack(L, STEP_STACK + ITEM_SIZE); /* see work */
  lunado__waitcycle_branch(L, realm);
  lua_pushnil(L);
  lua_pushvalue(L, notice);
  return true;
}

/* Replaces the scope on top by what is around it, if the notice comes from
 * farther out than the scope; else by nil. */
static void to_outer_scope(lua_State *L, int notice) {
  int at = lua_gettop(L);
  bool own;
  lua_getiuservalue(L, at, SCOPE_NOTICE);
  own = lua_rawequal(L, -1, notice);
  if (own ||
      ((lunado_scope *)lua_touserdata(L, at))->kind == LUNADO_SCOPE_SHIELD)
    lua_pushnil(L);
  else
    lua_getiuservalue(L, at, SCOPE_OUTER);
  lua_replace(L, at);
  lua_settop(L, at);
}

/* If the scope on top is that of a group that was not told any notice, replaces
 * it by an item of the group, and returns true. */
static bool tell_group(lua_State *L, lunado_realm *realm, int notice) {
  int at = lua_gettop(L);
  if (((lunado_scope *)lua_touserdata(L, at))->kind != LUNADO_SCOPE_GROUP)
    return false;
  lua_getiuservalue(L, at, SCOPE_GROUP);
  if (((lunado_group *)lua_touserdata(L, -1))->cancelled) return false;
  lua_replace(L, at);
  lua_pushvalue(L, notice);
  lunado__groupcancel_set_notice(L, at);
  return begin_group(L, realm, notice);
}

/* Pushes an item for the next group that is within the scope from which the
 * notice of the item's task comes, and was not told it.  Returns false if there
 * is none. */
static bool tell_next_group(lua_State *L, lunado_realm *realm, int item) {
  int notice = item + ITEM_NOTICE, next = item + ITEM_NUMBER;
  if (lua_isinteger(L, next)) { /* the first time */
    lua_getiuservalue(L, item, LUNADO_TASK_SCOPE);
    lua_replace(L, next);
  }
  while (lunado__scope_at(L, realm, next) != NULL) {
    lua_pushvalue(L, next);
    lua_pushvalue(L, next);
    to_outer_scope(L, notice);
    lua_replace(L, next);
    if (tell_group(L, realm, notice)) return true;
    lua_settop(L, notice);
  }
  return false;
}

/* Goes on with the next child of the item's group, if there is one. */
static void step_group(lua_State *L, lunado_realm *realm, int item) {
  lua_getiuservalue(L, item, GROUP_MEMBERS);
  lua_pushvalue(L, item + ITEM_NUMBER);
  if (lua_next(L, item + ITEM_SIZE) == 0) {
    lua_settop(L, item - 1);
    lunado__waitcycle_end_branch(L, realm);
    return;
  }
  lua_pop(L, 1);
  lua_copy(L, -1, item + ITEM_NUMBER);
  if (lua_getiuservalue(L, -1, MEMBER_FUTURE) != LUA_TNIL &&
      lua_getiuservalue(L, -1, LUNADO_FUTURE_TASK) != LUA_TNIL) {
    lunado__waitcycle_next_branch(L, realm, lua_gettop(L));
    lua_replace(L, item + ITEM_SIZE);
    lua_settop(L, item + ITEM_SIZE);
    lunado__notice_add(L, realm, item + ITEM_SIZE, item + ITEM_NOTICE);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, item + ITEM_NOTICE);
    return;
  }
  lua_settop(L, item + ITEM_NOTICE);
}

static void step_task(lua_State *L, lunado_realm *realm, int item) {
  lunado_task *task = lua_touserdata(L, item);
  if (!(task->flags & TASK_CANCELLED) ||
      !lunado__notice_push_due(L, realm, item)) {
    drop(L, item);
    return;
  }
  lua_replace(L, item + ITEM_NOTICE);
  lunado__waitcycle_pass(L, realm, item);
  if (tell_next_group(L, realm, item)) return; /* and comes back */
  if (task->flags & TASK_STARTING) {
    never_start(L, item, task);
  } else if (waits(task) && lua_checkstack(task->thread, 1)) {
    lua_pushvalue(task->thread, -1);
    lua_xmove(task->thread, L, 1);
    if (takes_along(L, realm, item + ITEM_NOTICE)) {
      continue_with(L, item);
      return;
    }
    let_go(L, item);
  } else if (task->flags & TASK_QUEUED && task->waiter.future == NULL &&
             !lunado__task_is_preempted(task)) {
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

/* Calls the canceller of the item's Future. */
static void step_canceller(lua_State *L, lunado_realm *realm, int item) {
  lunado__canceller_call(L, realm, item, item + ITEM_NOTICE);
  drop(L, item);
}

/* Goes on with the task whose outcome the item's Future is. */
static void step_coroutine(lua_State *L, lunado_realm *realm, int item) {
  if (lua_getiuservalue(L, item, LUNADO_FUTURE_TASK) == LUA_TNIL) {
    drop(L, item);
    return;
  }
  lunado__notice_add(L, realm, item + ITEM_SIZE, item + ITEM_NOTICE);
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

/* Calls the function that gives up the request of the item's Future. */
static void step_request(lua_State *L, lunado_realm *realm, int item) {
  const lunado_request_future *self = lua_touserdata(L, item);
  if (self->give_up != NULL)
    lua_pushcfunction(L, self->give_up);
  else
    lunado__getslot(L, realm, LUNADO_SLOT_CANCEL_REQUEST);
  lua_pushvalue(L, item);
  lua_getiuservalue(L, item, LUNADO_FUTURE_REQUEST);
  lunado__callback(L, realm, NULL, 2);
  if (lunado_future_pending(&self->future))
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
    step_canceller(L, realm, item);
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

/* Works on the items above `base`.  If memory is too short for more stack, the
 * stack of a C function is enough to let go what a task waits for. */
static void work(lua_State *L, lunado_realm *realm, int base) {
  while (lua_gettop(L) > base) {
    int item = lua_gettop(L) - ITEM_NOTICE;
    if (lunado__tofuture(L, realm, item) != NULL)
      step_future(L, realm, item);
    else if (lunado__toclass(L, item, realm->types.group) != NULL)
      step_group(L, realm, item);
    else
      step_task(L, realm, item);
  }
}

/* Walks from the task or Future at idx, with the notice at `notice`. */
static void walk(lua_State *L, lunado_realm *realm, int idx, int notice) {
  int base = lua_gettop(L);
  (void)lua_checkstack(L, STEP_STACK + ITEM_SIZE);
  lua_pushvalue(L, idx);
  lua_pushinteger(L, 0);
  lua_pushvalue(L, notice);
  work(L, realm, base);
}

void lunado__walk_group(lua_State *L, lunado_realm *realm, int idx) {
  int owner = lua_gettop(L) + 1, notice = owner + 1;
  lunado_walk self;
  if (!lunado__groupcancel_has_stack(L, realm)) return;
  if (lua_getiuservalue(L, idx, GROUP_SCOPE) != LUA_TNIL)
    lua_getiuservalue(L, owner, SCOPE_TASK);
  lua_replace(L, owner);
  lua_settop(L, owner);
  lua_getiuservalue(L, idx, GROUP_NOTICE);
  lunado__waitcycle_begin(L, realm, &self, owner);
  lua_pushvalue(L, idx);
  if (begin_group(L, realm, notice)) work(L, realm, notice);
  lunado__waitcycle_end(realm);
  lua_settop(L, owner - 1);
}

void lunado__walk_task(lua_State *L, lunado_realm *realm, int t) {
  const lunado_task *task = lua_touserdata(L, t);
  lunado_walk self;
  if (!(task->flags & TASK_CANCELLED)) return;
  lunado__waitcycle_begin(L, realm, &self, t);
  walk(L, realm, t, t);
  lunado__waitcycle_end(realm);
}

bool lunado__walk_future(lua_State *L, lunado_realm *realm, int idx,
                         int notice) {
  const lunado_future *future = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  lunado_walk self;
  bool taken;
  if (!lua_checkstack(L, STEP_STACK + ITEM_SIZE)) return false;
  lua_pushvalue(L, idx);
  taken =
      can_give_up(L, realm) && (is_sole(future) || is_told(L, realm, notice));
  if (taken) {
    if (future->kind == LUNADO_KIND_COROUTINE)
      lua_getiuservalue(L, idx, LUNADO_FUTURE_TASK);
    lunado__waitcycle_begin(L, realm, &self, lua_gettop(L));
    walk(L, realm, idx, notice);
    lunado__waitcycle_end(realm);
  }
  lua_settop(L, top);
  return taken;
}
