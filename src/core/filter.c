/* SPDX-License-Identifier: MIT */
/*
 * filter.c - the writes and reads of a stream that has a filter.
 *
 * Invariants: libuv has at most one write of raw bytes, `sending`, while
 * `busy`; raw bytes that follow wait in `out`.  The first write of the stream
 * is not libuv's (`stream->sending` is false), but for those that were queued
 * before the filter came.  No event is called while the filter's functions are
 * on the C stack.  Each event may close the stream, which releases the filter.
 */
#include "core/filter.h"

#include <string.h>
#include <uv.h>

#include "core/alloc.h"
#include "core/loop.h"
#include "core/stream.h"
#include "core/system.h"
#include "core/write.h"

/* The most plain bytes that are filtered before the system gets them. */
#define CHUNK ((size_t)64 * 1024)

/* The most bytes that a filter is given at once.  Shorter buffers of one write
 * are joined up to this size. */
#define PIECE ((size_t)16 * 1024)

/* Room for what a filter adds to a piece. */
#define OVERHEAD ((size_t)128)

/* The least room in `in` for filtered bytes. */
#define LEAST_ROOM ((size_t)512)

/* A position in the buffers of a write. */
typedef struct {
  unsigned at;   /* index of the buffer */
  size_t offset; /* in that buffer */
} position;

struct lunado_filtering {
  lunado_filter_port port;
  lunado_filter *filter; /* NULL: it was released */
  lunado_stream *stream;
  lunado_bytes out;     /* raw bytes that libuv does not have */
  lunado_bytes sending; /* those that it has, while `busy` */
  uv_write_t request;   /* holds a reference to the stream, while `busy` */
  position first;       /* in the first write */
  unsigned passing;     /* writes that were queued before the filter came */
  int error;            /* why nothing can be sent any more; 0: it can */
  int ended;            /* what `ended` was called with; 0: not yet */
  bool started;         /* the handshake has ended well */
  bool end_sent;
  bool busy;
  bool pumping;   /* lunado__filter_pump is on the C stack */
  bool no_memory; /* the filter fails for want of memory */
};

static lunado_filtering *of(const lunado_stream *stream) {
  return stream->filtering;
}

static bool add_output(lunado_filter_port *port, const void *data, size_t n) {
  lunado_filtering *self = lunado_container_of(port, lunado_filtering, port);
  char *room;
  if (n == 0) return true;
  room = lunado_bytes_reserve(&self->out, n);
  self->no_memory = room == NULL;
  if (self->no_memory) return false;
  memcpy(room, data, n);
  lunado_bytes_commit(&self->out, n);
  return true;
}

/* The error for a filter that has failed. */
static int failure(const lunado_filtering *self) {
  return self->no_memory ? UV_ENOMEM : LUNADO_FILTER_ERROR;
}

/* --- sending raw bytes ---------------------------------------------------- */

static void on_sent(uv_write_t *request, int status) {
  lunado_filtering *self =
      lunado_container_of(request, lunado_filtering, request);
  lunado_stream *stream = self->stream;
  lunado_loop *loop = lunado__stream_enter(stream);
  loop->requests--;
  self->busy = false;
  lunado_bytes_fini(&self->sending);
  if (status < 0 && self->error == 0) self->error = status;
  lunado__filter_pump(stream);
  lunado__stream_unref(stream);
  lunado__stream_leave(loop, stream);
}

/* Gives libuv what is in `out`.  Returns 0 or an error. */
static int submit(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  uv_buf_t buf;
  int rc;
  self->sending = self->out;
  lunado_bytes_init(&self->out);
  buf = uv_buf_init((char *)lunado_bytes_at(&self->sending), 0);
  buf.len = (lunado_buf_size)lunado_bytes_size(&self->sending);
  rc = uv_write(&self->request, stream->uv, &buf, 1, on_sent);
  if (rc < 0) {
    lunado_bytes_fini(&self->sending);
    return rc;
  }
  self->busy = true;
  stream->loop->requests++;
  lunado__stream_ref(stream);
  return 0;
}

/* Sends what the system takes at once of `out`.  Returns 0 or an error. */
static int try_send(lunado_stream *stream) {
  lunado_bytes *out = &of(stream)->out;
  uv_buf_t buf = uv_buf_init((char *)lunado_bytes_at(out), 0);
  int rc;
  buf.len = (lunado_buf_size)lunado_bytes_size(out);
  rc = uv_try_write(stream->uv, &buf, 1);
  if (rc > 0) lunado_bytes_skip(out, (size_t)rc);
  return rc < 0 && rc != UV_EAGAIN ? rc : 0;
}

/* Sends `out`.  Returns false while some of it was not taken by the system. */
static bool flush(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  int rc = 0;
  if (self->busy) return false;
  if (lunado_stream_is_closing(stream)) return false;
  if (self->error == 0 && lunado_bytes_size(&self->out) > 0)
    rc = try_send(stream);
  if (rc == 0 && self->error == 0 && lunado_bytes_size(&self->out) > 0)
    rc = submit(stream);
  if (rc < 0) self->error = rc;
  if (self->error != 0) lunado_bytes_fini(&self->out);
  return !self->busy;
}

