/* SPDX-License-Identifier: MIT */
/*
 * sockets.c - the sockets that libcurl waits for, watched by the loop.
 *
 * Invariant: a socket is in client->sockets while its handle is open.
 *
 * Pointers: a socket's `client` is valid while its handle is open, because the
 * client closes the handles before it goes.
 */
#include "curl/sockets.h"

struct lunado_curl_socket {
  uv_poll_t poll; /* the first field: the handle of the guest */
  lunado_curl_client *client;
  lunado_curl_socket *next; /* in its chain of client->sockets */
  curl_socket_t fd;
  int events; /* that libcurl waits for; libuv's */
  bool waits; /* libcurl waits for the socket */
};

/* --- the table ------------------------------------------------------------ */

/* Returns where the pointer to the socket is, or belongs. */
static lunado_curl_socket **place_of(lunado_curl_client *self,
                                     curl_socket_t fd) {
  lunado_curl_socket **at = &self->sockets[(size_t)fd % LUNADO_CURL_CHAINS];
  while (*at != NULL && (*at)->fd != fd) at = &(*at)->next;
  return at;
}

/* Adds a socket at its place.  Returns NULL if there is no handle for it. */
static lunado_curl_socket *add(lunado_curl_client *self, curl_socket_t fd,
                               lunado_curl_socket **place) {
  lunado_curl_socket *socket =
      lunado_guest_newhandle(self->guest, sizeof *socket);
  if (socket == NULL) return NULL;
  socket->client = self;
  socket->fd = fd;
  if (uv_poll_init_socket(lunado_guest_getloop(self->guest), &socket->poll,
                          fd) < 0) {
    lunado_guest_closehandle(socket);
    return NULL;
  }
  *place = socket;
  return socket;
}

static void close_socket(lunado_curl_socket **place) {
  lunado_curl_socket *socket = *place;
  *place = socket->next;
  socket->waits = false;
  lunado_guest_closehandle(socket);
}

void lunado__sockets_close(lunado_curl_client *client) {
  for (int i = 0; i < LUNADO_CURL_CHAINS; i++)
    while (client->sockets[i] != NULL) close_socket(&client->sockets[i]);
}

/* --- watching ------------------------------------------------------------- */

static void watch(lunado_curl_socket *socket);

static void on_poll(uv_poll_t *poll, int status, int events) {
  lunado_curl_socket *socket = (lunado_curl_socket *)poll;
  lunado_curl_client *self = socket->client;
  int mask = 0, running;
  if (events & UV_READABLE) mask |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) mask |= CURL_CSELECT_OUT;
  /* libcurl gives up at once if it is told of an error alone; when it reads, it
   * finds what the peer has sent before. */
  if (status < 0) mask |= CURL_CSELECT_ERR | CURL_CSELECT_IN | CURL_CSELECT_OUT;
  /* libuv frees the socket's memory on a later pass, so it is valid here. */
  (void)curl_multi_socket_action(self->multi, socket->fd, mask, &running);
  if (status < 0 && socket->waits) watch(socket); /* libuv has stopped */
  lunado__client_after(self);
}

static void watch(lunado_curl_socket *socket) {
  uv_handle_t *handle = (uv_handle_t *)&socket->poll;
  if (uv_is_closing(handle) || /* by the owner of the uv_loop_t */
      uv_poll_start(&socket->poll, socket->events, on_poll) < 0)
    socket->client->failing = true;
}

static void unwatch(lunado_curl_socket **place) {
#ifdef _WIN32
  close_socket(place); /* the handle has more of the socket than its number */
#else
  (*place)->waits = false;
  (void)uv_poll_stop(&(*place)->poll);
#endif
}

int lunado__sockets_on_change(CURL *easy, curl_socket_t fd, int what,
                              void *client, void *of_socket) {
  lunado_curl_client *self = client;
  lunado_curl_socket **place = place_of(self, fd), *socket = *place;
  (void)easy;
  (void)of_socket;
  if (what == CURL_POLL_REMOVE) {
    if (socket != NULL) unwatch(place);
    return 0;
  }
  if (socket == NULL) socket = add(self, fd, place);
  if (socket == NULL) {
    self->failing = true;
    lunado__client_tell_later(self);
    return 0;
  }
  socket->waits = true;
  socket->events = (what & CURL_POLL_IN ? UV_READABLE : 0) |
                   (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  watch(socket);
  return 0;
}
