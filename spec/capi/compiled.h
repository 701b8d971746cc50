/* SPDX-License-Identifier: MIT */
/*
 * compiled.h - lunado's Lua files, compiled once for all states of a process.
 *
 * To compile them is two thirds of what a new state costs.  Under a checker,
 * which makes each step slow, states load them compiled.
 */
#ifndef LUNADO_SPEC_CAPI_COMPILED_H
#define LUNADO_SPEC_CAPI_COMPILED_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "binding/state/embedded.h"

typedef struct {
  const char *name; /* for require */
  char *code;       /* as lua_dump makes it; kept until the process ends */
  size_t size;
} compiled_file;

/* Written before there are threads. */
static compiled_file compiled_files[64];
static int compiled_count;

static inline int compiled_keep(lua_State *L, const void *piece, size_t size,
                                void *ud) {
  compiled_file *file = ud;
  char *code = realloc(file->code, file->size + size);
  (void)L;
  if (code == NULL) return 1;
  memcpy(code + file->size, piece, size);
  file->code = code;
  file->size += size;
  return 0;
}

/* Compiles all files; from now on compiled_use() has an effect. */
static inline void compiled_begin(void) {
  const lunado__embedded_module *module = lunado__embedded_modules;
  lua_State *L = luaL_newstate();
  assert(L != NULL && compiled_count == 0);
  for (; module->name != NULL; module++) {
    compiled_file *file = &compiled_files[compiled_count++];
    int rc;
    file->name = module->name;
    lua_pushfstring(L, "=%s", module->name);
    rc = luaL_loadbufferx(L, (const char *)module->source, module->length,
                          lua_tostring(L, -1), "t");
    assert(rc == LUA_OK);
    rc = lua_dump(L, compiled_keep, file, 0);
    assert(rc == 0);
    (void)rc;
    lua_settop(L, 0);
  }
  lua_close(L);
}

/* A searcher of `require`: (name) → the compiled file as its loader. */
static inline int compiled_search(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (int i = 0; i < compiled_count; i++) {
    const compiled_file *file = &compiled_files[i];
    if (strcmp(file->name, name) != 0) continue;
    if (luaL_loadbufferx(L, file->code, file->size, name, "b") != LUA_OK)
      return lua_error(L);
    return 1;
  }
  lua_pushnil(L);
  return 1;
}

/* Makes `require` of the state look for compiled files first. */
static inline void compiled_use(lua_State *L) {
  lua_Integer last;
  if (compiled_count == 0) return;
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  last = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = last; i >= 1; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, compiled_search);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 2);
}

#endif
