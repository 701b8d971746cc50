/* SPDX-License-Identifier: MIT */
/* bytes.h - a buffer that grows. */
#ifndef LUNADO_BINDING_THREAD_BYTES_H
#define LUNADO_BINDING_THREAD_BYTES_H

#include <stdbool.h>
#include <stddef.h>

/* All zeros when empty. */
typedef struct {
  char *data;      /* owned, unless the capacity is 0 */
  size_t length;   /* in use */
  size_t capacity; /* allocated */
} lunado__bytes;

/* Makes room for `size` more bytes; returns false if memory is short. */
bool lunado__bytes_grow(lunado__bytes *bytes, size_t size);

/* Frees the buffer and leaves it empty. */
void lunado__bytes_free(lunado__bytes *bytes);

/* Appends `size` uninitialized bytes and returns their address; NULL if memory
 * is short. */
static inline char *lunado__bytes_take(lunado__bytes *bytes, size_t size) {
  char *at;
  if (size > bytes->capacity - bytes->length &&
      !lunado__bytes_grow(bytes, size))
    return NULL;
  at = bytes->data + bytes->length;
  bytes->length += size;
  return at;
}

#endif
