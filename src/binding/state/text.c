/* SPDX-License-Identifier: MIT */
/* text.c - values as text, for messages. */
#include "binding/state/text.h"

#include <string.h>

/* (value) → its text */
static int to_text(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

void lunado__text_push(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  if (lua_type(L, idx) == LUA_TSTRING) {
    lua_pushvalue(L, idx);
    return;
  }
  lua_pushcfunction(L, to_text);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lua_pushfstring(L, "(a %s whose __tostring fails)", luaL_typename(L, idx));
}
