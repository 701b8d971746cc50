/* SPDX-License-Identifier: MIT */
/*
 * context.c - what many connections share: certificates, rules, sessions.
 *
 * Lua has checked the types of the options.  Files are read when the context is
 * made.  Neither a context nor a connection has data with callbacks in
 * OpenSSL's own tables (ex_data), which would be called after this library is
 * unloaded.
 */
#include "tls/context.h"

#include <errno.h>
#include <lauxlib.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tls/connection.h"
#include "tls/failure.h"

#define CLASS "lunado.tls.Context"

/* Everything that a server's clients may resume was made for this program. */
static const unsigned char id_context[] = "lunado";

/* --- references ----------------------------------------------------------- */

void lunado__context_ref(lunado_context *self) { self->refs++; }

void lunado__context_unref(lunado_context *self) {
  if (--self->refs > 0) return;
  lunado__sessions_fini(&self->sessions);
  SSL_CTX_free(self->ssl);
  free(self->alpn);
  free(self);
}

lunado_context *lunado__context_check(lua_State *L, int arg) {
  return *(lunado_context **)luaL_checkudata(L, arg, CLASS);
}

/* --- errors --------------------------------------------------------------- */

/* Returns nil, a table of OpenSSL's error, and the name of the option. */
static int refused(lua_State *L, const char *option) {
  lunado_failure failure = lunado__failure_first("not enough memory");
  lua_pushnil(L);
  lunado__failure_push(L, &failure);
  lua_pushstring(L, option);
  return 3;
}

/* The same with a reason of our own. */
static int refused_because(lua_State *L, const char *option,
                           const char *reason) {
  lunado_failure failure = {.is_set = true, .reason = reason};
  lua_pushnil(L);
  lunado__failure_push(L, &failure);
  lua_pushstring(L, option);
  return 3;
}

/* Returns 0, or why the file cannot be read. */
static int check_file(const char *path, bool *is_folder) {
  struct stat status;
  FILE *file;
  if (stat(path, &status) < 0) return errno;
  *is_folder = S_ISDIR(status.st_mode);
#ifdef _WIN32
  if (*is_folder) return 0; /* which fopen refuses there */
#endif
  file = fopen(path, "r");
  if (file == NULL) return errno;
  (void)fclose(file);
  return 0;
}

/* --- options -------------------------------------------------------------- */

/* Pushes the field of the options, which are at 2; returns it, or NULL. */
static const char *option(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  return lua_tostring(L, -1);
}

/* OpenSSL would ask for the passphrase of a key on the terminal. */
static int no_passphrase(char *room, int size, int writes, void *asked) {
  (void)room;
  (void)size;
  (void)writes;
  *(bool *)asked = true;
  return -1;
}

/* Uses the certificate, with its chain, and the key.  Returns 0, or how many
 * values it has pushed: the error. */
static int use_certificate(lua_State *L, lunado_context *self) {
  const char *certfile = option(L, "certfile");
  const char *keyfile = option(L, "keyfile");
  const char *names[] = {"certfile", "keyfile"};
  const char *paths[] = {certfile, keyfile != NULL ? keyfile : certfile};
  bool asked = false, is_folder = false, used;
  if (certfile == NULL) return 0;
  for (int i = 0; i < 2; i++) {
    int rc = check_file(paths[i], &is_folder);
    if (rc == 0 && is_folder) rc = EISDIR;
    if (rc != 0) return refused_because(L, names[i], strerror(rc));
  }
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(self->ssl, certfile) != 1)
    return refused(L, "certfile");
  SSL_CTX_set_default_passwd_cb(self->ssl, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(self->ssl, &asked);
  used =
      SSL_CTX_use_PrivateKey_file(self->ssl, paths[1], SSL_FILETYPE_PEM) == 1 &&
      SSL_CTX_check_private_key(self->ssl) == 1;
  SSL_CTX_set_default_passwd_cb(self->ssl, NULL);
  SSL_CTX_set_default_passwd_cb_userdata(self->ssl, NULL);
  if (used) return 0;
  if (!asked) return refused(L, keyfile != NULL ? "keyfile" : "certfile");
  ERR_clear_error();
  return refused_because(L, keyfile != NULL ? "keyfile" : "certfile",
                         "the key is encrypted with a passphrase");
}

