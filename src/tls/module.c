/* SPDX-License-Identifier: MIT */
/*
 * module.c - lunado/tls.so: TLS by OpenSSL, as a filter of lunado's streams.
 *
 * lua/lunado/tls.lua loads it, and checks the options.  It links nothing of
 * lunado; all that both know of each other is core/filter.h.
 */
#include <lauxlib.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "core/filter.h"
#include "tls/connection.h"
#include "tls/context.h"

#if defined(__GNUC__) && !defined(_WIN32)
__attribute__((visibility("default")))
#elif defined(_WIN32)
__declspec(dllexport)
#endif
int luaopen_lunado_tls(lua_State *L);

/* → a table: filter_interface, the version of core/filter.h; library, OpenSSL's
 * name and version; new_context, new_connection, Connection. */
int luaopen_lunado_tls(lua_State *L) {
  (void)OPENSSL_init_ssl(0, NULL);
  lua_newtable(L);
  lua_pushinteger(L, LUNADO_FILTER_INTERFACE);
  lua_setfield(L, -2, "filter_interface");
  lua_pushstring(L, OpenSSL_version(OPENSSL_VERSION));
  lua_setfield(L, -2, "library");
  lunado__context_open(L);
  lunado__connection_open(L);
  return 1;
}
