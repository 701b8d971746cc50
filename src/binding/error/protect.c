/* SPDX-License-Identifier: MIT */
/* protect.c - protected calls. */
#include "binding/error/protect.h"

#include "binding/error/failure.h"
#include "binding/state/hook.h"

static int do_nothing(lua_State *L) {
  (void)L;
  return 0;
}

/* A run calls uv_run in a C function of its own, and uv_run calls the
 * callbacks.  So two nested calls have to be reserved. */
static int call_nothing(lua_State *L) {
  lua_pushcfunction(L, do_nothing);
  lua_call(L, 0, 0);
  return 0;
}

/* Lua keeps the CallInfo of a call that has returned, and reuses it: after one
 * successful empty call, the next C call from this frame allocates nothing. */
bool lunado__protect_reserve(lua_State *L, int slots) {
  int top = lua_gettop(L);
  bool called;
  if (!lua_checkstack(L, slots)) return false;
  lua_pushcfunction(L, call_nothing);
  called = lua_pcall(L, 0, 0, 0) == LUA_OK;
  lua_settop(L, top);
  return called;
}

bool lunado__protect_call(lua_State *L, lunado_realm *realm,
                          lua_CFunction function, void *data) {
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, data);
  return lunado__protect_pushed(L, realm, 1);
}

bool lunado__protect_pushed(lua_State *L, lunado_realm *realm, int nargs) {
  int base = lua_gettop(L) - nargs;
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_insert(L, base);
  if (lua_pcall(L, nargs, 0, base) == LUA_OK) {
    lua_settop(L, base - 1);
    return true;
  }
  lunado__failure_take(L, realm);
  lua_replace(L, base);
  lua_settop(L, base);
  return false;
}

/* Lua's collector works, and calls finalizers, where an object is made, and
 * where a call extends the stack. */
bool lunado__protect_unseen(lua_State *L, int nargs) {
  int top = lua_gettop(L) - nargs - 1;
  lunado__hook hook = lunado__hook_off(L);
  bool done =
      lua_checkstack(L, LUA_MINSTACK) && lua_pcall(L, nargs, 0, 0) == LUA_OK;
  lunado__hook_on(L, &hook);
  lua_settop(L, top);
  return done;
}

/* Stops the collector, because Lua has no other way to defer finalizers.  Once
 * it is started again, it works at the next allocation. */
bool lunado__protect_alone(lua_State *L, int nargs) {
  bool running = lua_gc(L, LUA_GCISRUNNING) == 1, done;
  if (running) (void)lua_gc(L, LUA_GCSTOP);
  done = lunado__protect_unseen(L, nargs);
  if (running) (void)lua_gc(L, LUA_GCRESTART);
  return done;
}
