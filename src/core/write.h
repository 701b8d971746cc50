/* SPDX-License-Identifier: MIT */
/*
 * write.h - what is written to a stream: at once, or by a queue of writes.
 *
 * libuv gets one write of a stream at a time, because after a write that fails
 * it would never end the writes behind it.
 */
#ifndef LUNADO_CORE_WRITE_H
#define LUNADO_CORE_WRITE_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/stream.h"

/* Writes what the system takes at once, if no write is queued.  Returns the
 * number of bytes.  Also returns 0 after an error, which the next write
 * reports. */
size_t lunado_stream_try_write(lunado_stream *stream, const uv_buf_t *bufs,
                               unsigned count);

/* Makes a write of the bytes in the buffers, without the first `skip` bytes.
 * They must remain valid until `written` is called or the handle is closed.
 * Returns NULL if there is no memory. */
lunado_write *lunado_write_new(const uv_buf_t *bufs, unsigned count,
                               size_t skip);

/* Makes the end of writing. */
lunado_write *lunado_write_new_end(void);

/* Frees a write that was not queued. */
void lunado_write_free(lunado_write *write);

/* Queues the write, which is sent after all earlier ones.  On a closed stream
 * the write is dropped. */
void lunado_stream_write(lunado_stream *stream, lunado_write *write);

/* Drops the writes that are not sent yet: `written` is not called for them.  If
 * libuv has one of them, nothing may be written afterwards. */
void lunado_stream_drop_writes(lunado_stream *stream);

/* How many bytes are not sent yet. */
size_t lunado_stream_unsent(const lunado_stream *stream);

/* --- for stream.c, file.c and filter.c ------------------------------------ */

/* Passes the next write to libuv, unless libuv has one. */
void lunado__stream_send_next(lunado_stream *stream);

/* Takes the first write, which is not libuv's, out of the queue; calls
 * `written`, and frees the write. */
void lunado__stream_end_first(lunado_stream *stream, int status);

/* To be called when the request of a write has ended. */
void lunado__stream_written(lunado_write *write, int status);

/* --- layout --------------------------------------------------------------- */

struct lunado_write {
  lunado_write *next;    /* behind the last one is the first */
  lunado_stream *stream; /* its request under way holds a reference */
  union {
    uv_write_t write;
    uv_shutdown_t shutdown;
  } request;
  uint64_t number; /* the owner's */
  size_t size;     /* bytes */
  unsigned count;  /* of the buffers; 0: the end of writing */
  uv_buf_t bufs[];
};

/* The write that leaves next, or is leaving; NULL: none. */
static inline lunado_write *lunado__stream_first(const lunado_stream *stream) {
  return stream->last != NULL ? stream->last->next : NULL;
}

#endif
