/* SPDX-License-Identifier: MIT */
/* failure.c - OpenSSL's errors, kept until Lua asks for them. */
#include "tls/failure.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>

/* SSL_R_RECORD_LAYER_FAILURE, which OpenSSL 3.2 and later put after the error
 * that says what was wrong with a record. */
#define RECORD_LAYER_FAILURE 313

static lunado_failure make(unsigned long code, const char *otherwise) {
  lunado_failure self = {.is_set = true, .code = code};
  if (code == 0) self.reason = otherwise;
  ERR_clear_error();
  return self;
}

lunado_failure lunado__failure_first(const char *otherwise) {
  return make(ERR_peek_error(), otherwise);
}

lunado_failure lunado__failure_last(const char *otherwise) {
  unsigned long code = ERR_peek_last_error();
  if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
      ERR_GET_REASON(code) == RECORD_LAYER_FAILURE)
    code = ERR_peek_error();
  return make(code, otherwise);
}

/* Pushes the reason of an error for which OpenSSL has no text: one of the
 * system's, an alert of the other side's that came later than this OpenSSL's
 * list of texts, or else the number, as OpenSSL prints it. */
static void push_untold(lua_State *L, unsigned long code) {
  int library = ERR_GET_LIB(code), reason = ERR_GET_REASON(code);
  const char *alert = "unknown";
  if (library == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
      reason <= SSL_AD_REASON_OFFSET + UCHAR_MAX)
    alert = SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET);
  if (library == ERR_LIB_SYS)
    lua_pushstring(L, strerror(reason));
  else if (strcmp(alert, "unknown") != 0)
    lua_pushfstring(L, "tlsv1 alert %s", alert);
  else
    lua_pushfstring(L, "reason(%d)", reason);
}

static void push_reason(lua_State *L, const lunado_failure *failure) {
  const char *reason = failure->reason;
  if (reason == NULL) reason = ERR_reason_error_string(failure->code);
  if (reason != NULL)
    lua_pushstring(L, reason);
  else
    push_untold(L, failure->code);
}

void lunado__failure_push(lua_State *L, const lunado_failure *failure) {
  const char *library = ERR_lib_error_string(failure->code);
  lua_createtable(L, 0, 5);
  push_reason(L, failure);
  lua_setfield(L, -2, "reason");
  if (failure->code != 0) {
    lua_pushinteger(L, (lua_Integer)failure->code);
    lua_setfield(L, -2, "code");
    lua_pushstring(L, library); /* nil, if it is NULL */
    lua_setfield(L, -2, "library");
  }
  if (failure->verify != 0) {
    lua_pushinteger(L, failure->verify);
    lua_setfield(L, -2, "verify_code");
    lua_pushstring(L, X509_verify_cert_error_string(failure->verify));
    lua_setfield(L, -2, "verify_message");
  }
}
