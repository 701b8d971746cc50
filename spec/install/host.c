/* SPDX-License-Identifier: MIT */
/* The smallest host: no Lua file may be found, and lunado works all the same.
 * Exits with 0 when a coroutine has slept and returned. */
#include <stdio.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

static const char script[] =
    "package.path, package.cpath = '', ''\n"
    "local lunado = require 'lunado'\n"
    "local gen = require 'lunado.gen'\n"
    "local word = lunado.run(gen.coroutine(function()\n"
    "  coroutine.yield(gen.sleep(0.001))\n"
    "  return 'slept'\n"
    "end))\n"
    "assert(word == 'slept')\n";

int main(void) {
  lua_State *L = luaL_newstate();
  int failed;
  luaL_openlibs(L);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  lua_pop(L, 1);
  failed = luaL_dostring(L, script);
  if (failed) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  }
  lua_close(L);
  return failed;
}
