/* SPDX-License-Identifier: MIT */
/* bytes.c - a buffer that grows. */
#include "binding/thread/bytes.h"

#include <string.h>

#include "core/alloc.h"

/* The minimum capacity of a buffer. */
#define BYTES_MIN 128

bool lunado__bytes_grow(lunado__bytes *bytes, size_t size) {
  size_t capacity = bytes->length + size;
  char *data;
  if (capacity < size) return false;
  if (capacity < bytes->capacity * 2) capacity = bytes->capacity * 2;
  if (capacity < BYTES_MIN) capacity = BYTES_MIN;
  data = lunado__realloc(bytes->data, capacity);
  if (data == NULL) return false;
  bytes->data = data;
  bytes->capacity = capacity;
  return true;
}

void lunado__bytes_free(lunado__bytes *bytes) {
  if (bytes->capacity > 0) lunado__free(bytes->data);
  memset(bytes, 0, sizeof *bytes);
}
