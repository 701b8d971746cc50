/* SPDX-License-Identifier: MIT */
/*
 * options.c - the options of a transfer, from a table of Lua's to libcurl.
 *
 * The fields of the table are those of HTTPRequest, checked:
 *   url, method, user_agent, network_interface, ca_certs, client_key,
 *   client_cert, auth_username, auth_password, proxy_host, proxy_username,
 *   proxy_password          strings
 *   body                    string: the body of the request
 *   length                  its length if it is sent in pieces; -1: unknown
 *   proxy_port              integer
 *   max_body_size, max_header_size   bytes
 *   auth_mode               "basic" or "digest"
 *   streaming_callback      anything but nil: the body is given in pieces
 *   follow_redirects, validate_cert, decompress_response   booleans
 */
#include "curl/options.h"

#include <limits.h>
#include <string.h>

static void check(lua_State *L, const char *name, CURLcode rc) {
  if (rc != CURLE_OK) luaL_error(L, "%s: %s", name, curl_easy_strerror(rc));
}

/* How often libcurl may repeat a request for the sake of digest. */
#define DIGESTS 4L

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

static void set_headers(lua_State *L, int lines, lunado_curl_transfer *self) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, lines);
  for (lua_Integer i = 1; i <= n; i++) {
    struct curl_slist *list;
    lua_rawgeti(L, lines, i);
    list = curl_slist_append(self->headers, lua_tostring(L, -1));
    if (list == NULL) luaL_error(L, "not enough memory");
    self->headers = list;
    lua_pop(L, 1);
  }
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
  const char *mode = text(L, idx, "auth_mode");
  bool digest = mode != NULL && strcmp(mode, "digest") == 0;
  self->authenticates = digest;
  set_text(L, idx, self->easy, CURLOPT_USERNAME, "auth_username");
  set_text(L, idx, self->easy, CURLOPT_PASSWORD, "auth_password");
  SET(self->easy, CURLOPT_HTTPAUTH,
      digest ? (long)CURLAUTH_DIGEST : (long)CURLAUTH_BASIC);
}

/* After "417 Expectation Failed" libcurl repeats the request, with the same
 * headers and so perhaps for ever.  It takes that for a redirect, of which it
 * may follow none, but for those that digest needs. */
static void set_repeats(const lunado_curl_transfer *self) {
  SET(self->easy, CURLOPT_MAXREDIRS, self->authenticates ? DIGESTS : 0L);
}

/* --- the connection ------------------------------------------------------- */

/* An empty PROXY keeps libcurl from asking the environment for proxies, and an
 * empty NOPROXY from asking it for exceptions. */
static void set_proxy(lua_State *L, int idx, CURL *easy) {
  const char *proxy = text(L, idx, "proxy_host");
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
  bool verify = flag(L, idx, "validate_cert");
  SET(easy, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  SET(easy, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  set_text(L, idx, easy, CURLOPT_CAINFO, "ca_certs");
  set_text(L, idx, easy, CURLOPT_SSLKEY, "client_key");
  set_text(L, idx, easy, CURLOPT_SSLCERT, "client_cert");
}

/* libcurl takes 0 for its own default. */
static void set_times(CURL *easy, lua_Integer connect, lua_Integer all) {
  SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect > 0 ? connect : INT_MAX));
  SET(easy, CURLOPT_TIMEOUT_MS, (long)all);
}

/* Before 7.78, libcurl would send a URL with spaces as it is; later it refuses
 * it, as all versions refuse a URL without a host. */
static void set_url(lua_State *L, int idx, CURL *easy) {
  const char *url = text(L, idx, "url");
  if (url != NULL && strchr(url, ' ') != NULL) url = "http://";
  check(L, "url", curl_easy_setopt(easy, CURLOPT_URL, url));
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
  set_url(L, idx, easy);
  set_method(L, idx, self);
  set_headers(L, idx + 1, self);
  set_times(easy, lua_tointeger(L, idx + 2), lua_tointeger(L, idx + 3));
  set_text(L, idx, easy, CURLOPT_USERAGENT, "user_agent");
  set_text(L, idx, easy, CURLOPT_INTERFACE, "network_interface");
  if (flag(L, idx, "decompress_response"))
    check(L, "decompress_response",
          curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate"));
  set_credentials(L, idx, self);
  set_repeats(self);
  set_proxy(L, idx, easy);
  set_tls(L, idx, easy);
  self->follows = flag(L, idx, "follow_redirects");
  self->streams = has(L, idx, "streaming_callback");
  self->max_body = (curl_off_t)integer(L, idx, "max_body_size", -1);
  self->max_head = (size_t)integer(L, idx, "max_header_size", LUA_MAXINTEGER);
}
