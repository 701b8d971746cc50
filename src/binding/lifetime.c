/* SPDX-License-Identifier: MIT */
/*
 * lifetime.c - coroutines that are collected while they wait.
 *
 * That is nearly always a bug, and logged; but not when it is the whole state
 * that goes.
 */
#include "binding/coroutine.h"
#include "binding/ioloop.h"
#include "binding/task.h"

void lunado__coroutine_where(lua_State *L, const lunado_coroutine *task) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(task->thread, level, &ar); level++) {
    lua_getinfo(task->thread, "Sl", &ar);
    if (ar.currentline > 0) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
  lua_pushliteral(L, "?");
}

/* A collection clears the weak reference to the cycle object before it runs
 * any finalizer; the closing of a state does not.  Finalizers run from the
 * youngest object to the oldest, so that objects younger than the cycle
 * object see that for themselves, and for older ones its own finalizer has
 * seen it. */
static bool is_state_closing(lua_State *L, lunado_realm *realm, uint32_t born) {
  if (realm->closing || born < realm->cycle_born) return realm->closing;
  lunado__getslot(L, realm, LUNADO_SLOT_CYCLE);
  realm->closing = lua_rawgeti(L, -1, 1) != LUA_TNIL;
  lua_pop(L, 2);
  return realm->closing;
}

static void make_cycle_object(lua_State *L, lunado_realm *realm) {
  uint32_t *born = lua_newuserdatauv(L, sizeof *born, 0);
  *born = realm->cycle_born = ++realm->born;
  luaL_setmetatable(L, "lunado.Cycle");
  lunado__getslot(L, realm, LUNADO_SLOT_CYCLE);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
}

static int cycle__gc(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  uint32_t *born = lua_touserdata(L, 1);
  if (!is_state_closing(L, realm, *born)) make_cycle_object(L, realm);
  return 0;
}

static int task__gc(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_coroutine *task = lua_touserdata(L, 1);
  bool waited = (task->flags & TASK_WAITING) != 0;
  bool told = !waited || is_state_closing(L, realm, task->born);
  if (waited) task->loop->queue.reserved--;
  if (task->flags & (TASK_WAITING | TASK_QUEUED)) {
    told = told || task->loop->closed;
    lunado__ioloop_discharge(L, task->loop);
  }
  task->flags &= ~(uint32_t)(TASK_WAITING | TASK_QUEUED);
  if (told) return 0;
  lua_pushliteral(L, "Coroutine was collected while waiting at ");
  lunado__coroutine_where(L, task);
  lua_pushliteral(L, ": nobody can set the Future it waits for");
  lua_concat(L, 3);
  lunado__log(L, realm, LUNADO_LOG_WARNING);
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", task__gc}, {NULL, NULL}};
static const luaL_Reg cycle_metamethods[] = {{"__gc", cycle__gc}, {NULL, NULL}};

void lunado__lifetime_open(lua_State *L, lunado_realm *realm) {
  realm->task_mt = lunado__newclass(L, "lunado.Task", NULL, metamethods);
  lua_pop(L, 1);
  (void)lunado__newclass(L, "lunado.Cycle", NULL, cycle_metamethods);
  lua_pop(L, 1);
  make_cycle_object(L, realm);
}
