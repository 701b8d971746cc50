/* SPDX-License-Identifier: MIT */
/* bytes.h - a buffer of bytes that grows at its end and is read from its
 * beginning.  Its storage is malloc's, so that libcurl's callbacks, which must
 * not run Lua, can fill it. */
#ifndef LUNADO_CURL_BYTES_H
#define LUNADO_CURL_BYTES_H

#include <stdbool.h>
#include <stddef.h>

/* All zeros: an empty buffer. */
typedef struct {
  char *data;   /* NULL: nothing is allocated */
  size_t begin; /* bytes that were read */
  size_t end;   /* behind the last byte */
  size_t room;  /* allocated bytes */
} lunado_curl_bytes;

static inline size_t lunado__bytes_count(const lunado_curl_bytes *self) {
  return self->end - self->begin;
}

/* Appends n bytes.  Returns false, and changes nothing, without memory. */
bool lunado__bytes_add(lunado_curl_bytes *self, const char *data, size_t n);

/* Moves at most n bytes to `to`; returns how many. */
size_t lunado__bytes_read(lunado_curl_bytes *self, char *to, size_t n);

/* Drops all bytes.  Keeps the storage, unless it is large. */
void lunado__bytes_clear(lunado_curl_bytes *self);

/* Frees the storage. */
void lunado__bytes_fini(lunado_curl_bytes *self);

#endif
