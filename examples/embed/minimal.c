/* SPDX-License-Identifier: MIT */
/*
 * minimal.c - the smallest host: runs a script as a coroutine until it has
 * ended.  The script needs no files of lunado.
 *
 *   minimal script.lua
 */
#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  int status;
  if (L == NULL || argc < 2) return 1;
  luaL_openlibs(L);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);

  status = luaL_loadfile(L, argv[1]);
  if (status == LUA_OK) status = lunado_runsync(L, 0, 0);
  if (status != LUA_OK) fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));

  lua_close(L);
  return status != LUA_OK;
}
