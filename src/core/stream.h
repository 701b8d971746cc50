/* SPDX-License-Identifier: MIT */
/*
 * stream.h - connections, pipes, terminals and files: read into a buffer,
 * and written (write.h).
 *
 * A stream has a handle of its own, or has adopted one of another library,
 * whose `data` it does not touch.  Life cycle: new or adopt; connect, or accept
 * (listen.h), or open; read and write; close.  The storage is freed after
 * `closed`, when the last request has ended.
 *
 * Reading: bytes that arrive wait in the owner's buffer, `in`, until it takes
 * them.  All streams of a loop share one buffer that libuv reads into; the
 * bytes are copied from there only if the owner has not taken them by the end
 * of its callback.
 */
#ifndef LUNADO_CORE_STREAM_H
#define LUNADO_CORE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/list.h"

typedef struct lunado_loop lunado_loop;
typedef struct lunado_filtering lunado_filtering;
typedef struct lunado_stream lunado_stream;
typedef struct lunado_write lunado_write;

typedef enum {
  LUNADO_STREAM_TCP,
  LUNADO_STREAM_PIPE,
  LUNADO_STREAM_TTY,
  LUNADO_STREAM_FILE /* file.h's */
} lunado_stream_kind;

/* The owner's functions for events of the stream.  They may do anything to
 * it. */
typedef struct {
  /* More bytes are in `in`. */
  void (*arrived)(lunado_stream *stream);
  /* Reading has ended: UV_EOF, or the error because of which. */
  void (*ended)(lunado_stream *stream, int error);
  /* A write was sent (0), or has failed.  It is freed afterwards. */
  void (*written)(lunado_stream *stream, lunado_write *write, int error);
  /* Connecting has ended, with success (0) or an error. */
  void (*connected)(lunado_stream *stream, int error);
  /* The filter's handshake has ended well (filter.h). */
  void (*started)(lunado_stream *stream);
  /* A listening stream has a connection to accept (0), or an error. */
  void (*incoming)(lunado_stream *stream, int error);
  /* Its own handle is closed, or it no longer uses the adopted one.  The
   * storage is freed afterwards. */
  void (*closed)(lunado_stream *stream);
} lunado_stream_events;

/* --- life cycle ----------------------------------------------------------- */

/* Makes a stream without a connection: LUNADO_STREAM_TCP or _PIPE.  Returns 0,
 * UV_ENOMEM, UV_ECANCELED (the loop is closed) or another error of libuv's;
 * then *stream is NULL. */
int lunado_stream_new(lunado_stream **stream, lunado_loop *loop,
                      lunado_stream_kind kind);

/* Makes a stream of a terminal, for reading or for writing, as
 * lunado_stream_new. */
int lunado_stream_new_tty(lunado_stream **stream, lunado_loop *loop, int fd,
                          bool readable);

/* Makes a stream of an open descriptor: a socket or a pipe, as `kind` says.  On
 * success the stream owns the descriptor. */
int lunado_stream_new_open(lunado_stream **stream, lunado_loop *loop,
                           lunado_stream_kind kind, int fd);

/* Makes a stream of a handle of another library on loop->uv, which keeps it
 * until the stream is closed.  Returns 0 or UV_ENOMEM. */
int lunado_stream_adopt(lunado_stream **stream, lunado_loop *loop,
                        uv_stream_t *handle);

/* Closes the stream: from now on only `closed` is called, and writes that are
 * not sent yet are dropped.  An adopted handle is not closed, which is its
 * library's task.  Closing twice is harmless while the storage exists. */
void lunado_stream_close(lunado_stream *stream);

/* From now on closing the stream resets the connection: the peer's reads fail
 * with ECONNRESET.  Returns 0 or an error of libuv's. */
int lunado_stream_reset_at_close(lunado_stream *stream);

/* True once it is closed: by its owner, its library, its loop, or code that
 * walks the uv_loop_t. */
bool lunado_stream_is_closing(const lunado_stream *stream);

/* Sets whether the open stream keeps a run alive; at first it does not.
 * Connecting and writing always do. */
void lunado_stream_keep_alive(lunado_stream *stream, bool yes);

