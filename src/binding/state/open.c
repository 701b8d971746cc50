/* SPDX-License-Identifier: MIT */
/*
 * open.c - luaopen_lunado: the whole module without a file.
 *
 * package.preload gets a loader for each Lua file that was compiled in, so that
 * `require` finds them before it looks for files.  A build without compiled-in
 * files, such as the module lunado/core.so, has no luaopen_lunado.
 */
#include "binding/state/open.h"

#ifdef LUNADO_EMBEDDED

#include "binding/state/embedded.h"

/* Runs the Lua file that is upvalue 1, as the loader of its module. */
static int load_embedded(lua_State *L) {
  const lunado__embedded_module *module =
      lua_touserdata(L, lua_upvalueindex(1));
  lua_settop(L, 1);
  lua_pushfstring(L, "=%s", module->name);
  if (luaL_loadbufferx(L, (const char *)module->source, module->length,
                       lua_tostring(L, 2), "t") != LUA_OK)
    return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

void lunado__open_preload(lua_State *L) {
  const lunado__embedded_module *module = lunado__embedded_modules;
  luaL_checkstack(L, 4, NULL);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (; module->name != NULL; module++) {
    lua_pushlightuserdata(L, (void *)module);
    lua_pushcclosure(L, load_embedded, 1);
    lua_setfield(L, -2, module->name);
  }
  lua_pushcfunction(L, luaopen_lunado_core);
  lua_setfield(L, -2, "lunado.core");
  lua_pop(L, 1);
}

int luaopen_lunado(lua_State *L) {
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (lua_getglobal(L, "require") != LUA_TFUNCTION)
    return luaL_error(L, "lunado needs Lua's standard libraries: call "
                         "luaL_openlibs first");
  lunado__open_preload(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, "lunado");
  lua_pushliteral(L, "lunado");
  lua_call(L, 1, 1);
  return 1;
}

#else

void lunado__open_preload(lua_State *L) { (void)L; }

#endif
