/* SPDX-License-Identifier: MIT */
/* certificate.h - a certificate as a Lua table. */
#ifndef LUNADO_TLS_CERTIFICATE_H
#define LUNADO_TLS_CERTIFICATE_H

#include <lua.h>
#include <openssl/ssl.h>

/* Pushes the peer's certificate: { subject =, issuer =, serial =, not_before =,
 * not_after =, subject_alt_names =, fingerprint =, pem = }; false if the peer
 * has none.  [-0, +1, v] */
void lunado__certificate_push(lua_State *L, const SSL *ssl);

#endif
