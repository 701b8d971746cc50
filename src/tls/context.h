/* SPDX-License-Identifier: MIT */
/* context.h - what many connections share: certificates, rules, sessions. */
#ifndef LUNADO_TLS_CONTEXT_H
#define LUNADO_TLS_CONTEXT_H

#include <lua.h>
#include <openssl/ssl.h>
#include <stdbool.h>

#include "tls/sessions.h"

typedef struct {
  SSL_CTX *ssl;
  bool server_side;
  bool verifies;            /* the peer's certificate */
  lunado_sessions sessions; /* of a client */
  unsigned char *alpn;      /* names, each behind its length; NULL: none */
  unsigned alpn_size;
  unsigned refs; /* the Lua object, and connections */
} lunado_context;

/* Argument `arg`, a context.  [-0, +0, v] */
lunado_context *lunado__context_check(lua_State *L, int arg);

/* Hold a reference, and release it. */
void lunado__context_ref(lunado_context *self);
void lunado__context_unref(lunado_context *self);

/* Makes the class, and adds the functions to the table on top.  [-0, +0, m] */
void lunado__context_open(lua_State *L);

#endif