/* True if it was opened for reading or for writing, and is connected. */
bool lunado_stream_is_readable(const lunado_stream *stream);
bool lunado_stream_is_writable(const lunado_stream *stream);

/* True if writing can end while reading continues: for sockets and files.  On a
 * terminal or a named pipe, uv_shutdown would stop writing, but the peer would
 * not notice. */
bool lunado_stream_can_half_close(const lunado_stream *stream);

/* To be called after UV_EOF.  Returns UV_ECONNRESET if the peer has reset the
 * connection, else 0.  Some versions of libuv report a reset as UV_EOF if it
 * arrives right behind data. */
int lunado_stream_reset_error(lunado_stream *stream);

/* --- reading -------------------------------------------------------------- */

/* Starts reading; harmless if the stream is being read.  `missing` is how many
 * more bytes the owner needs, which sets the size of each read: 0 for none,
 * SIZE_MAX for all up to the end.  The owner stops reading when it has enough.
 * Returns 0 or an error of libuv's. */
int lunado_stream_read(lunado_stream *stream, size_t missing);

/* Stops reading: later bytes wait in the system's buffers.  A read of a file
 * that is under way still arrives. */
void lunado_stream_read_stop(lunado_stream *stream);

/* --- connecting ----------------------------------------------------------- */

/* Begins to connect; `connected` is called when that has ended.  Writes are
 * queued until then.  Returns 0, or an error; then `connected` is not
 * called. */
int lunado_stream_connect(lunado_stream *stream,
                          const struct sockaddr *address);
int lunado_stream_connect_pipe(lunado_stream *stream, const char *path);

/* --- for the loop, write.c, file.c and filter.c --------------------------- */

int lunado__stream_new_file(lunado_stream **stream, lunado_loop *loop);

/* Enclose a callback of libuv's, during which the stream and its loop are not
 * freed. */
lunado_loop *lunado__stream_enter(lunado_stream *stream);
void lunado__stream_leave(lunado_loop *loop, lunado_stream *stream);

/* Hold a reference to the stream, and release it. */
void lunado__stream_ref(lunado_stream *stream);
void lunado__stream_unref(lunado_stream *stream);

/* Stops reading and calls `ended`. */
void lunado__stream_end_reading(lunado_stream *stream, int error);

/* True if the path is short enough for a local socket.  libuv would truncate a
 * longer one. */
bool lunado__stream_is_path(const char *path);

/* To be called when n bytes at `data` were read, or with an error as n.  `data`
 * must be valid until the function returns. */
void lunado__stream_receive(lunado_stream *stream, ssize_t n, char *data);

/* To be called when the handle or the descriptor is closed: calls `closed`. */
void lunado__stream_closed(lunado_stream *stream);

void lunado__streams_close(lunado_loop *loop);

/* --- layout ---------------------------------------------------------------
 * The owner sets `events`, `owner`, `in` and `missing`, and takes bytes out of
 * `in`.  It may read the other fields. */

struct lunado_stream {
  lunado_link link; /* in loop->streams until closed */
  lunado_loop *loop;
  const lunado_stream_events *events; /* the owner's */
  void *owner;                        /* the owner's */
  uv_stream_t *uv;    /* `own`, or adopted; NULL: a file, or closed */
  lunado_bytes *in;   /* the owner's, which keeps it until the stream is closed:
                         bytes that have arrived and are not taken yet; NULL: it
                         is not read */
  size_t missing;     /* bytes that are wanted; 0: none */
  lunado_write *last; /* its `next` is the first one, which is libuv's while
                         `sending`; NULL: none */
  lunado_filtering *filtering; /* filter.h; NULL: no filter */
  size_t queued; /* bytes of the writes that libuv does not have */
  uint32_t refs; /* the open handle, and requests under way */
  uint8_t kind;
  bool reading;
  bool sending;
  bool connecting;
  bool has_incoming; /* a connection can be accepted */
  bool accepted;     /* loop->accepted counts it, while it is open */
  bool adopted;
  bool closed;
  union {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    uv_tty_t tty;
    lunado_file file;
  } own[]; /* of the size of its kind; its data is NULL */
};

static inline bool lunado__stream_is_file(const lunado_stream *stream) {
  return stream->kind == LUNADO_STREAM_FILE;
}

#endif
