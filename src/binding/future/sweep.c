/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - coroutines that were closed while they waited for a Future.
 *
 * Lua does not report that coroutine.close has closed a thread, and the Future
 * holds the task.  So when one more is to wait for a Future, those that wait
 * already are looked at now and then: the more they are, the less often.
 *
 * A table of owners has under the key 1 how many may come before the next look.
 */
#include "binding/future/sweep.h"

#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/error/protect.h"
#include "binding/future/forsaken.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/waititer.h"

/* The key of that number, and the least that it begins with. */
enum { COUNTDOWN = 1, LEAST = 16 };

/* How many Futures that wait for Futures are looked through. */
enum { DEEPEST = 4 };

/* A ticket has a line that looks; a private multi must not lose its last waiter
 * before the next one is there. */
bool lunado__sweep_due(lua_State *L, int idx, const lunado_future *future) {
  lua_Integer left = 0;
  if (future->kind == LUNADO_KIND_TICKET || future->flags & LUNADO_IS_PRIVATE)
    return false;
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_rawgeti(L, -1, COUNTDOWN);
    left = lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_pushinteger(L, left > 0 ? left - 1 : LEAST);
    lua_rawseti(L, -2, COUNTDOWN);
  }
  lua_pop(L, 1);
  return left == 0;
}

/* True for a thread that is not suspended and does not run, either. */
static bool is_dead(lua_State *thread) {
  int status = lua_status(thread);
  lua_Debug ar;
  if (status == LUA_OK) return lua_getstack(thread, 0, &ar) == 0;
  return status != LUA_YIELD;
}

/* --- gathering ------------------------------------------------------------ */

static lua_Integer gather(lua_State *L, lunado_realm *realm, int idx, int list,
                          int depth);

/* Pushes the Future that gets its outcome by way of the waiter, whose owner is
 * on top; false: there is none, or it is not pending, or time will end it. */
static bool push_behind(lua_State *L, lunado_realm *realm,
                        const lunado_waiter *waiter) {
  const lunado_future *behind;
  if (!lunado__waititer_next(L, waiter, lua_gettop(L)) &&
      !lunado__forsaken_push_waiting(L, realm, waiter))
    return false;
  behind = lunado__tofuture(L, realm, -1);
  return behind != NULL && lunado_future_pending(behind) &&
         behind->kind < LUNADO_KIND_TIED;
}

/* Appends what the waiter of the Future at idx, whose owner is on top, stands
 * for, where that is coroutines that were closed. */
static void gather_from(lua_State *L, lunado_realm *realm, int idx, int list,
                        const lunado_waiter *waiter, int depth) {
  if (waiter->cb == lunado__suspend_ready) {
    const lunado_task *task =
        lunado_container_of(waiter, const lunado_task, waiter);
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    if (!is_dead(task->thread)) return;
    lua_rawseti(L, list, n + 1);
    lua_pushvalue(L, idx);
    lua_rawseti(L, list, n + 2);
  } else if (depth < DEEPEST && push_behind(L, realm, waiter) &&
             lunado__forsaken_find(L, realm, -1) == LUNADO_WAITER_DEAD) {
    (void)gather(L, realm, lua_gettop(L), list, depth + 1);
  }
}

/* Appends to the list the tasks of coroutines that were closed while they
 * waited for the Future at idx, or for others that wait for it, each with its
 * Future. Returns the number of waiters. */
static lua_Integer gather(lua_State *L, lunado_realm *realm, int idx, int list,
                          int depth) {
  const lunado_future *future = lua_touserdata(L, idx);
  const lunado_waiter *waiter = future->waiters;
  int top = lua_gettop(L);
  lua_Integer n = 0;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  do {
    if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
      lua_rawgetp(L, -1, waiter);
    gather_from(L, realm, idx, list, waiter, depth);
    lua_settop(L, top);
    waiter = waiter->next;
    n++;
  } while (waiter != future->waiters);
  return n;
}

/* (realm, future, list): while nothing else can change who waits. */
static int gather_alone(lua_State *L) {
  lua_Integer n = gather(L, lua_touserdata(L, 1), 2, 3, 0);
  if (n <= LEAST || lua_getiuservalue(L, 2, LUNADO_FUTURE_VALUE) != LUA_TTABLE)
    return 0;
  lua_pushinteger(L, n);
  lua_rawseti(L, -2, COUNTDOWN);
  return 0;
}

/* --- ending --------------------------------------------------------------- */

/* The task on top waits for the Future at idx no longer; pops it. */
static void dismiss(lua_State *L, int idx) {
  lunado_task *task = lua_touserdata(L, -1);
  const lunado_future *future = lua_touserdata(L, idx);
  if (task->waiter.list != &future->waiters) {
    lua_pop(L, 1);
    return;
  }
  lunado__owner_forget(L, idx, &task->waiter);
  lunado__suspend_make_ready(L, &task->waiter);
}

void lunado__sweep(lua_State *L, lunado_realm *realm, int idx) {
  int list = lua_gettop(L) + 1;
  lua_Integer n;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_createtable(L, 0, 0);
  if (((lunado_future *)lua_touserdata(L, idx))->waiters == NULL) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcfunction(L, gather_alone);
  lua_pushlightuserdata(L, realm);
  lua_pushvalue(L, idx);
  lua_pushvalue(L, list);
  (void)lunado__protect_alone(L, 3);
  n = (lua_Integer)lua_rawlen(L, list);
  for (lua_Integer i = 1; i < n; i += 2) {
    lua_rawgeti(L, list, i + 1);
    lua_rawgeti(L, list, i);
    dismiss(L, list + 1);
    lua_settop(L, list);
  }
  lua_pop(L, 1);
}
