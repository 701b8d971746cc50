/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - removing coroutines that were closed while they waited for a
 * Future.
 *
 * Lua does not report that coroutine.close has closed a thread, and the Future
 * holds the thread's task.  So from time to time, when a waiter is added to a
 * Future, the Future's waiters are examined: the more there are, the less
 * often.
 *
 * A table of owners has under the key 1 the number of waiters that may be added
 * before the next sweep.
 */
#include "binding/future/sweep.h"

#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/error/protect.h"
#include "binding/future/forsaken.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/waititer.h"

/* The key of that number, and the least number that a sweep sets. */
enum { COUNTDOWN = 1, LEAST = 16 };

/* The number of levels of Futures waiting for Futures that are searched. */
enum { DEEPEST = 4 };

/* A ticket is never swept here, because its wait queue does so.  A private
 * multi is not swept, because it must not lose its last waiter before the next
 * is added. */
bool lunado__sweep_due(lua_State *L, int idx, const lunado_future *future) {
  lua_Integer countdown = 0;
  if (future->kind == LUNADO_KIND_TICKET || future->flags & LUNADO_IS_PRIVATE)
    return false;
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_rawgeti(L, -1, COUNTDOWN);
    countdown = lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_pushinteger(L, countdown > 0 ? countdown - 1 : LEAST);
    lua_rawseti(L, -2, COUNTDOWN);
  }
  lua_pop(L, 1);
  return countdown == 0;
}

/* True for a thread that is neither suspended nor running. */
static bool is_dead(lua_State *thread) {
  int status = lua_status(thread);
  lua_Debug ar;
  if (status == LUA_OK) return lua_getstack(thread, 0, &ar) == 0;
  return status != LUA_YIELD;
}

/* --- gathering ------------------------------------------------------------ */

static lua_Integer gather(lua_State *L, lunado_realm *realm, int idx, int list,
                          int depth);

/* Pushes the Future that gets its outcome through the waiter, whose owner is on
 * top.  Returns false if there is no such Future, if it is done, or if it has a
 * timer or a wait queue, which will settle it. */
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

/* Appends the task of the waiter, whose owner is on top, and the Future at idx
 * to the list, if the task's coroutine was closed.  If the waiter belongs to a
 * Future whose own waiters are all such coroutines, gathers these. */
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
 * waited for the Future at idx, or for a Future that waits for it.  Each task
 * is followed by the Future that it waits for.  Returns the number of waiters
 * of the Future at idx. */
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

/* (realm, future, list): gathers the tasks and sets the countdown.  No other
 * code may run meanwhile that changes the waiters: so this makes no object. */
static int gather_alone(lua_State *L) {
  lua_Integer n = gather(L, lua_touserdata(L, 1), 2, 3, 0);
  if (n <= LEAST || lua_getiuservalue(L, 2, LUNADO_FUTURE_VALUE) != LUA_TTABLE)
    return 0;
  lua_pushinteger(L, n);
  lua_rawseti(L, -2, COUNTDOWN);
  return 0;
}

/* --- ending --------------------------------------------------------------- */

/* Ends the wait of the task on top for the Future at idx and makes the task
 * ready; pops the task. */
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
  (void)lunado__protect_unseen(L, 3);
  n = (lua_Integer)lua_rawlen(L, list);
  for (lua_Integer i = 1; i < n; i += 2) {
    lua_rawgeti(L, list, i + 1);
    lua_rawgeti(L, list, i);
    dismiss(L, list + 1);
    lua_settop(L, list);
  }
  lua_pop(L, 1);
}
