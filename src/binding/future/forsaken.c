/* SPDX-License-Identifier: MIT */
/* forsaken.c - finding out whether a Future has live waiters. */
#include "binding/future/forsaken.h"

#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/error/failure.h"
#include "binding/future/chain.h"
#include "binding/future/dependent.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "core/multi.h"

/* The number of levels of Futures waiting for Futures that are searched. */
#define DEEPEST 8

static int find(lua_State *L, lunado_realm *realm, int idx, int depth);

bool lunado__forsaken_push_waiting(lua_State *L, lunado_realm *realm,
                                   const lunado_waiter *waiter) {
  int owner = lua_gettop(L);
  if (lunado__tofuture(L, realm, owner) != NULL)
    lua_pushvalue(L, owner);
  else if (lunado_multi_owns(waiter))
    lunado__dependent_push(L, owner);
  else
    return lunado__chain_target(L, waiter, owner);
  return true;
}

/* Returns the kinds of waiters behind the waiter whose owner is on top.  For a
 * task, examines its coroutine; for a Future, the Future's waiters.  Any other
 * owner counts as alive. */
static int find_behind(lua_State *L, lunado_realm *realm,
                       const lunado_waiter *waiter, int depth) {
  lunado_future *dependent;
  if (waiter->cb == lunado__suspend_ready) {
    const lunado_task *task =
        lunado_container_of(waiter, const lunado_task, waiter);
    return lunado__task_untouched(task) ? LUNADO_WAITER_ALIVE
                                        : LUNADO_WAITER_DEAD;
  }
  if (depth == DEEPEST || !lunado__forsaken_push_waiting(L, realm, waiter))
    return LUNADO_WAITER_ALIVE;
  dependent = lunado__tofuture(L, realm, -1);
  if (dependent == NULL || !lunado_future_pending(dependent)) return 0;
  if (dependent->waiters == NULL) return LUNADO_WAITER_ALIVE;
  return find(L, realm, lua_gettop(L), depth + 1);
}

/* Returns the kinds of waiters of the Future at idx, an absolute index. */
static int find(lua_State *L, lunado_realm *realm, int idx, int depth) {
  const lunado_future *future = lua_touserdata(L, idx);
  const lunado_waiter *waiter = future->waiters;
  int found = 0, top = lua_gettop(L);
  if (waiter == NULL) return 0;
  luaL_checkstack(L, 8, NULL);
  do {
    if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
      lua_rawgetp(L, -1, waiter);
    found |= find_behind(L, realm, waiter, depth);
    lua_settop(L, top);
    waiter = waiter->next;
  } while (!(found & LUNADO_WAITER_ALIVE) && waiter != future->waiters);
  return found;
}

int lunado__forsaken_find(lua_State *L, lunado_realm *realm, int idx) {
  return find(L, realm, lua_absindex(L, idx), 0);
}

/* forsaken(future) → true if the Future is pending, has waiters, and all of
 * them are coroutines that were closed or resumed by other code. */
static int core_forsaken(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future = lunado__checkfuture(L, realm, 1);
  lua_pushboolean(L,
                  lunado_future_pending(future) &&
                      lunado__forsaken_find(L, realm, 1) == LUNADO_WAITER_DEAD);
  return 1;
}

/* forsake(future, err): settles the Future with an error that is not logged,
 * because no waiter is left to get it. */
static int core_forsake(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)lunado__checkfuture(L, realm, 1);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lunado__failure_new(L, realm, 2, -1)->observed = true;
  lunado__failure_mark_logged(L, realm, 3);
  lunado__settle_failed(L, realm, 1);
  return 0;
}

static const luaL_Reg functions[] = {
    {"forsaken", core_forsaken}, {"forsake", core_forsake}, {NULL, NULL}};

void lunado__forsaken_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
