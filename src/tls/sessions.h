/* SPDX-License-Identifier: MIT */
/*
 * sessions.h - sessions of a client, which shorten its next handshake with the
 * same server.
 *
 * A server is known by a key, a string.  Sessions of TLS 1.3 are used once, so
 * that nobody can tell by them that two connections come from one client; so a
 * few are kept for each server.  The servers that were not used for longest are
 * forgotten.
 */
#ifndef LUNADO_TLS_SESSIONS_H
#define LUNADO_TLS_SESSIONS_H

#include <openssl/ssl.h>

typedef struct lunado_sessions_server lunado_sessions_server;

typedef struct {
  lunado_sessions_server *first; /* the one used last */
  unsigned count;
} lunado_sessions;

/* Returns a session for the key, of which the caller gets a reference; NULL if
 * there is none. */
SSL_SESSION *lunado__sessions_take(lunado_sessions *self, const char *key);

/* Adds a session, whose reference the store gets, if it returns true. */
int lunado__sessions_add(lunado_sessions *self, const char *key,
                         SSL_SESSION *session);

/* Drops all sessions. */
void lunado__sessions_fini(lunado_sessions *self);

#endif
