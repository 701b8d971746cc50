/* SPDX-License-Identifier: MIT */
/*
 * stream.c - streams on uv_stream_t.
 *
 * Invariants: an open stream is in loop->streams and holds a reference to the
 * loop; its own handle is marked as lunado's, an adopted one as adopted by it
 * (handle.h).
 */
#include "core/stream.h"

#include <string.h>

#include "core/alloc.h"
#include "core/filter.h"
#include "core/handle.h"
#include "core/loop.h"
#include "core/poll.h"
#include "core/system.h"
#include "core/write.h"

/* The size of the loop's buffer for reads, and the most that one read gets. */
#define READ_BUFFER ((size_t)256 * 1024)

/* Every read may get at least this much. */
#define LEAST_READ ((size_t)64 * 1024)

/* If at least this much is missing, libuv reads into `in` itself. */
#define LEAST_DIRECT ((size_t)128 * 1024)

static uv_handle_t *handle_of(const lunado_stream *stream) {
  return (uv_handle_t *)stream->uv;
}

void lunado__stream_ref(lunado_stream *stream) { stream->refs++; }

void lunado__stream_unref(lunado_stream *stream) {
  lunado_loop *loop = stream->loop;
  if (--stream->refs > 0) return;
  if (stream->filtering != NULL) lunado__filter_free(stream);
  lunado__free(stream);
  lunado_loop_unref(loop);
}

lunado_loop *lunado__stream_enter(lunado_stream *stream) {
  lunado__stream_ref(stream);
  lunado__loop_enter(stream->loop);
  return stream->loop;
}

void lunado__stream_leave(lunado_loop *loop, lunado_stream *stream) {
  lunado__stream_unref(stream);
  lunado__loop_leave(loop);
}

/* --- life cycle ---------------------------------------------------------- */

static int init(lunado_stream **result, lunado_loop *loop, size_t own_size) {
  lunado_stream *stream;
  *result = NULL;
  if (loop->closed || lunado_loop_taken(loop)) return UV_ECANCELED;
  stream = lunado__alloc(sizeof *stream + own_size);
  if (stream == NULL) return UV_ENOMEM;
  if (lunado__handle_reserve() < 0) {
    lunado__free(stream);
    return UV_ENOMEM;
  }
  lunado_link_init(&stream->link);
  stream->loop = loop;
  stream->refs = 1;
  *result = stream;
  return 0;
}

/* Adds the open stream that init() has made to its loop. */
static void add_to_loop(lunado_stream *stream) {
  lunado_list_append(&stream->loop->streams, &stream->link);
  lunado_loop_ref(stream->loop);
}

/* Completes the stream that init() has made: `rc` says whether libuv has opened
 * its handle. */
static int opened(lunado_stream **result, int rc) {
  lunado_stream *stream = *result;
  if (rc < 0) {
    lunado__handle_unreserve();
    lunado__free(stream);
    *result = NULL;
    return rc;
  }
  stream->uv = (uv_stream_t *)stream->own;
  uv_unref(handle_of(stream));
  lunado__handle_mark(stream->own);
  add_to_loop(stream);
  return 0;
}

int lunado_stream_new(lunado_stream **result, lunado_loop *loop,
                      lunado_stream_kind kind) {
  bool is_tcp = kind == LUNADO_STREAM_TCP;
  int rc = init(result, loop, is_tcp ? sizeof(uv_tcp_t) : sizeof(uv_pipe_t));
  if (rc < 0) return rc;
  (*result)->kind = (uint8_t)kind;
  rc = is_tcp ? uv_tcp_init(loop->uv, &(*result)->own->tcp)
              : uv_pipe_init(loop->uv, &(*result)->own->pipe, 0);
  return opened(result, rc);
}

int lunado_stream_new_tty(lunado_stream **result, lunado_loop *loop, int fd,
                          bool readable) {
  int rc = init(result, loop, sizeof(uv_tty_t));
  if (rc < 0) return rc;
  (*result)->kind = LUNADO_STREAM_TTY;
  rc = uv_tty_init(loop->uv, &(*result)->own->tty, fd, readable);
  return opened(result, rc);
}

