/* SPDX-License-Identifier: MIT */
/*
 * floor.c - the minimum that Lua's C API needs to call a coroutine and to yield
 * its Future: threads that are reused and Futures that are done.  There is no
 * waiting, no loop and no check; errors only pass through protected coroutines.
 */
#include <lauxlib.h>
#include <lua.h>

enum { KEPT = 128 };

typedef struct {
  void *waiters;
  int state;
} future;

static int metatable; /* reference in the registry: the Futures' metatable */
static lua_State *kept[KEPT];
static int idle = KEPT;

/* Runs a thread to its end; resumes it with the result of each Future that it
 * yields. */
static void run_thread(lua_State *L, lua_State *thread, int nargs) {
  int n;
  while (lua_resume(thread, L, nargs, &n) == LUA_YIELD) {
    lua_getiuservalue(thread, -1, 1);
    nargs = 1;
  }
}

static int body_done(lua_State *L, int status, lua_KContext context) {
  (void)context;
  if (status != LUA_OK && status != LUA_YIELD) return lua_error(L);
  return lua_gettop(L);
}

/* The base of a protected coroutine: an error closes the pending to-be-closed
 * variables, and their __close may yield. */
static int body(lua_State *L) {
  int nargs = lua_gettop(L) - 1;
  return body_done(L, lua_pcallk(L, nargs, LUA_MULTRET, 0, 0, body_done), 0);
}

/* The function that coroutine() returns: runs the user's function on a kept
 * thread, and returns a Future of its one result. */
static int call(lua_State *L) {
  int nargs = lua_gettop(L);
  lua_State *thread = kept[--idle];
  future *self;
  if (lua_toboolean(L, lua_upvalueindex(2))) {
    lua_pushcfunction(thread, body);
    nargs++;
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_xmove(L, thread, lua_gettop(L));
  self = lua_newuserdatauv(L, sizeof *self, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, metatable);
  lua_setmetatable(L, -2);
  run_thread(L, thread, nargs);
  lua_xmove(thread, L, 1);
  lua_setiuservalue(L, -2, 1);
  self->state = 1;
  kept[idle++] = thread;
  return 1;
}

/* coroutine(fn [, protected]): returns fn as a coroutine function. */
static int coroutine(lua_State *L) {
  lua_settop(L, 2);
  lua_pushcclosure(L, call, 2);
  return 1;
}

static int run(lua_State *L) {
  lua_State *thread = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, thread, 1);
  run_thread(L, thread, 0);
  return 0;
}

/* Returns the result of a Future, without a switch of coroutines. */
static int await(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  return 1;
}

int luaopen_floor(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"coroutine", coroutine}, {"run", run}, {"await", await}, {NULL, NULL}};
  lua_newtable(L);
  metatable = luaL_ref(L, LUA_REGISTRYINDEX);
  for (int i = 0; i < KEPT; i++) {
    kept[i] = lua_newthread(L);
    (void)luaL_ref(L, LUA_REGISTRYINDEX);
  }
  luaL_newlib(L, functions);
  return 1;
}
