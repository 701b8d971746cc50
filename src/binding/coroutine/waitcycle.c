/* SPDX-License-Identifier: MIT */
/*
 * waitcycle.c - which coroutines wait for a walk.
 *
 * The search for ancestors calls no function of the user and allocates nothing
 * but stack.  Its list of work is on the Lua stack.  An item takes two slots: a
 * task or a Future; and of a Future the waiter that is next, NULL for the
 * first.
 */
#include "binding/coroutine/waitcycle.h"

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/group.h"
#include "binding/coroutine/member.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/future/chain.h"
#include "binding/future/dependent.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/waititer.h"
#include "core/multi.h"

enum { SEARCH_NEXT = 1 };

/* Slots that a step may use above its item. */
enum { SEARCH_STACK = LUA_MINSTACK };

/* The lowest number of a walk.  No coroutine starts with so many values, so
 * that task->count and task->pass cannot be confused. */
#define FIRST_NUMBER (UINT32_C(1) << 24)

/* A search ends after so many Futures that are no coroutines' and so cannot be
 * marked: a net of multis may have too many ways through it. */
#define SEARCH_MOST (UINT32_C(1) << 20)

/* The walk around this one, or NULL. */
static lunado_walk *outer(const lunado_walk *self) {
  return self->nested ? self->former : NULL;
}

/* True if the task has a mark of the walk or of one around it.  The numbers
 * of these grow from the outermost to the innermost.  Most tasks have an older
 * mark or none. */
static bool is_marked(const lunado_walk *self, const lunado_task *task) {
  if (task->pass < self->outermost->number) return false;
  while (self != NULL && (!self->marked || task->pass < self->number))
    self = outer(self);
  return self != NULL && task->pass == self->number;
}

/* True if the Future has one waiter. */
static bool is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter != NULL && waiter->next == waiter;
}

/* Gives the task a mark, unless it has one. */
static void pass(const lunado_walk *self, lunado_task *task) {
  if (!is_marked(self, task)) task->pass = self->number;
}

/* --- ties ----------------------------------------------------------------- */

/* A tie tells that a task will wait for the Future whose waiter it owns. */
typedef struct {
  lunado_waiter waiter;
} tie;

enum { TIE_TASK = 1, TIE_VALUES = TIE_TASK };

static void on_tied(lunado_settler *settler, lunado_waiter *waiter,
                    lunado_future *future) {
  (void)settler;
  (void)waiter;
  (void)future;
}

static bool can_tie(const lunado_future *future) {
  return future->kind == LUNADO_KIND_COROUTINE ||
         future->kind == LUNADO_KIND_MULTI ||
         future->kind == LUNADO_KIND_TIMEOUT;
}

void lunado__waitcycle_tie(lua_State *L, int idx, int t) {
  tie *self;
  if (!can_tie(lua_touserdata(L, idx))) {
    lua_pushnil(L);
    return;
  }
  self = lua_newuserdatauv(L, sizeof *self, TIE_VALUES);
  self->waiter.list = NULL;
  lua_pushvalue(L, t);
  lua_setiuservalue(L, -2, TIE_TASK);
  (void)lunado__owner_wait(L, idx, lua_gettop(L), &self->waiter, on_tied);
}

void lunado__waitcycle_untie(lua_State *L, int idx) {
  tie *self = lua_touserdata(L, -1);
  if (self != NULL) lunado__owner_forget(L, idx, &self->waiter);
  lua_pop(L, 1);
}

/* --- the search ----------------------------------------------------------- */

/* Replaces the member on top by the task that owns its group, or nil. */
static void to_group_owner(lua_State *L) {
  int top = lua_gettop(L);
  lua_getiuservalue(L, top, MEMBER_GROUP);
  if (lua_getiuservalue(L, -1, GROUP_SCOPE) == LUA_TUSERDATA)
    lua_getiuservalue(L, -1, SCOPE_TASK);
  lua_replace(L, top);
  lua_settop(L, top);
}

/* Replaces the owner of the waiter, which is on top, by the task or the Future
 * that waits, or by something else if that is not known. */
static void to_waiting(lua_State *L, const lunado_realm *realm,
                       const lunado_waiter *waiter) {
  int owner = lua_gettop(L);
  if (lua_touserdata(L, owner) == (void *)waiter->future) {
    lua_pushnil(L); /* a ticket that nobody waits for */
    lua_replace(L, owner);
    return;
  }
  if (waiter->cb == lunado__suspend_ready ||
      lunado__tofuture(L, realm, owner) != NULL)
    return; /* a task, a private multi or a with_timeout */
  if (lunado__member_owns(waiter)) {
    to_group_owner(L);
    return;
  }
  if (waiter->cb == on_tied)
    lua_getiuservalue(L, owner, TIE_TASK);
  else if (lunado_multi_owns(waiter))
    lunado__dependent_push(L, owner);
  else if (!lunado__chain_target(L, waiter, owner) &&
           !lunado__waititer_next(L, waiter, owner))
    return;
  lua_replace(L, owner);
}

/* Pushes what waits for the Future of the item through its next waiter, and
 * advances the item.  Returns true if this was the last one. */