int lunado_stream_new_open(lunado_stream **result, lunado_loop *loop,
                           lunado_stream_kind kind, int fd) {
  int rc = lunado_stream_new(result, loop, kind);
  if (rc < 0) return rc;
  if (kind == LUNADO_STREAM_TCP)
    rc = uv_tcp_open(&(*result)->own->tcp, (uv_os_sock_t)fd);
  else
    rc = uv_pipe_open(&(*result)->own->pipe, fd);
  if (rc == 0) return 0;
  lunado_stream_close(*result);
  *result = NULL;
  return rc;
}

int lunado_stream_adopt(lunado_stream **result, lunado_loop *loop,
                        uv_stream_t *handle) {
  lunado_stream *former = lunado__handle_adopter(handle);
  int rc;
  *result = NULL;
  if (uv_is_closing((uv_handle_t *)handle)) return UV_EBADF;
  rc = init(result, loop, 0);
  if (rc < 0) return rc;
  if (former != NULL) lunado_stream_read_stop(former);
  (*result)->adopted = true;
  (*result)->uv = handle;
  (*result)->kind = handle->type == UV_TCP          ? LUNADO_STREAM_TCP
                    : handle->type == UV_NAMED_PIPE ? LUNADO_STREAM_PIPE
                                                    : LUNADO_STREAM_TTY;
  uv_unref((uv_handle_t *)handle);
  lunado__handle_adopt(*result);
  add_to_loop(*result);
  return 0;
}

int lunado__stream_new_file(lunado_stream **result, lunado_loop *loop) {
  int rc = init(result, loop, sizeof(lunado_file));
  if (rc < 0) return rc;
  lunado__handle_unreserve();
  (*result)->kind = LUNADO_STREAM_FILE;
  add_to_loop(*result);
  return 0;
}

/* The handle is closed or given back: calls the owner's `closed`. */
static void call_closed(lunado_stream *stream) {
  stream->uv = NULL;
  if (stream->owner != NULL) stream->events->closed(stream);
  stream->in = NULL;
  lunado__stream_unref(stream);
}

void lunado__stream_closed(lunado_stream *stream) {
  lunado_loop *loop = lunado__stream_enter(stream);
  call_closed(stream);
  lunado__stream_leave(loop, stream);
}

static void on_closed(uv_handle_t *handle) {
  lunado__handle_closed(handle);
  lunado__handle_unmark(handle);
  lunado__stream_closed(lunado_container_of(handle, lunado_stream, own));
}

static void unadopt(lunado_stream *stream) {
  if (lunado__handle_adopter(stream->uv) == stream) {
    if (!uv_is_closing(handle_of(stream))) lunado_stream_read_stop(stream);
    lunado__handle_unadopt(stream->uv);
  }
  call_closed(stream);
}

void lunado_stream_close(lunado_stream *stream) {
  if (stream->closed) return;
  if (stream->filtering != NULL) lunado__filter_close(stream);
  stream->closed = true;
  if (stream->accepted) stream->loop->accepted--;
  lunado_link_remove(&stream->link);
  lunado_stream_drop_writes(stream);
  stream->reading = stream->reading && stream->adopted;
  if (stream->adopted)
    unadopt(stream);
  else if (lunado__stream_is_file(stream))
    lunado__file_close(stream);
  else
    lunado__handle_close(stream->uv, on_closed);
}

int lunado_stream_reset_at_close(lunado_stream *stream) {
  if (lunado_stream_is_closing(stream)) return UV_EBADF;
  return lunado_system_reset_at_close((uv_tcp_t *)stream->uv);
}

void lunado__streams_close(lunado_loop *loop) {
  while (!lunado_list_empty(&loop->streams))
    lunado_stream_close(
        lunado_container_of(loop->streams.next, lunado_stream, link));
}

bool lunado_stream_is_closing(const lunado_stream *stream) {
  return stream->closed ||
         (!lunado__stream_is_file(stream) && uv_is_closing(handle_of(stream)));
}

bool lunado_stream_is_readable(const lunado_stream *stream) {
  if (lunado_stream_is_closing(stream)) return false;
  if (lunado__stream_is_file(stream))
    return stream->own->file.flags & LUNADO_FILE_READABLE;
  return uv_is_readable(stream->uv);
}