/* Tells clients which authorities a server trusts. */
static bool name_authorities(lunado_context *self, const char *path) {
  STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
  if (names == NULL) return false;
  SSL_CTX_set_client_CA_list(self->ssl, names);
  return true;
}

static int use_authorities(lua_State *L, lunado_context *self) {
  const char *path = option(L, "ca_certs");
  bool is_folder = false;
  int rc;
  if (path == NULL) {
    if (!self->verifies || self->server_side) return 0;
    ERR_clear_error();
    return SSL_CTX_set_default_verify_paths(self->ssl) == 1
               ? 0
               : refused(L, "ca_certs");
  }
  rc = check_file(path, &is_folder);
  if (rc != 0) return refused_because(L, "ca_certs", strerror(rc));
  ERR_clear_error();
  if (SSL_CTX_load_verify_locations(self->ssl, is_folder ? NULL : path,
                                    is_folder ? path : NULL) != 1 ||
      (self->server_side && !is_folder && !name_authorities(self, path)))
    return refused(L, "ca_certs");
  return 0;
}

static int use_verification(lua_State *L, lunado_context *self) {
  const char *reqs = option(L, "cert_reqs");
  int mode = SSL_VERIFY_NONE;
  self->verifies = strcmp(reqs, "none") != 0;
  if (self->verifies) mode = SSL_VERIFY_PEER;
  if (strcmp(reqs, "required") == 0) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(self->ssl, mode, NULL);
  return 0;
}

static int use_ciphers(lua_State *L, lunado_context *self) {
  const char *list = option(L, "ciphers");
  const char *suites = option(L, "ciphersuites");
  ERR_clear_error();
  if ((list != NULL && SSL_CTX_set_cipher_list(self->ssl, list) != 1) ||
      (suites != NULL && SSL_CTX_set_ciphersuites(self->ssl, suites) != 1))
    return refused(L, "ciphers");
  return 0;
}

static int use_version(lua_State *L, lunado_context *self) {
  static const char *const names[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
  static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
                                 TLS1_3_VERSION};
  const char *name = option(L, "min_version");
  int i = 0;
  while (i < 3 && strcmp(names[i], name) != 0) i++;
  ERR_clear_error();
  if (SSL_CTX_set_min_proto_version(self->ssl, versions[i]) == 1) return 0;
  return refused(L, "min_version");
}

/* --- ALPN ----------------------------------------------------------------- */

/* A server chooses the first of its protocols that the client has offered; if
 * there is none, the handshake fails. */
