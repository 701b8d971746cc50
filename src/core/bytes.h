/* SPDX-License-Identifier: MIT */
/*
 * bytes.h - bytes that have arrived and are not read yet.
 *
 * They are in one block.  The block may be lent: bytes that arrive in another
 * owner's buffer are copied only if they are still unread when that owner needs
 * its buffer again.
 *
 * A search continues where the last one ended, so each byte is examined once,
 * however many pieces the bytes arrive in.
 */
#ifndef LUNADO_CORE_BYTES_H
#define LUNADO_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
  char *data;      /* allocated here, or lent; NULL: none */
  size_t begin;    /* index of the first unread byte */
  size_t end;      /* index behind the last one */
  size_t capacity; /* of an allocated block; 0: `data` is lent, or NULL */
  size_t searched; /* unread bytes at which no match begins */
} lunado_bytes;

/* Makes empty bytes, which own no memory. */
static inline void lunado_bytes_init(lunado_bytes *bytes) {
  *bytes = (lunado_bytes){0};
}

/* Drops all bytes and frees their block. */
void lunado_bytes_fini(lunado_bytes *bytes);

/* Return the number of unread bytes, and their address, which is valid until
 * the next call with `bytes` as a parameter that is not const. */
static inline size_t lunado_bytes_size(const lunado_bytes *bytes) {
  return bytes->end - bytes->begin;
}
static inline const char *lunado_bytes_at(const lunado_bytes *bytes) {
  return bytes->data + bytes->begin;
}

/* Returns room for n more bytes behind the last one.  If there is no memory,
 * returns NULL and changes nothing.  `bytes` must not be lent. */
char *lunado_bytes_reserve(lunado_bytes *bytes, size_t n);

/* Appends the first n bytes of that room, which the caller has written. */
static inline void lunado_bytes_commit(lunado_bytes *bytes, size_t n) {
  bytes->end += n;
}

/* Lends n bytes at `data` to `bytes`, which must be empty. */
void lunado_bytes_lend(lunado_bytes *bytes, char *data, size_t n);

/* Copies the unread bytes into a block of their own, if they are lent.  If
 * there is no memory, drops them and returns false. */
bool lunado_bytes_copy_lent(lunado_bytes *bytes);

/* Drops the first n unread bytes; there must be as many. */
void lunado_bytes_skip(lunado_bytes *bytes, size_t n);

/* The next search begins at the first byte. */
static inline void lunado_bytes_rewind(lunado_bytes *bytes) {
  bytes->searched = 0;
}

/* Returns the number of bytes up to and including the first delimiter, or 0 if
 * there is none.  The delimiter has `length` bytes, at least one.  Calls must
 * pass the same delimiter until it is found or the search is rewound. */
size_t lunado_bytes_find(lunado_bytes *bytes, const char *delimiter,
                         size_t length);

#endif
