/* SPDX-License-Identifier: MIT */
/*
 * imports.c - the functions of lunado.h, found on Windows.
 *
 * A DLL of Windows says by the name of a file where its functions come from.
 * lunado's have no such name: they are in the host, or in core.dll, as many
 * modules of Lua are called.  So they are looked up in the file that contains
 * the functions of the loaded lunado.core.
 */
#include "curl/imports.h"

#ifndef _WIN32

void lunado__imports_find(lua_State *L) { (void)L; }

#else

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "lunado.h"

typedef void (*any_function)(void);

/* They stay valid: this module stays in memory, and so does their file. */
static struct {
  HMODULE file; /* that contains them; NULL: not found yet */
  int (*version)(void);
  int (*isfuture)(lua_State *, int);
  lunado_guest *(*newguest)(lua_State *, void (*)(lua_State *, void *), void *);
  uv_loop_t *(*getloop)(const lunado_guest *);
  void *(*newhandle)(lunado_guest *, size_t);
  void (*closehandle)(void *);
  int (*call)(lunado_guest *, lua_CFunction, void *);
  void (*leave)(lunado_guest *);
} imports;

static SRWLOCK lock = SRWLOCK_INIT;

/* Returns the file that contains lunado.core, which stays in memory from now
 * on; NULL if there is none. */
static HMODULE find_file(lua_State *L) {
  HMODULE file = NULL;
  lua_CFunction function = NULL;
  const void *address;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "lunado.core") == LUA_TTABLE) {
    lua_getfield(L, -1, "await");
    function = lua_tocfunction(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
  memcpy(&address, &function, sizeof address);
  if (function != NULL)
    (void)GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                 GET_MODULE_HANDLE_EX_FLAG_PIN,
                             address, &file);
  return file;
}

/* Sets the function pointer at `function`.  False: the file has no such one. */
static bool import(HMODULE file, const char *name, void *function) {
  any_function found = (any_function)GetProcAddress(file, name);
  memcpy(function, &found, sizeof found);
  return found != NULL;
}

static bool import_all(HMODULE file) {
  return import(file, "lunado_version", &imports.version) &&
         import(file, "lunado_isfuture", &imports.isfuture) &&
         import(file, "lunado_newguest", &imports.newguest) &&
         import(file, "lunado_guest_getloop", &imports.getloop) &&
         import(file, "lunado_guest_newhandle", &imports.newhandle) &&
         import(file, "lunado_guest_closehandle", &imports.closehandle) &&
         import(file, "lunado_guest_call", &imports.call) &&
         import(file, "lunado_guest_leave", &imports.leave);
}

void lunado__imports_find(lua_State *L) {
  HMODULE file = find_file(L);
  bool found;
  if (file == NULL) luaL_error(L, "lunado.core is not loaded");
  AcquireSRWLockExclusive(&lock);
  if (imports.file == NULL && import_all(file)) imports.file = file;
  found = imports.file == file;
  ReleaseSRWLockExclusive(&lock);
  if (!found)
    luaL_error(L, "lunado/curl.dll is of lunado " LUNADO_VERSION
                  ", or is used by another lunado in this process");
}

int lunado_version(void) { return imports.version(); }

int lunado_isfuture(lua_State *L, int idx) { return imports.isfuture(L, idx); }

lunado_guest *lunado_newguest(lua_State *L,
                              void (*on_close)(lua_State *L, void *ud),
                              void *ud) {
  return imports.newguest(L, on_close, ud);
}

uv_loop_t *lunado_guest_getloop(const lunado_guest *guest) {
  return imports.getloop(guest);
}

void *lunado_guest_newhandle(lunado_guest *guest, size_t size) {
  return imports.newhandle(guest, size);
}

void lunado_guest_closehandle(void *handle) { imports.closehandle(handle); }

int lunado_guest_call(lunado_guest *guest, lua_CFunction fn, void *ud) {
  return imports.call(guest, fn, ud);
}

void lunado_guest_leave(lunado_guest *guest) { imports.leave(guest); }

#endif