int lunado_stream_reset_error(lunado_stream *stream) {
  uv_buf_t nothing = uv_buf_init(NULL, 0);
  if (stream->kind != LUNADO_STREAM_TCP || lunado_stream_is_closing(stream))
    return 0;
  return uv_try_write(stream->uv, &nothing, 1) == UV_ECONNRESET ? UV_ECONNRESET
                                                                : 0;
}

bool lunado_stream_is_writable(const lunado_stream *stream) {
  if (lunado_stream_is_closing(stream)) return false;
  if (lunado__stream_is_file(stream))
    return stream->own->file.flags & LUNADO_FILE_WRITABLE;
  return uv_is_writable(stream->uv);
}

bool lunado_stream_can_half_close(const lunado_stream *stream) {
  if (stream->filtering != NULL) return true;
  switch (stream->kind) {
  case LUNADO_STREAM_TTY:
    return false;
  case LUNADO_STREAM_PIPE:
    return lunado_system_is_socket((uv_pipe_t *)stream->uv);
  default:
    return true;
  }
}

void lunado_stream_keep_alive(lunado_stream *stream, bool yes) {
  if (stream->closed || lunado__stream_is_file(stream)) return;
  if (yes)
    uv_ref(handle_of(stream));
  else
    uv_unref(handle_of(stream));
}

/* --- reading ------------------------------------------------------------- */

/* How much the next read may get. */
static size_t read_size(const lunado_stream *stream) {
  if (stream->missing <= LEAST_READ) return LEAST_READ;
  return stream->missing < READ_BUFFER ? stream->missing : READ_BUFFER;
}

/* Sets *buf to room in `in` itself, for the missing bytes. */
static bool reserve_in(lunado_stream *stream, uv_buf_t *buf) {
  char *room = lunado_bytes_reserve(stream->in, READ_BUFFER);
  size_t size;
  if (room == NULL) return false;
  size = stream->in->capacity - stream->in->end;
  if (size > stream->missing) size = stream->missing;
  *buf = uv_buf_init(room, (unsigned)(size < UINT32_MAX ? size : READ_BUFFER));
  return true;
}

/* Sets *buf to the buffer for the next read.  If there is no memory its size is
 * 0; libuv then reads nothing and reports UV_ENOBUFS. */
static void choose_buffer(lunado_stream *stream, uv_buf_t *buf) {
  lunado_loop *loop = stream->loop;
  if (stream->missing >= LEAST_DIRECT && stream->missing != SIZE_MAX &&
      stream->filtering == NULL && reserve_in(stream, buf))
    return;
  if (loop->read_buffer == NULL)
    loop->read_buffer = lunado__realloc(NULL, READ_BUFFER);
  *buf =
      uv_buf_init(loop->read_buffer,
                  loop->read_buffer != NULL ? (unsigned)read_size(stream) : 0);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  choose_buffer(lunado_container_of(handle, lunado_stream, own), buf);
}

static void on_alloc_adopted(uv_handle_t *handle, size_t suggested,
                             uv_buf_t *buf) {
  (void)suggested;
  choose_buffer(lunado__handle_adopter(handle), buf);
}

/* Adds n bytes at `data` to `in`.  reserve_in may have put them behind its last
 * byte already.  Returns false if there is no memory. */
static bool receive(lunado_stream *stream, char *data, size_t n) {
  lunado_bytes *in = stream->in;
  char *room;
  if (in->data != NULL && data == in->data + in->end) {
    lunado_bytes_commit(in, n);
    return true;
  }
  if (lunado_bytes_size(in) == 0) {
    lunado_bytes_lend(in, data, n);
    return true;
  }
  room = lunado_bytes_reserve(in, n);
  if (room == NULL) return false;
  memcpy(room, data, n);
  lunado_bytes_commit(in, n);
  return true;
}

void lunado__stream_end_reading(lunado_stream *stream, int error) {
  lunado_stream_read_stop(stream);
  if (!stream->closed) stream->events->ended(stream, error);
}

