/* SPDX-License-Identifier: MIT */
/*
 * file.h - the files among the streams.
 *
 * Polling reports every file as ready, so libuv reads and writes files on its
 * threads.  One operation is under way at a time, so that all happen in the
 * order in which they were asked for.  Reads and writes go on from one
 * position, as those of C's stdio do.
 */
#ifndef LUNADO_CORE_FILE_H
#define LUNADO_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

typedef struct lunado_loop lunado_loop;
typedef struct lunado_stream lunado_stream;
typedef struct lunado_write lunado_write;

/* How a descriptor was opened. */
enum {
  LUNADO_FILE_READABLE = 1,
  LUNADO_FILE_APPENDS = 2,
  LUNADO_FILE_AT_START = 4, /* a regular file, opened by lunado just now */
  LUNADO_FILE_WRITABLE = 16,
  LUNADO_FILE_BORROWED = 8 /* another library closes the descriptor */
};

/* Returns 0 if the descriptor is open, else an error such as UV_EBADF. */
int lunado_file_check(uv_file fd);

/* Makes a stream of a file; `flags` are some of the above.  The descriptor is
 * the stream's from now on.  As lunado_stream_new. */
int lunado_stream_new_file(lunado_stream **stream, lunado_loop *loop,
                           uv_file fd, int flags);

/* Reads and writes of a file go on from n bytes before the present position;
 * what is being read is read again.  False for streams that have none. */
bool lunado_stream_seek_back(lunado_stream *stream, size_t n);

/* --- for stream.c -------------------------------------------------------- */

typedef struct {
  uv_fs_t request;
  char *block;         /* that is being read into; NULL: no read is under way */
  lunado_write *write; /* under way, or next; NULL: none */
  int64_t position;    /* of the next byte; -1: the system keeps it */
  unsigned at;         /* the write's first buffer that is not written yet; its
                          written part is cut off */
  uv_file fd;
  int flags;
  bool busy;  /* an operation is under way */
  bool stale; /* what it reads is to be read again */
} lunado_file;

/* Does what is next to be done. */
void lunado__file_pump(lunado_stream *stream);

/* Writes; there is no other write. */
void lunado__file_write(lunado_stream *stream, lunado_write *write);

/* Closes the descriptor, after the operation under way. */
void lunado__file_close(lunado_stream *stream);

#endif
