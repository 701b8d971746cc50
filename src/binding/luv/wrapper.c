/* SPDX-License-Identifier: MIT */
/*
 * wrapper.c - replacements of luv.run and luv.walk for a shared loop.
 *
 * luv's own run does not handle an error that jumps out of a callback: luv then
 * remains marked as running for ever.  Before luv 1.50, its walk treats every
 * handle of the loop as luv's own.
 */
#include "binding/luv/wrapper.h"

#include "binding/loop/drive.h"
#include "binding/luv/shutdown.h"

/* Calls luv's own function with the arguments on the stack.  For a luv that no
 * longer shares its loop. */
static int call_own(lua_State *L, lua_CFunction own) {
  lua_pushcfunction(L, own);
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* luv.run([mode]), with the interface of luv's own. */
static int luv_run(lua_State *L) {
  static const char *const modes[] = {"default", "once", "nowait", NULL};
  lunado_realm *realm = lunado__realm_find(L);
  int mode = luaL_checkoption(L, 1, "default", modes);
  if (!lunado__attachment_is_live(realm->luv))
    return call_own(L, realm->luv->run);
  lua_settop(L, 0);
  return lunado__drive_luv(L, realm, (uv_run_mode)mode);
}

/* Appends luv's handles in the table on top, and in `depth` levels of nested
 * tables, to the list at 2.  The set at 3 contains the handles of the list. */
static void collect(lua_State *L, int depth) {
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    if (lunado__shutdown_ishandle(L, -1)) {
      lua_pushvalue(L, -1);
      if (lua_rawget(L, 3) == LUA_TNIL) {
        lua_pushvalue(L, -2);
        lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
        lua_pushvalue(L, -2);
        lua_pushboolean(L, 1);
        lua_rawset(L, 3);
      }
      lua_pop(L, 1);
    } else if (depth > 0 && lua_istable(L, -1)) {
      collect(L, depth - 1);
    }
  }
}

/* luv.walk(fn), with the interface of luv's own: calls fn(handle) for each of
 * luv's handles.  Until a handle is closed, it is in the registry or in a table
 * in the registry. */
static int luv_walk(lua_State *L) {
  const lunado_attachment *self = lunado__realm_find(L)->luv;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  if (!lunado__attachment_is_live(self)) return call_own(L, self->walk);
  lua_settop(L, 1);
  lua_newtable(L); /* list at 2 */
  lua_newtable(L); /* set at 3 */
  lua_pushvalue(L, LUA_REGISTRYINDEX);
  collect(L, 1);
  lua_settop(L, 2);
  for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    (void)self->context->runner(L, 1, 0, 0);
  }
  return 0;
}

/* Sets the function `name` in the table at idx to `function`, and stores luv's
 * own function in *own.  Does nothing if it is set already. */
static void replace(lua_State *L, int idx, const char *name,
                    lua_CFunction function, lua_CFunction *own) {
  lua_CFunction before;
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  before = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  if (before == NULL || before == function) return;
  lua_pushstring(L, name);
  lua_pushcfunction(L, function);
  lua_rawset(L, idx);
  *own = before;
}

void lunado__wrapper_install(lua_State *L, lunado_attachment *self, int idx) {
  replace(L, idx, "run", luv_run, &self->run);
  replace(L, idx, "walk", luv_walk, &self->walk);
}
