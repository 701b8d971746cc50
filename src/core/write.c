/* SPDX-License-Identifier: MIT */
/*
 * write.c - writes on uv_stream_t.
 *
 * Invariant: the first write of a stream is libuv's while `sending`.
 */
#include "core/write.h"

#include <string.h>

#include "core/alloc.h"
#include "core/filter.h"
#include "core/loop.h"
#include "core/poll.h"
#include "core/system.h"

size_t lunado_stream_try_write(lunado_stream *stream, const uv_buf_t *bufs,
                               unsigned count) {
  int rc;
  if (stream->last != NULL || stream->connecting ||
      lunado__stream_is_file(stream) || lunado_stream_is_closing(stream))
    return 0;
  if (stream->filtering != NULL)
    return lunado__filter_try_write(stream, bufs, count);
  rc = uv_try_write(stream->uv, bufs, count);
  return rc < 0 ? 0 : (size_t)rc;
}

lunado_write *lunado_write_new(const uv_buf_t *bufs, unsigned count,
                               size_t skip) {
  lunado_write *write;
  while (count > 1 && skip >= bufs->len) {
    skip -= bufs->len;
    bufs++;
    count--;
  }
  write = lunado__alloc(sizeof *write + count * sizeof *bufs);
  if (write == NULL) return NULL;
  memcpy(write->bufs, bufs, count * sizeof *bufs);
  write->bufs[0].base += skip;
  write->bufs[0].len -= (lunado_buf_size)skip;
  write->count = count;
  for (unsigned i = 0; i < count; i++) write->size += write->bufs[i].len;
  return write;
}

lunado_write *lunado_write_new_end(void) {
  return lunado__alloc(sizeof(lunado_write));
}

void lunado_write_free(lunado_write *write) { lunado__free(write); }

static lunado_write *take_first(lunado_stream *stream) {
  lunado_write *write = stream->last->next;
  stream->last->next = write->next;
  if (write == stream->last) stream->last = NULL;
  return write;
}

void lunado__stream_end_first(lunado_stream *stream, int status) {
  lunado_write *write = take_first(stream);
  stream->queued -= write->size;
  stream->events->written(stream, write, status);
  lunado_write_free(write);
}

/* The request of the first write has ended, or that of one that was dropped
 * meanwhile. */
static void finish(lunado_write *write, int status) {
  lunado_stream *stream = write->stream;
  lunado_loop *loop = lunado__stream_enter(stream);
  if (stream->sending && lunado__stream_first(stream) == write) {
    stream->sending = false;
    (void)take_first(stream);
    if (stream->filtering != NULL) lunado__filter_passed(stream);
    stream->events->written(stream, write, status);
    if (status == 0) lunado__stream_send_next(stream);
  }
  lunado_write_free(write);
  lunado__stream_leave(loop, stream);
}

void lunado__stream_written(lunado_write *write, int status) {
  lunado_stream *stream = write->stream;
  if (!lunado__stream_is_file(stream)) stream->loop->requests--;
  finish(write, status);
  lunado__stream_unref(stream);
}

static void on_written(uv_write_t *request, int status) {
  lunado__stream_written(
      lunado_container_of(request, lunado_write, request.write), status);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
  lunado__stream_written(
      lunado_container_of(request, lunado_write, request.shutdown), status);
}

/* Starts a write to a file.  The end of writing is reached at once, because all
 * earlier writes have ended. */
static int start_file(lunado_stream *stream, lunado_write *write) {
  if (write->count == 0)
    lunado__stream_written(write, 0);
  else
    lunado__file_write(stream, write);
  return 0;
}

static int start(lunado_stream *stream, lunado_write *write) {
  if (lunado_stream_is_closing(stream)) return UV_ECANCELED;
  if (lunado__stream_is_file(stream)) return start_file(stream, write);
  if (write->count == 0) {
    int rc = lunado_loop_check_handle(stream->loop, (uv_handle_t *)stream->uv);
    if (rc < 0) return rc;
    return uv_shutdown(&write->request.shutdown, stream->uv, on_shutdown);
  }
  return uv_write(&write->request.write, stream->uv, write->bufs, write->count,
                  on_written);
}

void lunado__stream_send_next(lunado_stream *stream) {
  lunado_write *write = lunado__stream_first(stream);
  int rc;
  if (stream->filtering != NULL && lunado__filter_takes(stream)) {
    lunado__filter_pump(stream);
    return;
  }
  if (stream->sending || stream->connecting || write == NULL) return;
  stream->sending = true;
  stream->queued -= write->size;
  if (!lunado__stream_is_file(stream)) stream->loop->requests++;
  lunado__stream_ref(stream);
  rc = start(stream, write);
  if (rc < 0) lunado__stream_written(write, rc);
}

void lunado_stream_write(lunado_stream *stream, lunado_write *write) {
  if (stream->closed) {
    lunado_write_free(write);
    return;
  }
  write->stream = stream;
  write->next = write;
  if (stream->last != NULL) {
    write->next = stream->last->next;
    stream->last->next = write;
  }
  stream->last = write;
  stream->queued += write->size;
  lunado__stream_send_next(stream);
}

void lunado_stream_drop_writes(lunado_stream *stream) {
  if (stream->sending) (void)take_first(stream); /* its callback frees it */
  stream->sending = false;
  while (stream->last != NULL) lunado_write_free(take_first(stream));
  stream->queued = 0;
}

size_t lunado_stream_unsent(const lunado_stream *stream) {
  if (stream->closed) return 0;
  if (lunado__stream_is_file(stream))
    return stream->queued +
           (stream->sending ? lunado__stream_first(stream)->size : 0);
  return uv_stream_get_write_queue_size(stream->uv) + stream->queued +
         (stream->filtering != NULL ? lunado__filter_unsent(stream) : 0);
}
