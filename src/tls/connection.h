/* SPDX-License-Identifier: MIT */
/* connection.h - one side of a TLS connection, as a filter of a stream. */
#ifndef LUNADO_TLS_CONNECTION_H
#define LUNADO_TLS_CONNECTION_H

#include <lua.h>
#include <openssl/ssl.h>

/* OpenSSL's callback: a server has given the client a session. */
int lunado__connection_got_session(SSL *ssl, SSL_SESSION *session);

/* Makes the class, and adds the functions to the table on top.  [-0, +0, m] */
void lunado__connection_open(lua_State *L);

#endif