/* --- filtering what is written -------------------------------------------- */

/* Copies bytes of several buffers into the piece.  Returns their number. */
static size_t join(const uv_buf_t *bufs, unsigned count, position *at,
                   char *piece) {
  size_t n = 0;
  while (at->at < count && n < PIECE) {
    size_t size = bufs[at->at].len - at->offset;
    if (size > PIECE - n) size = PIECE - n;
    if (size > 0) memcpy(piece + n, bufs[at->at].base + at->offset, size);
    n += size;
    at->offset += size;
    if (at->offset < bufs[at->at].len) break;
    at->at++;
    at->offset = 0;
  }
  return n;
}

/* Returns the next bytes of the buffers, and their number in *n; 0: there are
 * none.  `piece` is room to join them in. */
static const char *next_piece(const uv_buf_t *bufs, unsigned count,
                              position *at, char *piece, size_t *n) {
  const uv_buf_t *buf = &bufs[at->at];
  size_t size;
  *n = 0;
  if (at->at == count) return NULL;
  size = buf->len - at->offset;
  if (size < PIECE && at->at + 1 < count) {
    *n = join(bufs, count, at, piece);
    return piece;
  }
  *n = size < PIECE ? size : PIECE;
  at->offset += *n;
  return buf->base + at->offset - *n;
}

/* Filters the next bytes of the buffers, up to a chunk, into `out`.  Returns
 * their number. */
static size_t filter_chunk(lunado_stream *stream, const uv_buf_t *bufs,
                           unsigned count, position *at, size_t size) {
  lunado_filtering *self = of(stream);
  char joined[PIECE];
  size_t done = 0, n;
  if (size > CHUNK) size = CHUNK;
  if (lunado_bytes_reserve(&self->out, size + OVERHEAD * (size / PIECE + 2)) ==
      NULL)
    self->error = UV_ENOMEM;
  while (done < size && self->error == 0) {
    const char *piece = next_piece(bufs, count, at, joined, &n);
    if (n == 0) break;
    if (self->filter->ops->write(self->filter, &self->port, piece, n) !=
        LUNADO_FILTER_DONE)
      self->error = failure(self);
    else
      done += n;
  }
  return done;
}

static void send_end(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  self->end_sent = true;
  if (self->filter->ops->end(self->filter, &self->port) != LUNADO_FILTER_DONE)
    self->error = failure(self);
}

/* Does the next part of the writes, after all before was sent.  Returns false
 * if nothing can be done now. */
static bool step(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  lunado_write *write;
  size_t n;
  if (!flush(stream)) return false;
  write = lunado__stream_first(stream);
  if (write == NULL || !self->started) return false;
  if (self->error != 0) {
    lunado__stream_end_first(stream, self->error);
  } else if (write->count == 0 && !self->end_sent) {
    send_end(stream);
  } else if (write->size > 0) {
    n = filter_chunk(stream, write->bufs, write->count, &self->first,
                     write->size);
    write->size -= n;
    stream->queued -= n;
  } else {
    self->first = (position){0};
    lunado__stream_end_first(stream, 0);
  }
  return true;
}

bool lunado__filter_takes(const lunado_stream *stream) {
  return of(stream)->passing == 0;
}

void lunado__filter_passed(lunado_stream *stream) {
  if (of(stream)->passing > 0) of(stream)->passing--;
}

void lunado__filter_pump(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  lunado_loop *loop;
  if (self->pumping || self->passing > 0 || stream->connecting ||
      stream->closed)
    return;
  loop = lunado__stream_enter(stream);
  self->pumping = true;
  while (!stream->closed && step(stream)) {}
  self->pumping = false;
  lunado__stream_leave(loop, stream);
}

size_t lunado__filter_try_write(lunado_stream *stream, const uv_buf_t *bufs,
                                unsigned count) {
  lunado_filtering *self = of(stream);
  position at = {0};
  size_t size = 0, taken = 0, n;
  if (!self->started || self->error != 0 || self->pumping ||
      lunado_stream_has_output(stream))
    return 0;
  for (unsigned i = 0; i < count; i++) size += bufs[i].len;
  do {
    n = filter_chunk(stream, bufs, count, &at, size - taken);
    taken += n;
  } while (flush(stream) && n > 0 && taken < size);
  return taken;
}

bool lunado_stream_has_output(const lunado_stream *stream) {
  const lunado_filtering *self = of(stream);
  return self != NULL &&
         (self->busy || self->error != 0 || lunado_bytes_size(&self->out) > 0);
}

size_t lunado__filter_unsent(const lunado_stream *stream) {
  return lunado_bytes_size(&of(stream)->out);
}

/* --- receiving ------------------------------------------------------------ */

/* Reading has ended.  What the filter has sent about it leaves before.  After
 * an error nothing can be written either. */
static void end_reading(lunado_stream *stream, int error) {
  lunado_filtering *self = of(stream);
  self->ended = error;
  if (self->passing == 0) (void)flush(stream);
  if (error != UV_EOF && self->error == 0) self->error = error;
  lunado__stream_end_reading(stream, error);
}

