/* SPDX-License-Identifier: MIT */
/*
 * module.c - the module lunado.curl, libcurl's transfers on lunado's loop.
 *
 * lunado.httpclient is built on it.  It uses of lunado what any C module may
 * use: lunado.h.
 */
#ifndef _WIN32
#include <dlfcn.h>
#endif

#include "curl/client.h"
#include "curl/imports.h"
#include "curl/transfer.h"

/* Keeps this library in memory: libcurl and the library that it uses for TLS
 * have functions that run at the end of the process, and Lua unloads modules
 * when a state closes. */
static void stay_loaded(void *address) {
#ifdef _WIN32
  HMODULE self;
  (void)GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                               GET_MODULE_HANDLE_EX_FLAG_PIN,
                           address, &self);
#else
  Dl_info info;
  if (dladdr(address, &info) != 0 && info.dli_fname != NULL)
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
#endif
}

/* version() → libcurl's version and its features, such as
 * "libcurl/7.88.1 OpenSSL/3.0.11". */
static int curl_version_text(lua_State *L) {
  lua_pushstring(L, curl_version());
  return 1;
}

/* Raises if this module was built for another lunado. */
static void check_lunado(lua_State *L) {
  if (lunado_version() != LUNADO_VERSION_NUM)
    luaL_error(L, "lunado/curl.so is of lunado " LUNADO_VERSION);
}

/* is_future(x): whether x is a Future of the lunado whose functions this module
 * calls. */
static int curl_is_future(lua_State *L) {
  lua_pushboolean(L, lunado_isfuture(L, 1));
  return 1;
}

static const luaL_Reg functions[] = {{"client", lunado__client_new},
                                     {"version", curl_version_text},
                                     {"is_future", curl_is_future},
                                     {NULL, NULL}};

LUNADO_EXPORT int luaopen_lunado_curl(lua_State *L);

int luaopen_lunado_curl(lua_State *L) {
  static const char own = 0;
  lunado__imports_find(L);
  check_lunado(L);
  stay_loaded((void *)&own);
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return luaL_error(L, "libcurl cannot be initialized");
  lunado__client_open(L);
  lunado__transfer_open(L);
  luaL_newlib(L, functions);
  return 1;
}
