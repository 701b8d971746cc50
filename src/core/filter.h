/* SPDX-License-Identifier: MIT */
/*
 * filter.h - filters, which stand between a stream's buffers and libuv.
 *
 * A filter changes the bytes that a stream receives and sends: it decrypts and
 * encrypts, say.  The core knows only its functions, so a filter may live in a
 * library of its own; it includes this header and links nothing of lunado.
 *
 * A filter begins with a handshake, in which both sides exchange raw bytes.
 * Then raw bytes become plain ones in the stream's `in`, and plain bytes that
 * are written become raw ones.  Writes wait until the handshake has ended.
 *
 * Back-pressure: all raw bytes of one read are filtered at once, so that none
 * wait beside `in`, and the stream reads no more while its owner has enough.
 * A write is filtered in pieces, each when the system has taken the one before,
 * so that a large write never exists twice.
 */
#ifndef LUNADO_CORE_FILTER_H
#define LUNADO_CORE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_buf_t;
typedef struct lunado_filter lunado_filter;
typedef struct lunado_filter_port lunado_filter_port;

/* What the core lends a filter for one call. */
struct lunado_filter_port {
  /* Raw bytes that have arrived.  The filter moves `raw` forward as it takes
   * them; those that it leaves are dropped, unless it is asked again before. */
  const char *raw;
  size_t left;
  bool ended; /* no raw bytes follow these */
  /* Adds raw bytes to those that will be sent.  False: there is no memory, and
   * the filter must fail. */
  bool (*send)(lunado_filter_port *port, const void *data, size_t n);
};

/* Results of the functions below. */
enum {
  LUNADO_FILTER_WAITS = 0,   /* needs more raw bytes */
  LUNADO_FILTER_ENDED = -1,  /* the peer has ended, by the filter's protocol */
  LUNADO_FILTER_FAILED = -2, /* for good; the filter knows why */
  LUNADO_FILTER_DONE = 1
};

/* The functions of a filter.  They call nothing of the core's but `send`.  A
 * function that fails may send something first, to tell the peer. */
typedef struct {
  uint32_t abi; /* LUNADO_FILTER_INTERFACE */
  /* Continues the handshake: DONE, WAITS or FAILED. */
  int (*start)(lunado_filter *self, lunado_filter_port *port);
  /* Writes plain bytes into the room, until it is full or the raw bytes are
   * used up.  Returns their number, and in *status how it goes on: WAITS
   * (also if the room is full), ENDED or FAILED. */
  size_t (*read)(lunado_filter *self, lunado_filter_port *port, char *room,
                 size_t size, int *status);
  /* Sends n plain bytes (n > 0): DONE or FAILED. */
  int (*write)(lunado_filter *self, lunado_filter_port *port, const char *data,
               size_t n);
  /* Sends the end of writing: DONE or FAILED. */
  int (*end)(lunado_filter *self, lunado_filter_port *port);
  /* The core no longer uses the filter. */
  void (*release)(lunado_filter *self);
} lunado_filter_ops;

struct lunado_filter {
  const lunado_filter_ops *ops;
};

/* Two parts of a program that were built with different versions of this header
 * have different numbers. */
#define LUNADO_FILTER_VERSION 1u
#define LUNADO_FILTER_INTERFACE \
  ((uint32_t)(LUNADO_FILTER_VERSION << 16 | \
              (uint32_t)sizeof(lunado_filter_ops) << 8 | \
              (uint32_t)sizeof(lunado_filter_port)))

/* --- for the core and the owners of streams ------------------------------- */

typedef struct lunado_stream lunado_stream;
typedef struct lunado_filtering lunado_filtering;

/* The error with which reading ends, or a write fails, because the filter has
 * failed: UV_EPROTO.  The filter can say more. */
#define LUNADO_FILTER_ERROR UV_EPROTO

/* Gives an open stream (no file) a filter, and begins with the handshake. Bytes
 * in writes that are queued already are sent before, unfiltered.  `in` must be
 * empty, and the owner must read the stream.  The event `started` is called
 * when the handshake has ended well; `ended` when it has failed.  Either may be
 * called before this function returns.  On success the stream has the filter
 * until it is closed, and then releases it.  Returns 0, UV_ENOMEM, UV_EBADF if
 * the stream was closed, with its loop, or UV_EINVAL if the filter was built
 * with another version of this header. */
int lunado_stream_set_filter(lunado_stream *stream, lunado_filter *filter);

/* True if filtered bytes were not taken by the system yet. */
bool lunado_stream_has_output(const lunado_stream *stream);

/* --- for stream.c: all streams here have a filter --------------------------
 */

/* As lunado_stream_try_write. */
size_t lunado__filter_try_write(lunado_stream *stream,
                                const struct uv_buf_t *bufs, unsigned count);

/* As lunado__stream_receive. */
void lunado__filter_receive(lunado_stream *stream, ptrdiff_t n, char *data);

/* True if the first write, and those behind it, are filtered. */
bool lunado__filter_takes(const lunado_stream *stream);

/* Counts the end of the first write, which was not filtered. */
void lunado__filter_passed(lunado_stream *stream);

/* Sends what can be sent. */
void lunado__filter_pump(lunado_stream *stream);

/* The number of raw bytes to be sent that libuv does not have. */
size_t lunado__filter_unsent(const lunado_stream *stream);

/* To be called before the stream is closed.  Sends the end, if nothing was lost
 * of what was written, and releases the filter. */
void lunado__filter_close(lunado_stream *stream);

/* Frees the memory, after the last request has ended. */
void lunado__filter_free(lunado_stream *stream);

#endif
