/* SPDX-License-Identifier: MIT */
/*
 * options.c - the options of a transfer, from a Lua table to libcurl.
 *
 * The fields of the table:
 *   url, method, user_agent, interface, ca_certs, client_key, client_cert,
 *   username, password, proxy, proxy_username, proxy_password   strings
 *   headers                 list of lines, as for CURLOPT_HTTPHEADER
 *   body                    string: the body of the request
 *   length                  its length if it is sent in pieces; -1: unknown
 *   connect_timeout, timeout   milliseconds, more than 0; absent: none
 *   proxy_port              integer
 *   max_body, max_head      bytes
 *   auth                    "basic" or "digest"
 *   follows, streams, verify, decompress   booleans
 */
#include "curl/options.h"

#include <limits.h>
#include <string.h>

static void check(lua_State *L, const char *name, CURLcode rc) {
  if (rc != CURLE_OK) luaL_error(L, "%s: %s", name, curl_easy_strerror(rc));
}

/* Of options that cannot fail. */
#define SET(easy, option, value) ((void)curl_easy_setopt(easy, option, value))

/* Returns the field as a string, which the table holds; NULL if it is nil. */
static const char *text(lua_State *L, int idx, const char *name) {
  const char *value;
  lua_getfield(L, idx, name);
  value = lua_tostring(L, -1);
  lua_pop(L, 1);
  return value;
}

static bool flag(lua_State *L, int idx, const char *name) {
  bool value;
  lua_getfield(L, idx, name);
  value = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return value;
}

static lua_Integer integer(lua_State *L, int idx, const char *name,
                           lua_Integer otherwise) {
  lua_Integer value = otherwise;
  if (lua_getfield(L, idx, name) != LUA_TNIL) value = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return value;
}

static void set_text(lua_State *L, int idx, CURL *easy, CURLoption option,
                     const char *name) {
  const char *value = text(L, idx, name);
  if (value != NULL) check(L, name, curl_easy_setopt(easy, option, value));
}

/* --- the request ---------------------------------------------------------- */

