/* SPDX-License-Identifier: MIT */
/*
 * loader.c - finding luv: its module, its loader, its exported functions.
 *
 * luv's exported functions are searched for in the object file that contains
 * luv's Lua functions, not on a path.  So they are found wherever luv was
 * loaded from, also if luv is part of the program.
 */
#if !defined(_GNU_SOURCE) && !defined(_WIN32)
#define _GNU_SOURCE /* dladdr */
#endif
#include "binding/luv/loader.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

#include <string.h>

#include "binding/luv/attachment.h"

enum { NAMES = 2 };

/* The names by which luv is required. */
static const char *const names[NAMES] = {"luv", "uv"};

/* --- the object file ------------------------------------------------------ */

#ifdef _WIN32

/* Functions of Windows' modules have no types of their own. */
typedef void (*any_function)(void);

/* Returns the program or the DLL that contains the address; NULL: none does. */
static HMODULE module_of(const void *address) {
  HMODULE module = NULL;
  (void)GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                               GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                           address, &module);
  return module;
}

/* Finds the function that one DLL named in the module's table of imports
 * provides.  The table has two lists: the names of the functions, and their
 * addresses.  NULL: that DLL provides none of this name. */
static any_function find_among(const char *base,
                               const IMAGE_IMPORT_DESCRIPTOR *of,
                               const char *name) {
  const void *asking = base + of->OriginalFirstThunk;
  const void *giving = base + of->FirstThunk;
  const IMAGE_THUNK_DATA *asked = asking, *given = giving;
  for (; asked->u1.AddressOfData != 0; asked++, given++) {
    const void *import = base + asked->u1.AddressOfData;
    if (IMAGE_SNAP_BY_ORDINAL(asked->u1.Ordinal)) continue;
    if (strcmp(((const IMAGE_IMPORT_BY_NAME *)import)->Name, name) == 0)
      return (any_function)given->u1.Function;
  }
  return NULL;
}

static any_function find_import(HMODULE module, const char *name) {
  const char *base = (const char *)module;
  const void *headers = base + ((const IMAGE_DOS_HEADER *)base)->e_lfanew;
  const IMAGE_DATA_DIRECTORY *imports =
      &((const IMAGE_NT_HEADERS *)headers)
           ->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
  const void *first = base + imports->VirtualAddress;
  const IMAGE_IMPORT_DESCRIPTOR *of = first;
  if (imports->Size == 0) return NULL;
  for (; of->FirstThunk != 0; of++) {
    any_function found =
        of->OriginalFirstThunk != 0 ? find_among(base, of, name) : NULL;
    if (found != NULL) return found;
  }
  return NULL;
}

/* Sets the function pointer at `function` to the symbol `name` that the module
 * calls: imported, or its own, if the module exports it.  If there is no such
 * symbol, sets the pointer to NULL and returns false. */
static bool find_function(HMODULE module, const char *name, void *function) {
  any_function found = find_import(module, name);
  if (found == NULL) found = (any_function)GetProcAddress(module, name);
  memcpy(function, &found, sizeof found);
  return found != NULL;
}

bool lunado__loader_inspect(lua_CFunction function, lunado_luv_object *self) {
  static const char here;
  any_function theirs, ours;
  const char *(*version)(void);
  const void *address;
  HMODULE module, own = module_of(&here);
  memcpy(&address, &function, sizeof address);
  module = module_of(address);
  if (module == NULL || own == NULL) return false;
  (void)find_function(module, "luv_cfpcall", &self->runner);
  (void)find_function(module, "uv_run", &theirs);
  (void)find_function(own, "uv_run", &ours);
  /* A program or DLL that neither imports nor exports uv_run contains it. */
  self->same_uv = theirs == ours && (theirs != NULL || module == own);
  self->uv_version =
      find_function(module, "uv_version_string", &version) ? version() : "?";
  return find_function(module, "luv_set_loop", &self->set_loop);
}

#else

/* Opens the object file that contains the function; NULL if it is unknown.  A
 * file that cannot be opened by its name is the program itself. */
static void *open_object(lua_CFunction function) {
  Dl_info info;
  void *address, *object;
  memcpy(&address, &function, sizeof address);
  if (dladdr(address, &info) == 0 || info.dli_fname == NULL) return NULL;
  object = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  return object != NULL ? object : dlopen(NULL, RTLD_LAZY);
}

/* Sets the function pointer at `function` to the symbol `name`, which the
 * object or an object linked with it exports.  If no such symbol exists, sets
 * the pointer to NULL and returns false. */
static bool find_function(void *object, const char *name, void *function) {
  void *address = dlsym(object, name);
  memcpy(function, &address, sizeof address);
  return address != NULL;
}

bool lunado__loader_inspect(lua_CFunction function, lunado_luv_object *self) {
  int (*run)(uv_loop_t *, uv_run_mode);
  const char *(*version)(void);
  void *object = open_object(function);
  bool found;
  if (object == NULL) return false;
  found = find_function(object, "luv_set_loop", &self->set_loop);
  (void)find_function(object, "luv_cfpcall", &self->runner);
  self->same_uv = find_function(object, "uv_run", &run) && run == uv_run;
  self->uv_version =
      find_function(object, "uv_version_string", &version) ? version() : "?";
  (void)dlclose(object); /* it remains loaded, because Lua has opened it */
  return found;
}

