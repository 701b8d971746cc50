/* SPDX-License-Identifier: MIT */
/*
 * connection.c - one side of a TLS connection, as a filter of a stream.
 *
 * A connection is used by a Lua object and, from the first call of `start` up
 * to `release`, by the core; the last of both frees it.  OpenSSL's part is
 * freed when the core releases it.  Invariant: `port` is valid while a function
 * of the filter is on the C stack, and only then OpenSSL reads or writes.
 */
#include "tls/connection.h"

#include <lauxlib.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "core/filter.h"
#include "tls/bio.h"
#include "tls/certificate.h"
#include "tls/context.h"
#include "tls/failure.h"

#define CLASS "lunado.tls.Connection"

typedef struct {
  lunado_filter base;
  SSL *ssl;                 /* NULL: it was freed */
  lunado_context *context;  /* of `ssl`, with a reference */
  lunado_filter_port *port; /* of the call under way */
  lunado_failure failure;   /* why it has failed */
  bool in_use;              /* by the core */
  bool has_object;          /* in Lua */
  char *key;                /* for sessions; NULL: they are not kept */
} lunado_connection;

/* --- life cycle ----------------------------------------------------------- */

/* A connection that was closed without close_notify on both sides could not be
 * resumed, as old versions of TLS demand; OpenSSL is told that it had one. */