static void set_headers(lua_State *L, int idx, lunado_curl_transfer *self) {
  lua_Integer n;
  lua_getfield(L, idx, "headers");
  n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
  for (lua_Integer i = 1; i <= n; i++) {
    struct curl_slist *list;
    lua_rawgeti(L, -1, i);
    list = curl_slist_append(self->headers, lua_tostring(L, -1));
    if (list == NULL) luaL_error(L, "not enough memory");
    self->headers = list;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  SET(self->easy, CURLOPT_HTTPHEADER, self->headers);
}

/* The body of the request is in a string, or is sent in pieces. */
static void set_body(lua_State *L, int idx, lunado_curl_transfer *self) {
  size_t n;
  const char *body;
  lua_getfield(L, idx, "body");
  body = lua_tolstring(L, -1, &n);
  lua_pop(L, 1);
  SET(self->easy, CURLOPT_POST, 1L);
  if (body != NULL) {
    SET(self->easy, CURLOPT_POSTFIELDS, body);
    SET(self->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
    return;
  }
  self->uploads = true;
  SET(self->easy, CURLOPT_READFUNCTION, lunado__transfer_on_send);
  SET(self->easy, CURLOPT_READDATA, self);
  SET(self->easy, CURLOPT_POSTFIELDS, NULL);
  SET(self->easy, CURLOPT_POSTFIELDSIZE_LARGE,
      (curl_off_t)integer(L, idx, "length", -1));
}

static bool has(lua_State *L, int idx, const char *name) {
  bool result = lua_getfield(L, idx, name) != LUA_TNIL;
  lua_pop(L, 1);
  return result;
}

/* libcurl has an option for the method GET and one for HEAD.  POST is any
 * request with a body, and CUSTOMREQUEST changes nothing but the word. */
static void set_method(lua_State *L, int idx, lunado_curl_transfer *self) {
  const char *method = text(L, idx, "method");
  if (has(L, idx, "body") || has(L, idx, "length"))
    set_body(L, idx, self);
  else if (strcmp(method, "HEAD") == 0)
    SET(self->easy, CURLOPT_NOBODY, 1L);
  else
    SET(self->easy, CURLOPT_HTTPGET, 1L);
  if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
      strcmp(method, "POST") != 0)
    set_text(L, idx, self->easy, CURLOPT_CUSTOMREQUEST, "method");
  else if (strcmp(method, "POST") == 0 && !has(L, idx, "body") &&
           !has(L, idx, "length"))
    set_text(L, idx, self->easy, CURLOPT_CUSTOMREQUEST, "method");
}

static void set_credentials(lua_State *L, int idx, lunado_curl_transfer *self) {
  const char *mode = text(L, idx, "auth");
  bool digest = mode != NULL && strcmp(mode, "digest") == 0;
  self->authenticates = digest;
  set_text(L, idx, self->easy, CURLOPT_USERNAME, "username");
  set_text(L, idx, self->easy, CURLOPT_PASSWORD, "password");
  SET(self->easy, CURLOPT_HTTPAUTH,
      digest ? (long)CURLAUTH_DIGEST : (long)CURLAUTH_BASIC);
}

/* --- the connection ------------------------------------------------------- */

/* An empty PROXY keeps libcurl from asking the environment for proxies, and an
 * empty NOPROXY from asking it for exceptions. */
static void set_proxy(lua_State *L, int idx, CURL *easy) {
  const char *proxy = text(L, idx, "proxy");
  check(L, "proxy_host",
        curl_easy_setopt(easy, CURLOPT_PROXY, proxy != NULL ? proxy : ""));
  check(L, "proxy_host", curl_easy_setopt(easy, CURLOPT_NOPROXY, ""));
  if (proxy == NULL) return;
  SET(easy, CURLOPT_PROXYPORT, (long)integer(L, idx, "proxy_port", 0));
  SET(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set_text(L, idx, easy, CURLOPT_PROXYUSERNAME, "proxy_username");
  set_text(L, idx, easy, CURLOPT_PROXYPASSWORD, "proxy_password");
}

static void set_tls(lua_State *L, int idx, CURL *easy) {
  bool verify = flag(L, idx, "verify");
  SET(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  SET(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  set_text(L, idx, easy, CURLOPT_CAINFO, "ca_certs");
  set_text(L, idx, easy, CURLOPT_SSLKEY, "client_key");
  set_text(L, idx, easy, CURLOPT_SSLCERT, "client_cert");
}

/* libcurl takes 0 for its own default. */
static void set_times(lua_State *L, int idx, CURL *easy) {
  lua_Integer connect = integer(L, idx, "connect_timeout", INT_MAX);
  SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect);
  SET(easy, CURLOPT_TIMEOUT_MS, (long)integer(L, idx, "timeout", 0));
}

/* The contract allows http and https alone. */
static void set_protocols(lua_State *L, CURL *easy) {
  CURLcode rc;
#if LIBCURL_VERSION_NUM >= 0x075500
  rc = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  rc = curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                        (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  check(L, "url", rc);
}

static void set_callbacks(lunado_curl_transfer *self) {
  CURL *easy = self->easy;
  SET(easy, CURLOPT_PRIVATE, self);
  SET(easy, CURLOPT_ERRORBUFFER, self->error);
  SET(easy, CURLOPT_HEADERFUNCTION, lunado__transfer_on_header);
  SET(easy, CURLOPT_HEADERDATA, self);
  SET(easy, CURLOPT_WRITEFUNCTION, lunado__transfer_on_body);
  SET(easy, CURLOPT_WRITEDATA, self);
}

void lunado__options_set(lua_State *L, int idx, lunado_curl_transfer *self) {
  CURL *easy = self->easy;
  set_callbacks(self);
  set_protocols(L, easy);
  SET(easy, CURLOPT_NOSIGNAL, 1L);
  SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
  set_text(L, idx, easy, CURLOPT_URL, "url");
  set_method(L, idx, self);
  set_headers(L, idx, self);
  set_text(L, idx, easy, CURLOPT_USERAGENT, "user_agent");
  set_text(L, idx, easy, CURLOPT_INTERFACE, "interface");
  if (flag(L, idx, "decompress"))
    check(L, "decompress_response",
          curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate"));
  set_credentials(L, idx, self);
  set_proxy(L, idx, easy);
  set_tls(L, idx, easy);
  set_times(L, idx, easy);
  self->follows = flag(L, idx, "follows");
  self->streams = flag(L, idx, "streams");
  self->max_body = (curl_off_t)integer(L, idx, "max_body", -1);
  self->max_head = (size_t)integer(L, idx, "max_head", LUA_MAXINTEGER);
}
