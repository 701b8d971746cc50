/* SPDX-License-Identifier: MIT */
/* listen.c - streams that accept connections. */
#include "core/listen.h"

#include "core/handle.h"
#include "core/loop.h"
#include "core/system.h"

int lunado_stream_bind(lunado_stream *stream, const struct sockaddr *address,
                       bool v6_only) {
  return uv_tcp_bind((uv_tcp_t *)stream->uv, address,
                     v6_only ? UV_TCP_IPV6ONLY : 0);
}

int lunado_stream_bind_pipe(lunado_stream *stream, const char *path) {
  if (!lunado__stream_is_path(path)) return UV_ENAMETOOLONG;
  return uv_pipe_bind((uv_pipe_t *)stream->uv, path);
}

#ifdef _WIN32

/* Closes the connections that the owner has not accepted.  If there is no
 * memory for that, they wait until the next one is closed. */
static void close_unaccepted(lunado_stream *stream) {
  lunado_stream *connection;
  while (lunado_stream_accept(stream, &connection) == 0)
    lunado_stream_close(connection);
}

#else

/* Closes a connection that the owner has not accepted.  uv_accept would need a
 * handle, for which there may be no memory; and libuv accepts no other
 * connection while it has this one.  All versions of libuv have the field. */
static void close_unaccepted(lunado_stream *stream) {
  int fd = stream->uv->accepted_fd;
  stream->has_incoming = false;
  stream->uv->accepted_fd = -1;
  if (fd >= 0) lunado_system_close_socket(fd);
}

#endif

static void call_incoming(lunado_stream *stream, int status) {
  lunado_loop *loop;
  if (stream == NULL || stream->closed) return;
  loop = lunado__stream_enter(stream);
  stream->has_incoming = status == 0;
  stream->events->incoming(stream, status);
  if (stream->has_incoming && !stream->closed) close_unaccepted(stream);
  lunado__stream_leave(loop, stream);
}

static void on_connection(uv_stream_t *handle, int status) {
  call_incoming(lunado_container_of(handle, lunado_stream, own), status);
}

static void on_connection_adopted(uv_stream_t *handle, int status) {
  call_incoming(lunado__handle_adopter(handle), status);
}

int lunado_stream_listen(lunado_stream *stream, int backlog) {
  int rc;
  if (lunado_stream_is_closing(stream)) return UV_ECANCELED;
  rc = uv_listen(stream->uv, backlog,
                 stream->adopted ? on_connection_adopted : on_connection);
  if (rc == 0) lunado_stream_keep_alive(stream, true);
  return rc;
}

int lunado_stream_accept(lunado_stream *listening, lunado_stream **stream) {
  int rc = lunado_stream_new(stream, listening->loop, listening->kind);
  if (rc < 0) return rc;
  listening->has_incoming = false;
  rc = uv_accept(listening->uv, (*stream)->uv);
  if (rc == 0) {
    (*stream)->accepted = true;
    (*stream)->loop->accepted++;
    return 0;
  }
  lunado_stream_close(*stream);
  *stream = NULL;
  return rc;
}