#endif

int lunado__loader_refuse(lua_State *L, const lunado_luv_object *object) {
  if (object != NULL)
    lua_pushfstring(L, "it has a libuv of its own (%s beside lunado's %s)",
                    object->uv_version, uv_version_string());
  else
    lua_pushliteral(L, "which libuv it calls cannot be found out");
  return luaL_error(
      L,
      "luv cannot share a loop with lunado: %s; install a luv that calls the "
      "system's libuv: luarocks install luv WITH_SHARED_LIBUV=ON, or the luv "
      "of your distribution",
      lua_tostring(L, -1));
}

/* --- the module ----------------------------------------------------------- */

static bool has_function(lua_State *L, int idx, const char *name) {
  bool found;
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  found = lua_iscfunction(L, -1);
  lua_pop(L, 1);
  return found;
}

bool lunado__loader_ismodule(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  return lua_istable(L, idx) && has_function(L, idx, "run") &&
         has_function(L, idx, "walk") && has_function(L, idx, "loop_close");
}

const char *lunado__loader_pushmodule(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (int i = 0; lua_istable(L, -1) && i < NAMES; i++) {
    lua_pushstring(L, names[i]);
    lua_rawget(L, -2);
    if (lunado__loader_ismodule(L, -1)) {
      lua_remove(L, -2);
      return names[i];
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return NULL;
}

/* --- its loader ----------------------------------------------------------- */

static int load_luv(lua_State *L);

static void push_searchers(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "package");
  if (!lua_istable(L, -1) || lua_getfield(L, -1, "searchers") != LUA_TTABLE)
    luaL_error(L, "'package.searchers' must be a table");
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* Calls the searcher on top.  Replaces it by the loader and the loader's second
 * argument, and returns true; or by the searcher's message, and returns
 * false. */
static bool call_searcher(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_call(L, 1, 2);
  if (lua_isfunction(L, -2) && lua_tocfunction(L, -2) != load_luv) return true;
  lua_pop(L, 1);
  if (lua_type(L, -1) == LUA_TSTRING) {
    lua_pushliteral(L, "\n\t");
    lua_insert(L, -2);
    lua_concat(L, 2);
  } else {
    lua_pop(L, 1);
    lua_pushliteral(L, "");
  }
  return false;
}

/* Pushes the loader that the searchers, except load_luv, find for the name, and
 * its second argument.  Raises the error of require if no loader is found. */
static void push_loader(lua_State *L, const char *name) {
  int message;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_pushliteral(L, "");
  message = lua_gettop(L);
  push_searchers(L);
  for (int i = 1; lua_rawgeti(L, message + 1, i) != LUA_TNIL; i++) {
    if (call_searcher(L, name)) {
      lua_replace(L, message + 1);
      lua_replace(L, message);
      return;
    }
    lua_pushvalue(L, message);
    lua_insert(L, -2);
    lua_concat(L, 2);
    lua_replace(L, message);
  }
  luaL_where(L, 2); /* where require was called */
  lua_pushfstring(L, "%smodule '%s' not found:%s", lua_tostring(L, -1), name,
                  lua_tostring(L, message));
  lua_error(L);
}

/* --- package.preload ------------------------------------------------------ */

static void remove_from(lua_State *L, const char *name) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, name);
    if (lua_tocfunction(L, -1) == load_luv) {
      lua_pushnil(L);
      lua_setfield(L, -3, name);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* (realm, loader, name, second argument) → the module that the loader returns.
 * If it is luv, attaches it to the default loop. */
static int open_luv(lua_State *L) {
  lua_call(L, 2, 1);
  if (lunado__loader_ismodule(L, 2))
    lunado__attachment_complete(L, lua_touserdata(L, 1), 2);
  return 1;
}

/* package.preload[name](name) → luv, if it is attached already; else the module
 * that the searchers find.  If that is luv, it is opened on the default
 * loop. */
static int load_luv(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  if (lunado__attachment_again(L, realm)) return 1;
  push_loader(L, name);
  lunado__attachment_prepare(L, realm, lua_tocfunction(L, 2));
  lua_pushcfunction(L, open_luv);
  lua_pushlightuserdata(L, realm);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 3);
  if (lua_pcall(L, 4, 1, 0) != LUA_OK) {
    lunado__attachment_cancel(L, realm);
    return lua_error(L);
  }
  if (lunado__loader_ismodule(L, 4)) {
    for (int i = 0; i < NAMES; i++)
      if (strcmp(names[i], name) != 0) remove_from(L, names[i]);
  }
  return 1;
}

static void install(lua_State *L, const char *name) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (lua_istable(L, -1)) {
    if (lua_getfield(L, -1, name) == LUA_TNIL) {
      lunado__pushfunction(L, load_luv);
      lua_setfield(L, -3, name);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void lunado__loader_install(lua_State *L, const char *name) {
  for (int i = 0; i < NAMES; i++)
    if (name == NULL || strcmp(name, names[i]) == 0) install(L, names[i]);
}

void lunado__loader_remove(lua_State *L) {
  for (int i = 0; i < NAMES; i++) remove_from(L, names[i]);
}
