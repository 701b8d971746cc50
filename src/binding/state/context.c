/* SPDX-License-Identifier: MIT */
/*
 * context.c - the current stack contexts.
 *
 * lunado.stack_context defines, in Lua, what a context is and does.  The
 * binding only carries the current contexts, as one opaque value, from the
 * place where a callback is registered to the place where it runs.
 */
#include "binding/state/context.h"

#include "binding/state/naming.h"

void lunado__context_wrap(lua_State *L, const lunado_realm *realm, int idx) {
  luaL_checkstack(L, 4, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_WRAP);
  lua_pushvalue(L, idx);
  lua_call(L, 1, 1);
  lua_replace(L, idx);
}

/* Replaces the function at idx, if it runs within contexts, by the function
 * that it calls there. */
static void unwrap_context(lua_State *L, const lunado_realm *realm, int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_WRAPPED);
  if (lua_istable(L, -1)) {
    lua_pushvalue(L, idx);
    if (lua_rawget(L, -2) != LUA_TNIL)
      lua_replace(L, idx);
    else
      lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void lunado__context_unwrap(lua_State *L, const lunado_realm *realm, int idx) {
  unwrap_context(L, realm, idx);
  lunado__naming_unwrap(L, idx);
}

void lunado__context_set(lua_State *L, lunado_realm *realm) {
  realm->contexts.current = lua_toboolean(L, -1) ? lua_topointer(L, -1) : NULL;
  lunado__setslot(L, realm, LUNADO_SLOT_CONTEXT);
}

/* get_context() → the current contexts, or false. */
static int core_get_context(lua_State *L) {
  lunado__getslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_CONTEXT);
  return 1;
}

/* set_context(contexts): a table, or false for no contexts. */
static int core_set_context(lua_State *L) {
  if (lua_toboolean(L, 1)) luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_pushboolean(L, 0);
  lunado__context_set(L, lunado__realm_upvalue(L));
  return 0;
}

/* set_context_hooks(wrap, inconsistent, wrapped).  wrap(fn) returns a function
 * that calls fn within the current contexts.  inconsistent() returns the error
 * of a coroutine that was suspended within a context it had entered.  wrapped
 * maps each function that wrap has returned to its fn. */
static int core_set_context_hooks(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  lunado__setslot(L, realm, LUNADO_SLOT_WRAPPED);
  lunado__setslot(L, realm, LUNADO_SLOT_INCONSISTENT);
  lunado__setslot(L, realm, LUNADO_SLOT_WRAP);
  return 0;
}

static const luaL_Reg functions[] = {
    {"get_context", core_get_context},
    {"set_context", core_set_context},
    {"set_context_hooks", core_set_context_hooks},
    {NULL, NULL}};

void lunado__context_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