static bool push_next(lua_State *L, const lunado_realm *realm, int item) {
  const lunado_future *future = lua_touserdata(L, item);
  const lunado_waiter *waiter = lua_touserdata(L, item + SEARCH_NEXT);
  if (waiter == NULL) waiter = future->waiters;
  lua_pushlightuserdata(L, waiter->next);
  lua_replace(L, item + SEARCH_NEXT);
  if (lua_getiuservalue(L, item, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_rawgetp(L, -1, waiter);
    lua_remove(L, -2);
  }
  to_waiting(L, realm, waiter);
  return waiter->next == future->waiters;
}

/* Goes on with a waiter of the item's Future. */
static void step_future(lua_State *L, const lunado_realm *realm, int item) {
  const lunado_future *future = lua_touserdata(L, item);
  if (!lunado_future_pending(future) || future->waiters == NULL) {
    lua_settop(L, item - 1);
    return;
  }
  if (push_next(L, realm, item)) {
    lua_replace(L, item);
    lua_settop(L, item);
  }
  lua_pushlightuserdata(L, NULL);
}

/* Marks the task of the item, and goes on with the Future of its outcome. */
static void step_task(lua_State *L, const lunado_walk *self, int item) {
  lunado_task *task = lua_touserdata(L, item);
  if (task->flags & TASK_STARTING || is_marked(self, task)) {
    lua_settop(L, item - 1);
    return;
  }
  task->pass = self->number;
  lua_getiuservalue(L, item, LUNADO_TASK_FUTURE);
  lua_replace(L, item);
}

/* Marks the task or the ancestors of the Future at idx, and so on. */
static void search(lua_State *L, const lunado_realm *realm, lunado_walk *self,
                   int idx) {
  int base = lua_gettop(L), item = base + 1;
  uint32_t steps = 0;
  if (!lua_checkstack(L, SEARCH_STACK)) {
    self->all = true;
    return;
  }
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, NULL);
  while (item > base) {
    if (!lua_checkstack(L, SEARCH_STACK) || steps > SEARCH_MOST) {
      self->all = true;
      break;
    }
    if (lunado__tofuture(L, realm, item) != NULL) {
      const lunado_future *future = lua_touserdata(L, item);
      if (future->kind != LUNADO_KIND_COROUTINE) steps++;
      step_future(L, realm, item);
    } else if (lunado__toclass(L, item, realm->types.task) != NULL) {
      step_task(L, self, item);
    } else {
      lua_settop(L, item - 1);
    }
    item = lua_gettop(L) - SEARCH_NEXT;
  }
  lua_settop(L, base);
}

/* --- walks ---------------------------------------------------------------- */

/* True if the walk began at a child of a group for which nobody else waits: all
 * its ancestors have marks of the walk that tells the group. */
static bool is_only_child(const lunado_realm *realm, const lunado_walk *self) {
  const lunado_task *task =
      lunado__toclass(self->L, self->start, realm->types.task);
  return self->nested && task != NULL && !(task->flags & TASK_STARTING) &&
         is_sole(task->future) && lunado__member_owns(task->future->waiters);
}

/* Marks the ancestors of the walk; those of the walks around it have marks. */
static void mark_alone(lunado_realm *realm, lunado_walk *self) {
  if (realm->coroutines.pass++ < FIRST_NUMBER)
    realm->coroutines.pass = FIRST_NUMBER;
  self->number = realm->coroutines.pass;
  self->marked = true;
  self->all = self->nested && self->former->all;
  if (self->all) return;
  if (is_only_child(realm, self))
    pass(self, lua_touserdata(self->L, self->start));
  else
    search(self->L, realm, self, self->start);
}

/* Marks the ancestors of the innermost walk and of those around it, which come
 * first. */
static void mark(lunado_realm *realm) {
  lunado_walk *self = realm->coroutines.walk;
  while (self->nested && !self->former->marked) self = self->former;
  for (; self != realm->coroutines.walk; self = self->inner)
    mark_alone(realm, self);
  mark_alone(realm, self);
}

void lunado__waitcycle_begin(lua_State *L, lunado_realm *realm,
                             lunado_walk *self, int start) {
  lunado_walk *former = realm->coroutines.walk;
  *self = (lunado_walk){
      .former = former, .outermost = self, .L = L, .start = start};
  if (former != NULL && former->telling && former->L == L) {
    self->nested = true;
    former->inner = self;
    self->outermost = former->outermost;
  }
  realm->coroutines.walk = self;
}

void lunado__waitcycle_end(lunado_realm *realm) {
  realm->coroutines.walk = realm->coroutines.walk->former;
}

bool lunado__waitcycle_has(lunado_realm *realm, const lunado_task *task) {
  lunado_walk *self = realm->coroutines.walk;
  if (!self->marked) mark(realm);
  return self->all || is_marked(self, task);
}

void lunado__waitcycle_pass(lua_State *L, lunado_realm *realm, int t) {
  lunado_walk *self = realm->coroutines.walk;
  lunado_task *task = lua_touserdata(L, t);
  if (!self->marked || self->all || task->flags & TASK_STARTING ||
      is_marked(self, task))
    return;
  if (is_sole(task->future)) /* its waiter has a mark */
    task->pass = self->number;
  else
    search(L, realm, self, t);
}