void lunado__stream_receive(lunado_stream *stream, ssize_t n, char *data) {
  lunado_loop *loop;
  if (n == 0 || stream->closed) return;
  loop = lunado__stream_enter(stream);
  if (stream->filtering != NULL) {
    lunado__filter_receive(stream, n, data);
  } else if (n < 0) {
    lunado__stream_end_reading(stream, n == UV_ENOBUFS ? UV_ENOMEM : (int)n);
  } else if (!receive(stream, data, (size_t)n)) {
    lunado__stream_end_reading(stream, UV_ENOMEM);
  } else {
    stream->events->arrived(stream);
    if (stream->in != NULL && !lunado_bytes_copy_lent(stream->in))
      lunado__stream_end_reading(stream, UV_ENOMEM);
  }
  lunado__stream_leave(loop, stream);
}

static void on_read(uv_stream_t *handle, ssize_t nread, const uv_buf_t *buf) {
  lunado__stream_receive(lunado_container_of(handle, lunado_stream, own), nread,
                         buf->base);
}

static void on_read_adopted(uv_stream_t *handle, ssize_t nread,
                            const uv_buf_t *buf) {
  lunado__stream_receive(lunado__handle_adopter(handle), nread, buf->base);
}

int lunado_stream_read(lunado_stream *stream, size_t missing) {
  int rc;
  stream->missing = missing;
  if (stream->reading) return 0;
  if (lunado_stream_is_closing(stream)) return UV_ECANCELED;
  if (lunado__stream_is_file(stream)) {
    stream->reading = true;
    lunado__file_pump(stream);
    return 0;
  }
  if (stream->adopted && lunado__handle_adopter(stream->uv) != stream)
    return UV_EBUSY;
  rc = lunado_loop_check_handle(stream->loop, handle_of(stream));
  if (rc < 0) return rc;
  rc = uv_read_start(stream->uv, stream->adopted ? on_alloc_adopted : on_alloc,
                     stream->adopted ? on_read_adopted : on_read);
  stream->reading = rc == 0;
  return rc;
}

void lunado_stream_read_stop(lunado_stream *stream) {
  stream->missing = 0;
  if (!stream->reading) return;
  stream->reading = false;
  if (!lunado__stream_is_file(stream) && (!stream->closed || stream->adopted))
    (void)uv_read_stop(stream->uv);
}

/* --- connecting ---------------------------------------------------------- */

typedef struct {
  uv_connect_t request;
  lunado_stream *stream; /* the request holds a reference */
} connect_request;

static void on_connected(uv_connect_t *request, int status) {
  connect_request *self =
      lunado_container_of(request, connect_request, request);
  lunado_stream *stream = self->stream;
  lunado_loop *loop = lunado__stream_enter(stream);
  lunado__free(self);
  loop->requests--;
  stream->connecting = false;
  if (!stream->closed) {
    stream->events->connected(stream, status);
    lunado__stream_send_next(stream);
  }
  lunado__stream_unref(stream);
  lunado__stream_leave(loop, stream);
}

static connect_request *new_connect_request(lunado_stream *stream) {
  connect_request *self = lunado__alloc(sizeof *self);
  if (self != NULL) self->stream = stream;
  return self;
}

static void mark_connecting(lunado_stream *stream) {
  stream->connecting = true;
  stream->loop->requests++;
  lunado__stream_ref(stream);
}

int lunado_stream_connect(lunado_stream *stream,
                          const struct sockaddr *address) {
  connect_request *self;
  int rc;
  if (lunado_stream_is_closing(stream)) return UV_ECANCELED;
  self = new_connect_request(stream);
  if (self == NULL) return UV_ENOMEM;
  rc = uv_tcp_connect(&self->request, (uv_tcp_t *)stream->uv, address,
                      on_connected);
  if (rc < 0)
    lunado__free(self);
  else
    mark_connecting(stream);
  return rc;
}

bool lunado__stream_is_path(const char *path) {
  return strlen(path) <= lunado_system_longest_path();
}

int lunado_stream_connect_pipe(lunado_stream *stream, const char *path) {
  connect_request *self;
  if (lunado_stream_is_closing(stream)) return UV_ECANCELED;
  if (!lunado__stream_is_path(path)) return UV_ENAMETOOLONG;
  self = new_connect_request(stream);
  if (self == NULL) return UV_ENOMEM;
  mark_connecting(stream);
  uv_pipe_connect(&self->request, (uv_pipe_t *)stream->uv, path, on_connected);
  return 0;
}
