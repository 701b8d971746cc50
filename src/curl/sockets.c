/* SPDX-License-Identifier: MIT */
/*
 * sockets.c - the sockets that libcurl waits for, watched by the loop.
 *
 * Invariants: a socket is in client->sockets while its handle is open.  A
 * handle is closed before its socket's number can be another socket's, which
 * libuv would stop watching.  So a handle whose socket libcurl has forgotten
 * stays open only if on_close will be called for the socket.  Some versions of
 * libcurl do not call it for attempts to connect that have failed or lost.
 *
 * Pointers: a socket's `client` is valid while its handle is open, because the
 * client closes the handles before it goes.
 */
#include "curl/sockets.h"

#ifndef _WIN32
#include <unistd.h>
#endif

struct lunado_curl_socket {
  uv_poll_t poll; /* the first field: the handle of the guest */
  lunado_curl_client *client;
  lunado_curl_socket *next; /* in its chain of client->sockets */
  curl_socket_t fd;
  int events; /* that libcurl waits for; libuv's */
  bool waits; /* libcurl waits for the socket */
  bool kept;  /* on_close will be called */
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

/* --- watching ------------------------------------------------------------- */

/* True if the owner of the uv_loop_t has closed the handle. */
static bool is_closing(const lunado_curl_socket *socket) {
  return uv_is_closing((const uv_handle_t *)&socket->poll) != 0;
}

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
  if (is_closing(socket) ||
      uv_poll_start(&socket->poll, socket->events, on_poll) < 0)
    socket->client->failing = true;
}

/* True if the socket is that of a connection which the transfer has left for
 * later ones. */
static bool is_kept(CURL *easy, curl_socket_t fd) {
  curl_socket_t left;
  return curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &left) == CURLE_OK &&
         left == fd;
}

/* libcurl has forgotten the socket, because the transfer does not use it any
 * more. */
static void unwatch(lunado_curl_socket **place, CURL *easy) {
  lunado_curl_socket *socket = *place;
  if (!socket->kept) socket->kept = is_kept(easy, socket->fd);
  if (!socket->kept || is_closing(socket)) {
    close_socket(place);
    return;
  }
  socket->waits = false;
  (void)uv_poll_stop(&socket->poll);
}

/* --- libcurl's callbacks -------------------------------------------------- */

int lunado__sockets_on_change(CURL *easy, curl_socket_t fd, int what,
                              void *client, void *of_socket) {
  lunado_curl_client *self = client;
  lunado_curl_socket **place = place_of(self, fd), *socket = *place;
  (void)of_socket;
  if (what == CURL_POLL_REMOVE) {
    if (socket != NULL) unwatch(place, easy);
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

int lunado__sockets_on_close(void *client, curl_socket_t fd) {
  lunado_curl_socket **place = place_of(client, fd);
  if (*place != NULL) close_socket(place);
#ifdef _WIN32
  return closesocket(fd);
#else
  return close(fd);
#endif
}
