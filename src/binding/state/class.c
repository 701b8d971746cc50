/* SPDX-License-Identifier: MIT */
/* class.c - metatables of userdata. */
#include "binding/state/class.h"

#include <math.h>
#include <string.h>

/* Fills the metatable on top, and returns its identity. */
static const void *fill(lua_State *L, const luaL_Reg *methods,
                        const luaL_Reg *metamethods) {
  if (metamethods != NULL) lunado__setfunctions(L, metamethods);
  if (methods != NULL) {
    lua_newtable(L); /* mt index */
    lunado__setfunctions(L, methods);
    lua_setfield(L, -2, "__index");
  }
  lua_pushliteral(L, "lunado");
  lua_setfield(L, -2, "__metatable");
  return lua_topointer(L, -1);
}

const void *lunado__class_new(lua_State *L, const char *name,
                              const luaL_Reg *methods,
                              const luaL_Reg *metamethods) {
  const void *identity;
  luaL_newmetatable(L, name);
  identity = fill(L, methods, metamethods);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, identity);
  return identity;
}

const void *lunado__class_new_in_slot(lua_State *L, lunado_realm *realm,
                                      int slot, const char *name,
                                      const luaL_Reg *methods,
                                      const luaL_Reg *metamethods) {
  const void *identity;
  lua_newtable(L);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  identity = fill(L, methods, metamethods);
  lunado__setslot(L, realm, slot);
  return identity;
}

void lunado__class_set(lua_State *L, const void *mt) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, mt);
  lua_setmetatable(L, -2);
}

void *lunado__class_private(lua_State *L, size_t size, int values,
                            const char *name, lua_CFunction gc) {
  void *object = lua_newuserdatauv(L, size, values);
  memset(object, 0, size);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, name) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, name);
  }
  lua_setmetatable(L, -2);
  return object;
}

void lunado__class_setweak(lua_State *L, const char *mode) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}
