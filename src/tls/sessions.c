/* SPDX-License-Identifier: MIT */
/* sessions.c - sessions of a client. */
#include "tls/sessions.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The most servers, and sessions for each. */
#define SERVERS 256
#define EACH 4

struct lunado_sessions_server {
  lunado_sessions_server *next;
  SSL_SESSION *sessions[EACH]; /* the newest is the last one */
  unsigned count;
  char key[];
};

static void free_server(lunado_sessions_server *server) {
  for (unsigned i = 0; i < server->count; i++)
    SSL_SESSION_free(server->sessions[i]);
  free(server);
}

/* Takes the server out of the list. */
static lunado_sessions_server *take_server(lunado_sessions *self,
                                           const char *key) {
  lunado_sessions_server **link = &self->first, *server;
  while (*link != NULL && strcmp((*link)->key, key) != 0) link = &(*link)->next;
  server = *link;
  if (server == NULL) return NULL;
  *link = server->next;
  self->count--;
  return server;
}

static void put_first(lunado_sessions *self, lunado_sessions_server *server) {
  server->next = self->first;
  self->first = server;
  self->count++;
}

static void drop_last(lunado_sessions *self) {
  lunado_sessions_server **link = &self->first;
  while ((*link)->next != NULL) link = &(*link)->next;
  free_server(*link);
  *link = NULL;
  self->count--;
}

static lunado_sessions_server *new_server(const char *key) {
  size_t size = strlen(key) + 1;
  lunado_sessions_server *server = calloc(1, sizeof *server + size);
  if (server != NULL) memcpy(server->key, key, size);
  return server;
}

/* Returns when the session began; with OpenSSL 3.3 or later, in any year. */
static time_t began(const SSL_SESSION *session) {
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
  return SSL_SESSION_get_time_ex(session);
#else
  return (time_t)SSL_SESSION_get_time(session);
#endif
}

static int is_usable(const SSL_SESSION *session) {
  time_t end = began(session) + (time_t)SSL_SESSION_get_timeout(session);
  return SSL_SESSION_is_resumable(session) && time(NULL) < end;
}

/* Takes the newest session of the server, or keeps it as well. */
static SSL_SESSION *newest(lunado_sessions_server *server) {
  while (server->count > 0) {
    SSL_SESSION *session = server->sessions[server->count - 1];
    if (is_usable(session)) {
      if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
        server->count--;
      else if (!SSL_SESSION_up_ref(session))
        return NULL;
      return session;
    }
    SSL_SESSION_free(session);
    server->count--;
  }
  return NULL;
}

SSL_SESSION *lunado__sessions_take(lunado_sessions *self, const char *key) {
  lunado_sessions_server *server = take_server(self, key);
  SSL_SESSION *session;
  if (server == NULL) return NULL;
  session = newest(server);
  if (server->count > 0)
    put_first(self, server);
  else
    free_server(server);
  return session;
}

int lunado__sessions_add(lunado_sessions *self, const char *key,
                         SSL_SESSION *session) {
  lunado_sessions_server *server = take_server(self, key);
  if (server == NULL) server = new_server(key);
  if (server == NULL) return 0;
  if (server->count == EACH) {
    SSL_SESSION_free(server->sessions[0]);
    server->count--;
    memmove(server->sessions, server->sessions + 1,
            server->count * sizeof server->sessions[0]);
  }
  server->sessions[server->count++] = session;
  put_first(self, server);
  if (self->count > SERVERS) drop_last(self);
  return 1;
}

void lunado__sessions_fini(lunado_sessions *self) {
  while (self->count > 0) drop_last(self);
}
