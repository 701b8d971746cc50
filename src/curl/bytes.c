/* SPDX-License-Identifier: MIT */
/* bytes.c - a buffer of bytes that grows at its end. */
#include "curl/bytes.h"

#include <stdlib.h>
#include <string.h>

/* The first allocation, and the most that an empty buffer keeps. */
enum { LEAST = 1024, KEPT = 65536 };

static bool resize(lunado_curl_bytes *self, size_t room) {
  char *data = realloc(self->data, room);
  if (data == NULL) return false;
  self->data = data;
  self->room = room;
  return true;
}

/* Moves the bytes to the beginning of the storage. */
static void compact(lunado_curl_bytes *self) {
  size_t n = lunado__bytes_count(self);
  if (self->begin == 0) return;
  memmove(self->data, self->data + self->begin, n);
  self->begin = 0;
  self->end = n;
}

/* Doubles the storage, so that each byte is copied twice on average. */
bool lunado__bytes_add(lunado_curl_bytes *self, const char *data, size_t n) {
  if (n > self->room - self->end) compact(self);
  if (n > self->room - self->end) {
    size_t room = self->room > 0 ? self->room : LEAST;
    while (n > room - self->end) {
      if (room > (size_t)-1 / 2) return false;
      room *= 2;
    }
    if (!resize(self, room)) return false;
  }
  memcpy(self->data + self->end, data, n);
  self->end += n;
  return true;
}

size_t lunado__bytes_read(lunado_curl_bytes *self, char *to, size_t n) {
  size_t left = lunado__bytes_count(self);
  if (n > left) n = left;
  if (n > 0) memcpy(to, self->data + self->begin, n);
  self->begin += n;
  if (self->begin == self->end) self->begin = self->end = 0;
  return n;
}

void lunado__bytes_clear(lunado_curl_bytes *self) {
  self->begin = self->end = 0;
  if (self->room > KEPT) lunado__bytes_fini(self);
}

void lunado__bytes_fini(lunado_curl_bytes *self) {
  free(self->data);
  *self = (lunado_curl_bytes){0};
}
