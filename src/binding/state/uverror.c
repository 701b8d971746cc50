/* SPDX-License-Identifier: MIT */
/* uverror.c - errors of libuv as Lua values. */
#include "binding/state/uverror.h"

#include <uv.h>

void lunado__uverror_pushname(lua_State *L, int error) {
  if (error == UV_ENOMEM)
    lua_pushliteral(L, "not enough memory");
  else
    lua_pushstring(L, uv_err_name(error));
}

void lunado__uverror_pushtext(lua_State *L, int error) {
  lua_pushfstring(L, "%s: %s", uv_err_name(error), uv_strerror(error));
}

int lunado__uverror_pushresults(lua_State *L, int error) {
  lua_pushnil(L);
  lunado__uverror_pushtext(L, error);
  lua_pushstring(L, uv_err_name(error));
  return 3;
}
