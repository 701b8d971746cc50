/* SPDX-License-Identifier: MIT */
/*
 * certificate.c - a certificate as a Lua table.
 *
 * Any call of Lua's may raise, so what OpenSSL has allocated is kept in a
 * userdata, `holder`, whose finalizer frees it.
 */
#include "tls/certificate.h"

#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#include <ws2tcpip.h>
#undef X509_NAME /* OpenSSL's type, and a macro of Windows' headers */
#define timegm _mkgmtime
#else
#include <arpa/inet.h>
#endif

#define CLASS "lunado.tls.certificate"

typedef struct {
  X509 *certificate;
  GENERAL_NAMES *names;
  BIO *bio;
  unsigned char *text;
  BIGNUM *number;
  char *digits;
} holder;

static int holder__gc(lua_State *L) {
  holder *self = lua_touserdata(L, 1);
  X509_free(self->certificate);
  GENERAL_NAMES_free(self->names);
  BIO_free(self->bio);
  OPENSSL_free(self->text);
  BN_free(self->number);
  OPENSSL_free(self->digits);
  memset(self, 0, sizeof *self);
  return 0;
}

static holder *push_holder(lua_State *L) {
  holder *self = lua_newuserdatauv(L, sizeof *self, 0);
  memset(self, 0, sizeof *self);
  if (luaL_newmetatable(L, CLASS)) {
    lua_pushcfunction(L, holder__gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return self;
}

static void check_memory(lua_State *L, bool had) {
  if (had) return;
  ERR_clear_error();
  luaL_error(L, "not enough memory");
}

/* Pushes the string as UTF-8. */
static void push_string(lua_State *L, holder *self, const ASN1_STRING *string) {
  int length = ASN1_STRING_to_UTF8(&self->text, string);
  if (length < 0) ERR_clear_error(); /* it is not what it claims to be */
  lua_pushlstring(L, length < 0 ? "" : (const char *)self->text,
                  length < 0 ? 0 : (size_t)length);
  OPENSSL_free(self->text);
  self->text = NULL;
}

/* Pushes a list of the parts of the name, such as "CN=localhost"; the first
 * value of each field is also found by the field's name. */
static void push_name(lua_State *L, holder *self, const X509_NAME *name) {
  int count = X509_NAME_entry_count(name);
  lua_createtable(L, count, count);
  for (int i = 0; i < count; i++) {
    const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
    const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(entry);
    char field[80];
    int nid = OBJ_obj2nid(object);
    if (nid != NID_undef)
      lua_pushstring(L, OBJ_nid2sn(nid));
    else if (OBJ_obj2txt(field, sizeof field, object, 1) > 0)
      lua_pushstring(L, field);
    else
      lua_pushliteral(L, "?");
    push_string(L, self, X509_NAME_ENTRY_get_data(entry));
    lua_pushfstring(L, "%s=", lua_tostring(L, -2));
    lua_pushvalue(L, -2);
    lua_concat(L, 2);
    lua_rawseti(L, -4, i + 1);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -4) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_rawset(L, -3);
    } else {
      lua_pop(L, 3);
    }
  }
}

/* Pushes the time in seconds since 1970; nil if there is no such time. */
static void push_time(lua_State *L, const ASN1_TIME *when) {
  struct tm tm;
  if (ASN1_TIME_to_tm(when, &tm) == 1)
    lua_pushinteger(L, (lua_Integer)timegm(&tm));
  else
    lua_pushnil(L);
}

static void push_ip(lua_State *L, const ASN1_OCTET_STRING *address) {
  char text[INET6_ADDRSTRLEN] = "";
  int length = ASN1_STRING_length(address);
  if (length == 4 || length == 16)
    (void)inet_ntop(length == 4 ? AF_INET : AF_INET6,
                    ASN1_STRING_get0_data(address), text, sizeof text);
  lua_pushfstring(L, "IP:%s", text);
}

/* Pushes an alternative name, such as "DNS:localhost"; or pushes nothing and
 * returns false if it is of another kind. */
static bool push_alternative(lua_State *L, const GENERAL_NAME *name) {
  const ASN1_STRING *text = name->d.ia5;
  const char *kind = name->type == GEN_DNS     ? "DNS:"
                     : name->type == GEN_EMAIL ? "email:"
                     : name->type == GEN_URI   ? "URI:"
                                               : NULL;
  if (name->type == GEN_IPADD) {
    push_ip(L, name->d.iPAddress);
    return true;
  }
  if (kind == NULL) return false;
  lua_pushstring(L, kind);
  lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(text),
                  (size_t)ASN1_STRING_length(text));
  lua_concat(L, 2);
  return true;
}

static void push_alternatives(lua_State *L, holder *self) {
  lua_Integer n = 0;
  self->names =
      X509_get_ext_d2i(self->certificate, NID_subject_alt_name, NULL, NULL);
  lua_newtable(L);
  for (int i = 0; i < sk_GENERAL_NAME_num(self->names); i++)
    if (push_alternative(L, sk_GENERAL_NAME_value(self->names, i)))
      lua_rawseti(L, -2, ++n);
  ERR_clear_error();
}

/* Pushes bytes in hexadecimal digits. */
static void push_hex(lua_State *L, const unsigned char *bytes, size_t n) {
  static const char digits[] = "0123456789abcdef";
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < n; i++) {
    luaL_addchar(&buffer, digits[bytes[i] >> 4]);
    luaL_addchar(&buffer, digits[bytes[i] & 15]);
  }
  luaL_pushresult(&buffer);
}

static void push_fingerprint(lua_State *L, const holder *self) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  check_memory(
      L, X509_digest(self->certificate, EVP_sha256(), digest, &length) == 1);
  push_hex(L, digest, length);
}

static void push_serial(lua_State *L, holder *self) {
  self->number =
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(self->certificate), NULL);
  if (self->number != NULL) self->digits = BN_bn2hex(self->number);
  check_memory(L, self->digits != NULL);
  lua_pushstring(L, self->digits);
}

static void push_pem(lua_State *L, holder *self) {
  char *text;
  long length;
  self->bio = BIO_new(BIO_s_mem());
  check_memory(L, self->bio != NULL &&
                      PEM_write_bio_X509(self->bio, self->certificate) == 1);
  length = BIO_get_mem_data(self->bio, &text);
  lua_pushlstring(L, text, (size_t)length);
}

void lunado__certificate_push(lua_State *L, const SSL *ssl) {
  holder *self = push_holder(L);
  int top = lua_gettop(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  ERR_clear_error();
  self->certificate = SSL_get_peer_certificate(ssl);
  if (self->certificate == NULL) {
    lua_pushboolean(L, 0);
    lua_replace(L, top);
    return;
  }
  lua_createtable(L, 0, 8);
  push_name(L, self, X509_get_subject_name(self->certificate));
  lua_setfield(L, -2, "subject");
  push_name(L, self, X509_get_issuer_name(self->certificate));
  lua_setfield(L, -2, "issuer");
  push_serial(L, self);
  lua_setfield(L, -2, "serial");
  push_time(L, X509_get0_notBefore(self->certificate));
  lua_setfield(L, -2, "not_before");
  push_time(L, X509_get0_notAfter(self->certificate));
  lua_setfield(L, -2, "not_after");
  push_alternatives(L, self);
  lua_setfield(L, -2, "subject_alt_names");
  push_fingerprint(L, self);
  lua_setfield(L, -2, "fingerprint");
  push_pem(L, self);
  lua_setfield(L, -2, "pem");
  lua_replace(L, top);
}