/* Continues the handshake. */
static void go_on(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  int rc = self->filter->ops->start(self->filter, &self->port);
  if (rc == LUNADO_FILTER_WAITS) {
    lunado__filter_pump(stream);
  } else if (rc == LUNADO_FILTER_DONE) {
    if (self->passing == 0) (void)flush(stream);
    self->started = true;
    stream->events->started(stream);
    lunado__filter_pump(stream);
  } else {
    end_reading(stream, failure(self));
  }
}

/* Filters the raw bytes into `in`.  Returns their number, and in *status how it
 * goes on, or UV_ENOMEM. */
static size_t read_all(lunado_stream *stream, int *status) {
  lunado_filtering *self = of(stream);
  size_t got = 0, size, n;
  do {
    size = self->port.left > LEAST_ROOM ? self->port.left : LEAST_ROOM;
    if (lunado_bytes_reserve(stream->in, size) == NULL) {
      *status = UV_ENOMEM;
      return got;
    }
    size = stream->in->capacity - stream->in->end;
    n = self->filter->ops->read(self->filter, &self->port,
                                stream->in->data + stream->in->end, size,
                                status);
    lunado_bytes_commit(stream->in, n);
    got += n;
  } while (n == size && *status == LUNADO_FILTER_WAITS);
  if (lunado_bytes_size(stream->in) == 0) lunado_bytes_fini(stream->in);
  return got;
}

/* The error for the status of reading; 0: it goes on. */
static int error_of(const lunado_filtering *self, int status) {
  switch (status) {
  case LUNADO_FILTER_WAITS:
    return 0;
  case LUNADO_FILTER_ENDED:
    return UV_EOF;
  case LUNADO_FILTER_FAILED:
    return failure(self);
  default:
    return status;
  }
}

static void receive(lunado_stream *stream) {
  int status = LUNADO_FILTER_WAITS, error;
  size_t got = read_all(stream, &status);
  error = error_of(of(stream), status);
  if (error == 0) lunado__filter_pump(stream); /* answers of the filter's */
  if (got > 0 && !stream->closed) stream->events->arrived(stream);
  if (error != 0 && !stream->closed) end_reading(stream, error);
}

void lunado__filter_receive(lunado_stream *stream, ptrdiff_t n, char *data) {
  lunado_filtering *self = of(stream);
  if (n < 0 && n != UV_EOF) {
    end_reading(stream, n == UV_ENOBUFS ? UV_ENOMEM : (int)n);
    return;
  }
  if (self->ended != 0) {
    lunado__stream_end_reading(stream, self->ended);
    return;
  }
  self->port.raw = data;
  self->port.left = n > 0 ? (size_t)n : 0;
  self->port.ended = n < 0;
  if (!self->started) go_on(stream);
  if (self->started && !stream->closed && self->ended == 0 &&
      (self->port.left > 0 || self->port.ended))
    receive(stream);
  self->port.raw = NULL;
  self->port.left = 0;
}

/* --- life cycle ----------------------------------------------------------- */

int lunado_stream_set_filter(lunado_stream *stream, lunado_filter *filter) {
  lunado_filtering *self;
  lunado_loop *loop;
  if (filter->ops->abi != LUNADO_FILTER_INTERFACE) return UV_EINVAL;
  if (stream->closed) return UV_EBADF;
  self = lunado__alloc(sizeof *self);
  if (self == NULL) return UV_ENOMEM;
  self->port.send = add_output;
  self->filter = filter;
  self->stream = stream;
  for (const lunado_write *write = stream->last; write != NULL;
       write = write->next == stream->last ? NULL : write->next)
    self->passing++;
  stream->filtering = self;
  loop = lunado__stream_enter(stream);
  go_on(stream);
  lunado__stream_leave(loop, stream);
  return 0;
}

/* Sends the end, if all that was written before was sent, or as much of it as
 * the system takes at once. */
static void send_last(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  if (!self->started || self->end_sent || self->busy || self->error != 0 ||
      stream->last != NULL || lunado_stream_is_closing(stream))
    return;
  send_end(stream);
  if (self->error != 0 || lunado_bytes_size(&self->out) == 0) return;
  if (lunado_system_writes_at_once(stream->uv))
    (void)try_send(stream);
  else
    (void)submit(stream);
}

/* Drops raw bytes that nobody will read, such as the sessions that a server of
 * TLS 1.3 sends to each client, lest closing resets the connection and the peer
 * misses the end. */
static void drop_input(lunado_stream *stream) {
  const lunado_filtering *self = of(stream);
  if (self->end_sent && self->error == 0 && !lunado_stream_is_closing(stream))
    lunado_system_drop_input(stream->uv);
}

void lunado__filter_close(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  lunado_filter *filter = self->filter;
  if (filter == NULL) return;
  send_last(stream);
  drop_input(stream);
  self->filter = NULL;
  lunado_bytes_fini(&self->out);
  filter->ops->release(filter);
}

void lunado__filter_free(lunado_stream *stream) {
  lunado_filtering *self = of(stream);
  lunado_bytes_fini(&self->out);
  lunado_bytes_fini(&self->sending);
  lunado__free(self);
}
