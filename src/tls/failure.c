/* SPDX-License-Identifier: MIT */
/* failure.c - OpenSSL's errors, kept until Lua asks for them. */
#include "tls/failure.h"

#include <openssl/err.h>
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

/* For errors of the system OpenSSL has no text. */
static const char *reason_of(const lunado_failure *failure) {
  const char *reason = failure->reason;
  if (reason == NULL) reason = ERR_reason_error_string(failure->code);
  if (reason == NULL && ERR_GET_LIB(failure->code) == ERR_LIB_SYS)
    reason = strerror(ERR_GET_REASON(failure->code));
  return reason != NULL ? reason : "unknown error";
}

void lunado__failure_push(lua_State *L, const lunado_failure *failure) {
  const char *library = ERR_lib_error_string(failure->code);
  lua_createtable(L, 0, 5);
  lua_pushstring(L, reason_of(failure));
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