static void free_ssl(lunado_connection *self) {
  if (self->ssl == NULL) return;
  if (!self->failure.is_set && SSL_is_init_finished(self->ssl))
    SSL_set_shutdown(self->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(self->ssl);
  self->ssl = NULL;
  lunado__context_unref(self->context);
  self->context = NULL;
}

static void free_unused(lunado_connection *self) {
  if (self->in_use || self->has_object) return;
  free_ssl(self);
  free(self->key);
  free(self);
}

static lunado_connection *connection_of(lunado_filter *filter) {
  return (lunado_connection *)(void *)filter;
}

static void release(lunado_filter *filter) {
  lunado_connection *self = connection_of(filter);
  free_ssl(self);
  self->in_use = false;
  free_unused(self);
}

int lunado__connection_got_session(SSL *ssl, SSL_SESSION *session) {
  lunado_connection *self = SSL_get_app_data(ssl);
  if (self->key == NULL) return 0;
  return lunado__sessions_add(&self->context->sessions, self->key, session);
}

/* --- errors --------------------------------------------------------------- */

/* Keeps why the connection has failed: the last error of OpenSSL's. */
static int fail(lunado_connection *self, const char *otherwise) {
  if (self->failure.is_set) return LUNADO_FILTER_FAILED;
  self->failure = lunado__failure_last(otherwise);
  if (ERR_GET_LIB(self->failure.code) == ERR_LIB_SSL &&
      ERR_GET_REASON(self->failure.code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
    self->failure.verify = SSL_get_verify_result(self->ssl);
  return LUNADO_FILTER_FAILED;
}

/* Without an error of OpenSSL's own, the bytes ended too early. */
static const char *too_early(const lunado_connection *self) {
  return self->port->ended ? "unexpected eof while reading"
                           : "not enough memory";
}

/* Begins a call of OpenSSL's.  Its queue of errors belongs to the thread. */
static void enter(lunado_connection *self, lunado_filter_port *port) {
  self->port = port;
  ERR_clear_error();
}

/* --- the filter ----------------------------------------------------------- */

/* The other side may refuse the handshake by ending its side of TLS, for which
 * OpenSSL has no error. */
static int start(lunado_filter *filter, lunado_filter_port *port) {
  lunado_connection *self = connection_of(filter);
  int rc;
  self->in_use = true;
  enter(self, port);
  rc = SSL_do_handshake(self->ssl);
  if (rc == 1) return LUNADO_FILTER_DONE;
  switch (SSL_get_error(self->ssl, rc)) {
  case SSL_ERROR_WANT_READ:
    return LUNADO_FILTER_WAITS;
  case SSL_ERROR_ZERO_RETURN:
    return fail(self, "alert close notify");
  default:
    return fail(self, too_early(self));
  }
}

/* Returns the status of reading after SSL_read has returned n, which is not
 * positive. */
static int status_of(lunado_connection *self, int n) {
  switch (SSL_get_error(self->ssl, n)) {
  case SSL_ERROR_WANT_READ:
    return LUNADO_FILTER_WAITS;
  case SSL_ERROR_ZERO_RETURN:
    return LUNADO_FILTER_ENDED;
  default:
    return fail(self, too_early(self));
  }
}

static size_t read_plain(lunado_filter *filter, lunado_filter_port *port,
                         char *room, size_t size, int *status) {
  lunado_connection *self = connection_of(filter);
  size_t done = 0;
  *status = LUNADO_FILTER_WAITS;
  while (done < size) {
    int most = size - done < INT_MAX ? (int)(size - done) : INT_MAX, n;
    enter(self, port);
    n = SSL_read(self->ssl, room + done, most);
    if (n <= 0) {
      *status = status_of(self, n);
      break;
    }
    done += (size_t)n;
    if (port->left == 0 && !port->ended && SSL_pending(self->ssl) == 0) break;
  }
  return done;
}

static int write_plain(lunado_filter *filter, lunado_filter_port *port,
                       const char *data, size_t n) {
  lunado_connection *self = connection_of(filter);
  enter(self, port);
  if (SSL_write(self->ssl, data, (int)n) == (int)n) return LUNADO_FILTER_DONE;
  return fail(self, "not enough memory");
}

static int end(lunado_filter *filter, lunado_filter_port *port) {
  lunado_connection *self = connection_of(filter);
  if (self->failure.is_set) return LUNADO_FILTER_FAILED;
  enter(self, port);
  if (SSL_shutdown(self->ssl) >= 0) return LUNADO_FILTER_DONE;
  return fail(self, "not enough memory");
}

static const lunado_filter_ops ops = {.abi = LUNADO_FILTER_INTERFACE,
                                      .start = start,
                                      .read = read_plain,
                                      .write = write_plain,
                                      .end = end,
                                      .release = release};

/* --- making --------------------------------------------------------------- */

static lunado_connection *check(lua_State *L) {
  return *(lunado_connection **)luaL_checkudata(L, 1, CLASS);
}

/* Pushes a connection without OpenSSL's part. */
static lunado_connection *push_new(lua_State *L) {
  lunado_connection **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CLASS);
  *box = calloc(1, sizeof **box);
  if (*box == NULL) luaL_error(L, "not enough memory");
  (*box)->base.ops = &ops;
  (*box)->has_object = true;
  return *box;
}

/* Makes OpenSSL's part.  Returns false if there is no memory. */
static bool make_ssl(lunado_connection *self, lunado_context *context) {
  BIO *bio;
  ERR_clear_error();
  self->ssl = SSL_new(context->ssl);
  if (self->ssl == NULL) return false;
  self->context = context;
  lunado__context_ref(context);
  bio = lunado__bio_new(&self->port);
  if (bio == NULL) return false;
  SSL_set_bio(self->ssl, bio, bio);
  if (SSL_set_app_data(self->ssl, self) != 1) return false;
  if (context->server_side)
    SSL_set_accept_state(self->ssl);
  else
    SSL_set_connect_state(self->ssl);
  return true;
}

/* Only certificates that name the host in the right field are good. */
static bool expect_host(SSL *ssl, const char *host, bool is_ip) {
  X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
  if (is_ip) return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
  X509_VERIFY_PARAM_set_hostflags(param,
                                  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

/* is_address(text) → whether it is an IP address. */
static int tls_is_address(lua_State *L) {
  ASN1_OCTET_STRING *address = a2i_IPADDRESS(luaL_checkstring(L, 1));
  lua_pushboolean(L, address != NULL);
  ASN1_OCTET_STRING_free(address);
  ERR_clear_error();
  return 1;
}

/* Uses a session for the key, if there is one. */
static bool use_session(lunado_connection *self, const char *key) {
  SSL_SESSION *session;
  self->key = malloc(strlen(key) + 1);
  if (self->key == NULL) return false;
  memcpy(self->key, key, strlen(key) + 1);
  session = lunado__sessions_take(&self->context->sessions, key);
  if (session == NULL) return true;
  (void)SSL_set_session(self->ssl, session);
  SSL_SESSION_free(session);
  return true;
}

/* Prepares the client for a host: the name that it sends and checks, and the
 * sessions that it has. */
static bool prepare(lunado_connection *self, const char *host, bool is_ip,
                    const char *key) {
  if (host == NULL) return true;
  if (!is_ip && SSL_set_tlsext_host_name(self->ssl, host) != 1) return false;
  if (self->context->verifies && !expect_host(self->ssl, host, is_ip))
    return false;
  return key == NULL || use_session(self, key);
}

/* new_connection(context [, host [, is_ip [, key]]]) → a connection, of a
 * client to the host; or nil and a table of OpenSSL's error.  `key` names the
 * server for sessions. */
static int tls_new_connection(lua_State *L) {
  lunado_context *context = lunado__context_check(L, 1);
  const char *host = luaL_optstring(L, 2, NULL);
  const char *key = luaL_optstring(L, 4, NULL);
  bool is_ip = lua_toboolean(L, 3);
  lunado_connection *self = push_new(L);
  lunado_failure failure;
  if (make_ssl(self, context) && prepare(self, host, is_ip, key)) return 1;
  failure = lunado__failure_last("not enough memory");
  lua_pushnil(L);
  lunado__failure_push(L, &failure);
  return 2;
}

/* --- methods -------------------------------------------------------------- */

/* connection:filter() → its address, for the stream. */
static int connection_filter(lua_State *L) {
  lua_pushlightuserdata(L, &check(L)->base);
  return 1;
}

/* connection:error() → a table of the error, or nil. */
static int connection_error(lua_State *L) {
  const lunado_connection *self = check(L);
  if (!self->failure.is_set) return 0;
  lunado__failure_push(L, &self->failure);
  return 1;
}

/* connection:alpn() → the protocol that was agreed upon, or nil. */
static int connection_alpn(lua_State *L) {
  const lunado_connection *self = check(L);
  const unsigned char *name = NULL;
  unsigned length = 0;
  if (self->ssl != NULL) SSL_get0_alpn_selected(self->ssl, &name, &length);
  if (length > 0)
    lua_pushlstring(L, (const char *)name, length);
  else
    lua_pushnil(L);
  return 1;
}

/* connection:certificate() → a table, false if the peer has sent none; nil if
 * the connection is closed. */
static int connection_certificate(lua_State *L) {
  const lunado_connection *self = check(L);
  if (self->ssl == NULL) return 0;
  lunado__certificate_push(L, self->ssl);
  return 1;
}

/* connection:info() → a table { version =, cipher =, session_reused =,
 * server_name = }, or nil if it is closed. */
static int connection_info(lua_State *L) {
  const lunado_connection *self = check(L);
  if (self->ssl == NULL) return 0;
  lua_createtable(L, 0, 4);
  lua_pushstring(L, SSL_get_version(self->ssl));
  lua_setfield(L, -2, "version");
  lua_pushstring(L, SSL_get_cipher_name(self->ssl));
  lua_setfield(L, -2, "cipher");
  lua_pushboolean(L, SSL_session_reused(self->ssl));
  lua_setfield(L, -2, "session_reused");
  lua_pushstring(L, SSL_get_servername(self->ssl, TLSEXT_NAMETYPE_host_name));
  lua_setfield(L, -2, "server_name");
  return 1;
}

/* connection:update_key(): sends a new key with the next write, for specs. */
static int connection_update_key(lua_State *L) {
  const lunado_connection *self = check(L);
  ERR_clear_error();
  lua_pushboolean(L, self->ssl != NULL &&
                         SSL_key_update(self->ssl, SSL_KEY_UPDATE_REQUESTED));
  return 1;
}

static int connection__gc(lua_State *L) {
  lunado_connection **box = lua_touserdata(L, 1), *self = *box;
  *box = NULL;
  if (self == NULL) return 0;
  self->has_object = false;
  free_unused(self);
  return 0;
}

/* Connection: the table of the methods, to which Lua adds some. */
void lunado__connection_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"filter", connection_filter},
                                     {"error", connection_error},
                                     {"alpn", connection_alpn},
                                     {"certificate", connection_certificate},
                                     {"info", connection_info},
                                     {"update_key", connection_update_key},
                                     {NULL, NULL}};
  luaL_newmetatable(L, CLASS);
  lua_pushcfunction(L, connection__gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  luaL_newlib(L, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__index");
  lua_setfield(L, -3, "Connection");
  lua_pop(L, 1);
  lua_pushcfunction(L, tls_new_connection);
  lua_setfield(L, -2, "new_connection");
  lua_pushcfunction(L, tls_is_address);
  lua_setfield(L, -2, "is_address");
}
