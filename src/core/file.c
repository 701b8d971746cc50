/* SPDX-License-Identifier: MIT */
/* file.c - files on uv_fs_read and uv_fs_write. */
#include "core/file.h"

#include <string.h>

#include "core/alloc.h"
#include "core/loop.h"
#include "core/stream.h"
#include "core/system.h"
#include "core/write.h"

#define BLOCK ((size_t)64 * 1024)

/* Buffers that are written at once, at most: what systems allow. */
#define MOST 1024u

static lunado_file *file_of(lunado_stream *stream) {
  return &stream->own->file;
}

int lunado_file_check(uv_file fd) {
  uv_fs_t request;
  int rc = uv_fs_fstat(NULL, &request, fd, NULL);
  uv_fs_req_cleanup(&request);
  return rc;
}

int lunado_stream_new_file(lunado_stream **result, lunado_loop *loop,
                           uv_file fd, int flags) {
  lunado_file *self;
  int rc = lunado_file_check(fd);
  *result = NULL;
  if (rc == 0) rc = lunado__stream_new_file(result, loop);
  if (rc < 0) return rc;
  self = file_of(*result);
  self->fd = fd;
  self->flags = flags;
  self->position = flags & LUNADO_FILE_AT_START ? 0 : -1;
  return 0;
}

bool lunado_stream_seek_back(lunado_stream *stream, size_t n) {
  lunado_file *self = file_of(stream);
  if (!lunado__stream_is_file(stream) || self->position < 0) return false;
  self->position -= (int64_t)n;
  self->stale = self->stale || self->block != NULL;
  return true;
}

/* --- operations ----------------------------------------------------------- */

/* Those on pipes and the like may take for ever. */
static bool ends_soon(const lunado_file *self) { return self->position >= 0; }

static void begin(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  self->busy = true;
  if (ends_soon(self)) stream->loop->requests++;
}

static void end(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  self->busy = false;
  if (ends_soon(self)) stream->loop->requests--;
}

/* --- the end -------------------------------------------------------------- */

static void end_write(lunado_stream *stream, int status) {
  lunado_write *write = file_of(stream)->write;
  file_of(stream)->write = NULL;
  lunado__stream_written(write, status);
}

static void on_closed(uv_fs_t *request) {
  lunado_file *self = lunado_container_of(request, lunado_file, request);
  lunado_stream *stream = lunado_container_of(self, lunado_stream, own);
  uv_fs_req_cleanup(request);
  stream->loop->requests--;
  lunado__stream_closed(stream);
}

/* On the spot where the loop is closed: it may be that nobody drives its
 * uv_loop_t any more. */
static void close_now(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  lunado_loop *loop = stream->loop;
  uv_fs_cb cb = loop->closed ? NULL : on_closed;
  if (self->write != NULL) end_write(stream, UV_ECANCELED);
  self->busy = true;
  if (self->flags & LUNADO_FILE_BORROWED ||
      uv_fs_close(loop->uv, &self->request, self->fd, cb) < 0 || cb == NULL)
    lunado__stream_closed(stream);
  else
    loop->requests++;
}

void lunado__file_close(lunado_stream *stream) {
  if (!file_of(stream)->busy) close_now(stream);
}

/* After an operation, of which `open` is what finish() has said. */
static void go_on(lunado_loop *loop, lunado_stream *stream, bool open) {
  if (open)
    lunado__file_pump(stream);
  else
    close_now(stream);
  lunado__stream_leave(loop, stream);
}

/* The operation under way is over.  False: the stream was closed meanwhile. */
static bool finish(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  uv_fs_req_cleanup(&self->request);
  end(stream);
  return !stream->closed;
}

/* --- reading -------------------------------------------------------------- */

static void on_read(uv_fs_t *request) {
  lunado_file *self = lunado_container_of(request, lunado_file, request);
  lunado_stream *stream = lunado_container_of(self, lunado_stream, own);
  ssize_t n = request->result;
  char *block = self->block;
  bool stale = self->stale, open;
  lunado_loop *loop = lunado__stream_enter(stream);
  self->block = NULL;
  self->stale = false;
  open = finish(stream);
  if (open && !stale) {
    if (n > 0 && self->position >= 0) self->position += n;
    lunado__stream_receive(stream, n == 0 ? UV_EOF : n, block);
  }
  lunado__free(block);
  go_on(loop, stream, open);
}

static void start_read(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  uv_buf_t buf;
  int rc = UV_ENOMEM;
  self->block = lunado__realloc(NULL, BLOCK);
  if (self->block != NULL) {
    begin(stream);
    self->stale = false;
    buf = uv_buf_init(self->block, BLOCK);
    rc = uv_fs_read(stream->loop->uv, &self->request, self->fd, &buf, 1,
                    self->position, on_read);
    if (rc >= 0) return;
    end(stream);
  }
  lunado__free(self->block);
  self->block = NULL;
  lunado__stream_receive(stream, rc, NULL);
}

/* --- writing -------------------------------------------------------------- */

/* n bytes of the write were written.  True if that was the rest. */
static bool advance(lunado_file *self, size_t n) {
  lunado_write *write = self->write;
  while (self->at < write->count && n >= write->bufs[self->at].len)
    n -= write->bufs[self->at++].len;
  if (self->at == write->count) return true;
  write->bufs[self->at].base += n;
  write->bufs[self->at].len -= (lunado_buf_size)n;
  return false;
}

static void on_written(uv_fs_t *request) {
  lunado_file *self = lunado_container_of(request, lunado_file, request);
  lunado_stream *stream = lunado_container_of(self, lunado_stream, own);
  ssize_t n = request->result;
  lunado_loop *loop = lunado__stream_enter(stream);
  bool open = finish(stream);
  if (n > 0 && self->position >= 0) self->position += n;
  if (open && (n < 0 || advance(self, (size_t)n)))
    end_write(stream, n < 0 ? (int)n : 0);
  go_on(loop, stream, open);
}

static void start_write(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  unsigned count = self->write->count - self->at;
  int rc;
  begin(stream);
  rc = uv_fs_write(stream->loop->uv, &self->request, self->fd,
                   &self->write->bufs[self->at], count < MOST ? count : MOST,
                   self->flags & LUNADO_FILE_APPENDS ? -1 : self->position,
                   on_written);
  if (rc >= 0) return;
  end(stream);
  end_write(stream, rc);
}

void lunado__file_write(lunado_stream *stream, lunado_write *write) {
  file_of(stream)->write = write;
  file_of(stream)->at = 0;
  lunado__file_pump(stream);
}

void lunado__file_pump(lunado_stream *stream) {
  lunado_file *self = file_of(stream);
  if (self->busy || stream->closed) return;
  if (self->write != NULL)
    start_write(stream);
  else if (stream->reading)
    start_read(stream);
}
