/* SPDX-License-Identifier: MIT */
/* bytes.c - a block of bytes that grows at its end and shrinks at its start. */
#include "core/bytes.h"

#include <stdint.h>
#include <string.h>

#include "core/alloc.h"

#define SMALLEST 512

static bool is_lent(const lunado_bytes *bytes) {
  return bytes->capacity == 0 && bytes->data != NULL;
}

void lunado_bytes_fini(lunado_bytes *bytes) {
  if (bytes->capacity > 0) lunado__free(bytes->data);
  lunado_bytes_init(bytes);
}

/* The bytes move to the start of the block. */
static void move_down(lunado_bytes *bytes) {
  size_t size = lunado_bytes_size(bytes);
  if (size > 0) memmove(bytes->data, lunado_bytes_at(bytes), size);
  bytes->begin = 0;
  bytes->end = size;
}

/* Twice as much, or what is needed where that is more. */
static size_t next_capacity(size_t capacity, size_t needed) {
  size_t wanted = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
  if (wanted < SMALLEST) wanted = SMALLEST;
  return wanted < needed ? needed : wanted;
}

char *lunado_bytes_reserve(lunado_bytes *bytes, size_t n) {
  size_t size = lunado_bytes_size(bytes), wanted;
  char *data;
  if (bytes->capacity - bytes->end >= n && bytes->capacity > 0)
    return bytes->data + bytes->end;
  if (n > SIZE_MAX - size) return NULL;
  if (bytes->begin > 0 && bytes->begin >= size && size + n <= bytes->capacity) {
    move_down(bytes);
    return bytes->data + bytes->end;
  }
  wanted = next_capacity(bytes->capacity, size + n);
  if (bytes->begin > 0) move_down(bytes);
  data = lunado__realloc(bytes->data, wanted);
  if (data == NULL) return NULL;
  bytes->data = data;
  bytes->capacity = wanted;
  return data + bytes->end;
}

void lunado_bytes_lend(lunado_bytes *bytes, char *data, size_t n) {
  lunado_bytes_fini(bytes);
  bytes->data = data;
  bytes->end = n;
}

bool lunado_bytes_copy_lent(lunado_bytes *bytes) {
  lunado_bytes lent = *bytes;
  size_t size = lunado_bytes_size(bytes);
  char *room;
  if (!is_lent(bytes)) return true;
  lunado_bytes_init(bytes);
  if (size == 0) return true;
  room = lunado_bytes_reserve(bytes, size);
  if (room == NULL) return false;
  memcpy(room, lunado_bytes_at(&lent), size);
  bytes->end = size;
  bytes->searched = lent.searched;
  return true;
}

void lunado_bytes_skip(lunado_bytes *bytes, size_t n) {
  bytes->begin += n;
  bytes->searched = bytes->searched > n ? bytes->searched - n : 0;
  if (bytes->begin == bytes->end) lunado_bytes_fini(bytes);
}

/* The first place where the delimiter is, from `at` up to `end`; or NULL. */
static const char *search(const char *at, const char *end,
                          const char *delimiter, size_t length) {
  while ((size_t)(end - at) >= length) {
    at = memchr(at, delimiter[0], (size_t)(end - at) - length + 1);
    if (at == NULL) return NULL;
    if (memcmp(at, delimiter, length) == 0) return at;
    at++;
  }
  return NULL;
}

size_t lunado_bytes_find(lunado_bytes *bytes, const char *delimiter,
                         size_t length) {
  size_t size = lunado_bytes_size(bytes);
  const char *start, *found;
  if (size < length) return 0;
  start = lunado_bytes_at(bytes);
  found = search(start + bytes->searched, start + size, delimiter, length);
  if (found != NULL) return (size_t)(found - start) + length;
  bytes->searched = size - length + 1;
  return 0;
}
