/* SPDX-License-Identifier: MIT */
/*
 * bytes.h - bytes that have arrived and are not read yet.
 *
 * They lie in one block.  Bytes that arrive in a buffer of another owner need
 * not be copied while they are looked at: the block may be lent, and what is
 * left of it is copied when the owner needs its buffer again.
 *
 * A search continues where the last one ended, so that each byte is looked at
 * once, however many pieces the bytes arrive in.
 */
#ifndef LUNADO_CORE_BYTES_H
#define LUNADO_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
  char *data;      /* own, or lent; NULL: none */
  size_t begin;    /* index of the first unread byte */
  size_t end;      /* index behind the last one */
  size_t capacity; /* of an own block; 0: `data` is lent, or NULL */
  size_t searched; /* unread bytes at which no match begins */
} lunado_bytes;

/* Makes it empty; an empty one owns no memory. */
static inline void lunado_bytes_init(lunado_bytes *bytes) {
  *bytes = (lunado_bytes){0};
}

/* Drops all bytes. */
void lunado_bytes_fini(lunado_bytes *bytes);

/* The number of unread bytes, and where they are: until the next call for
 * `bytes` that is not const. */
static inline size_t lunado_bytes_size(const lunado_bytes *bytes) {
  return bytes->end - bytes->begin;
}
static inline const char *lunado_bytes_at(const lunado_bytes *bytes) {
  return bytes->data + bytes->begin;
}

/* Returns room for n more bytes behind the last one, or NULL: no memory, and
 * nothing has changed.  `bytes` is not lent. */
char *lunado_bytes_reserve(lunado_bytes *bytes, size_t n);

/* The first n bytes of that room are bytes now. */
static inline void lunado_bytes_commit(lunado_bytes *bytes, size_t n) {
  bytes->end += n;
}

/* Shows n bytes at `data`, which `bytes`, an empty one, does not copy. */
void lunado_bytes_lend(lunado_bytes *bytes, char *data, size_t n);

/* Copies what is left of bytes that were lent.  False: there is no memory for
 * it, and they are dropped. */
bool lunado_bytes_own(lunado_bytes *bytes);

/* Drops the first n bytes, of which there are so many. */
void lunado_bytes_skip(lunado_bytes *bytes, size_t n);

/* The next search begins at the first byte. */
static inline void lunado_bytes_rewind(lunado_bytes *bytes) {
  bytes->searched = 0;
}

/* The number of bytes up to and with the first delimiter, which has `length`
 * bytes, one at least; 0: there is none.  To be called with the same delimiter
 * until it is found, or the search is rewound. */
size_t lunado_bytes_find(lunado_bytes *bytes, const char *delimiter,
                         size_t length);

#endif
