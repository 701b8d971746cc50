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

/* Slots of a branch besides its number. */
enum { BRANCH_OUTER = 1, BRANCH_TASK };

/* Slots that a step may use above its item. */
enum { SEARCH_STACK = LUA_MINSTACK };

/* The lowest number of a walk.  No coroutine starts with so many values, so
 * that task->count and task->pass cannot be confused. */
#define FIRST_NUMBER (UINT32_C(1) << 24)

/* A search ends after so many Futures that are no coroutines' and so cannot be
 * marked: a net of multis may have too many ways through it. */
#define SEARCH_MOST (UINT32_C(1) << 20)

/* The number of the innermost branch, or that outside of branches. */
static uint32_t number_of(const lunado_walk *self) {
  if (self->branch == 0) return self->number;
  return (uint32_t)lua_tointeger(self->L, self->branch);
}

/* True if the task has a mark of the walk, or of a branch that has not ended.
 * The numbers of these grow from the outermost to the innermost.  Most tasks
 * have an older mark or none. */
static bool is_marked(const lunado_walk *self, const lunado_task *task) {
  int at = self->branch;
  lua_Integer pass = task->pass;
  if (!self->marked || task->pass < self->number) return false;
  while (at != 0 && pass < lua_tointeger(self->L, at))
    at = (int)lua_tointeger(self->L, at + BRANCH_OUTER);
  return pass ==
         (at != 0 ? lua_tointeger(self->L, at) : (lua_Integer)self->number);
}

/* True if the Future has one waiter. */
static bool is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return waiter != NULL && waiter->next == waiter;
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
  task->pass = number_of(self);
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

static uint32_t new_number(lunado_realm *realm) {
  if (realm->coroutines.pass++ < FIRST_NUMBER)
    realm->coroutines.pass = FIRST_NUMBER;
  return realm->coroutines.pass;
}

static void set_slot(lua_State *L, int idx, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_replace(L, idx);
}

/* Reverses the list of branches, and returns its first: so that the outermost
 * comes first. */
static int reverse_branches(const lunado_walk *self) {
  int first = 0, at = self->branch;
  while (at != 0) {
    int next = (int)lua_tointeger(self->L, at + BRANCH_OUTER);
    set_slot(self->L, at + BRANCH_OUTER, first);
    first = at;
    at = next;
  }
  return first;
}

/* Marks the ancestors of the walk, and then those of its branches, from the
 * outermost on. */
static void mark(lunado_realm *realm, lunado_walk *self) {
  lua_State *L = self->L;
  int at = reverse_branches(self);
  self->number = new_number(realm);
  self->marked = true;
  self->branch = 0;
  search(L, realm, self, self->start);
  while (at != 0) {
    int next = (int)lua_tointeger(L, at + BRANCH_OUTER);
    set_slot(L, at + BRANCH_OUTER, self->branch);
    set_slot(L, at, new_number(realm));
    self->branch = at;
    search(L, realm, self, at + BRANCH_TASK);
    at = next;
  }
}

void lunado__waitcycle_begin(lua_State *L, lunado_realm *realm,
                             lunado_walk *self, int start) {
  *self =
      (lunado_walk){.former = realm->coroutines.walk, .L = L, .start = start};
  realm->coroutines.walk = self;
}

void lunado__waitcycle_end(lunado_realm *realm) {
  realm->coroutines.walk = realm->coroutines.walk->former;
}

void lunado__waitcycle_branch(lua_State *L, lunado_realm *realm) {
  lunado_walk *self = realm->coroutines.walk;
  lua_pushinteger(L, 0);
  lua_pushinteger(L, self->branch);
  lua_pushnil(L);
  lua_rotate(L, -1 - LUNADO_BRANCH_SIZE, LUNADO_BRANCH_SIZE);
  self->branch = lua_gettop(L) - LUNADO_BRANCH_SIZE;
}

void lunado__waitcycle_next_branch(lua_State *L, lunado_realm *realm, int t) {
  const lunado_walk *self = realm->coroutines.walk;
  lua_copy(L, t, self->branch + BRANCH_TASK);
  if (self->marked) set_slot(L, self->branch, new_number(realm));
}

void lunado__waitcycle_end_branch(lua_State *L, lunado_realm *realm) {
  lunado_walk *self = realm->coroutines.walk;
  int outer = (int)lua_tointeger(L, self->branch + BRANCH_OUTER);
  lua_settop(L, self->branch - 1);
  self->branch = outer;
}

bool lunado__waitcycle_has(lunado_realm *realm, const lunado_task *task) {
  lunado_walk *self = realm->coroutines.walk;
  if (!self->marked) mark(realm, self);
  return self->all || is_marked(self, task);
}

void lunado__waitcycle_pass(lua_State *L, lunado_realm *realm, int t) {
  lunado_walk *self = realm->coroutines.walk;
  lunado_task *task = lua_touserdata(L, t);
  if (!self->marked || self->all || task->flags & TASK_STARTING ||
      is_marked(self, task))
    return;
  if (is_sole(task->future)) /* its waiter has a mark */
    task->pass = number_of(self);
  else
    search(L, realm, self, t);
}