static int select_protocol(SSL *ssl, const unsigned char **chosen,
                           unsigned char *length, const unsigned char *offered,
                           unsigned size, void *context) {
  const lunado_context *self = context;
  unsigned char *found;
  (void)ssl;
  if (SSL_select_next_proto(&found, length, self->alpn, self->alpn_size,
                            offered, size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

static int use_alpn(lua_State *L, lunado_context *self) {
  size_t size = 0;
  const char *names;
  lua_getfield(L, 2, "alpn");
  names = lua_tolstring(L, -1, &size);
  if (size == 0) return 0;
  self->alpn = malloc(size);
  if (self->alpn == NULL)
    return refused_because(L, "alpn", "not enough memory");
  memcpy(self->alpn, names, size);
  self->alpn_size = (unsigned)size;
  if (self->server_side)
    SSL_CTX_set_alpn_select_cb(self->ssl, select_protocol, self);
  else if (SSL_CTX_set_alpn_protos(self->ssl, self->alpn, self->alpn_size) != 0)
    return refused(L, "alpn");
  return 0;
}

/* --- making --------------------------------------------------------------- */

static void set_defaults(lunado_context *self) {
  (void)SSL_CTX_set_options(self->ssl, SSL_OP_NO_COMPRESSION |
                                           SSL_OP_NO_RENEGOTIATION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
  (void)SSL_CTX_set_mode(self->ssl, SSL_MODE_RELEASE_BUFFERS);
  if (self->server_side) {
    /* Tickets have what a server must know of a session, so it keeps none. */
    (void)SSL_CTX_set_session_cache_mode(self->ssl, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_session_id_context(self->ssl, id_context,
                                         sizeof id_context - 1);
    (void)SSL_CTX_set_dh_auto(self->ssl, 1);
  } else {
    (void)SSL_CTX_set_session_cache_mode(
        self->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(self->ssl, lunado__connection_got_session);
  }
}

/* Pushes a context without an SSL_CTX. */
static lunado_context *push_new(lua_State *L, bool server_side) {
  lunado_context **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CLASS);
  *box = calloc(1, sizeof **box);
  if (*box == NULL) luaL_error(L, "not enough memory");
  (*box)->refs = 1;
  (*box)->server_side = server_side;
  return *box;
}

/* new_context(server_side, options) → a context; or nil, a table of the error,
 * and the option that it is about.  Options: strings certfile, keyfile,
 * ca_certs, cert_reqs, ciphers (up to TLS 1.2), ciphersuites (from TLS 1.3 on),
 * alpn (names, each behind its length) and min_version. */
static int tls_new_context(lua_State *L) {
  static int (*const uses[])(lua_State *, lunado_context *) = {
      use_version, use_ciphers,     use_verification,
      use_alpn,    use_certificate, use_authorities};
  lunado_context *self;
  bool server_side = lua_toboolean(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  self = push_new(L, server_side);
  ERR_clear_error();
  self->ssl =
      SSL_CTX_new(server_side ? TLS_server_method() : TLS_client_method());
  if (self->ssl == NULL) return refused(L, "certfile");
  set_defaults(self);
  for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
    int count = uses[i](L, self);
    if (count > 0) return count;
  }
  lua_settop(L, 3);
  return 1;
}

/* is_context(value) → whether it is one. */
static int tls_is_context(lua_State *L) {
  lua_pushboolean(L, luaL_testudata(L, 1, CLASS) != NULL);
  return 1;
}

/* --- the class ------------------------------------------------------------ */

static int context__gc(lua_State *L) {
  lunado_context **box = lua_touserdata(L, 1);
  if (*box != NULL) lunado__context_unref(*box);
  *box = NULL;
  return 0;
}

static int context__tostring(lua_State *L) {
  const lunado_context *self = lunado__context_check(L, 1);
  lua_pushfstring(L, "SSLContext: %p (%s)", lua_topointer(L, 1),
                  self->server_side ? "server" : "client");
  return 1;
}

/* context:server_side() → whether it is for servers. */
static int context_server_side(lua_State *L) {
  lua_pushboolean(L, lunado__context_check(L, 1)->server_side);
  return 1;
}

/* context:verifies() → whether the peer's certificate is checked. */
static int context_verifies(lua_State *L) {
  lua_pushboolean(L, lunado__context_check(L, 1)->verifies);
  return 1;
}

/* Context: the table of the methods. */
void lunado__context_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"server_side", context_server_side},
                                     {"verifies", context_verifies},
                                     {NULL, NULL}};
  static const luaL_Reg metamethods[] = {
      {"__gc", context__gc}, {"__tostring", context__tostring}, {NULL, NULL}};
  luaL_newmetatable(L, CLASS);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  lua_setfield(L, -3, "Context");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  lua_pushcfunction(L, tls_new_context);
  lua_setfield(L, -2, "new_context");
  lua_pushcfunction(L, tls_is_context);
  lua_setfield(L, -2, "is_context");
}
