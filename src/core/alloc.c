/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - the allocator in use: the C library's, the host's, or a test's.
 *
 * A host's allocator, like lua_Alloc, gets the old size of a block as an
 * argument.  So each block from a host's allocator begins with a header that
 * stores the size.  `blocks` counts the blocks in use, whichever allocator made
 * them.
 */
#include "core/alloc.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static void *alloc_default(void *block, size_t size) {
  if (size != 0) return realloc(block, size);
  free(block);
  return NULL;
}

static lunado_alloc_cb allocator = alloc_default;
static atomic_size_t blocks;

void lunado__set_allocator(lunado_alloc_cb cb) {
  allocator = cb != NULL ? cb : alloc_default;
}

/* --- the host's ----------------------------------------------------------- */

/* Precedes each block; padded to the strictest alignment. */
typedef union {
  size_t size; /* of header and block */
  max_align_t align;
} header;

static lunado_host_alloc_cb host_allocator;
static void *host_data;

static void *alloc_by_host(void *block, size_t size) {
  header *old = block != NULL ? (header *)block - 1 : NULL;
  size_t old_size = old != NULL ? old->size : 0;
  header *moved;
  if (size == 0) {
    if (old != NULL) (void)host_allocator(host_data, old, old_size, 0);
    return NULL;
  }
  if (size > SIZE_MAX - sizeof *old) return NULL;
  moved = host_allocator(host_data, old, old_size, size + sizeof *old);
  if (moved == NULL) return NULL;
  moved->size = size + sizeof *moved;
  return moved + 1;
}

int lunado__set_host_allocator(lunado_host_alloc_cb cb, void *data) {
  if (atomic_load(&blocks) > 0) return UV_EBUSY;
  host_allocator = cb;
  host_data = data;
  allocator = cb != NULL ? alloc_by_host : alloc_default;
  return 0;
}

/* --- the core's functions ------------------------------------------------- */

void *lunado__realloc(void *block, size_t size) {
  void *moved;
  if (size == 0) {
    lunado__free(block);
    return NULL;
  }
  moved = allocator(block, size);
  if (block == NULL && moved != NULL) atomic_fetch_add(&blocks, 1);
  return moved;
}

void *lunado__alloc(size_t size) {
  void *block = lunado__realloc(NULL, size);
  if (block != NULL) memset(block, 0, size);
  return block;
}

void lunado__free(void *block) {
  if (block == NULL) return;
  (void)allocator(block, 0);
  atomic_fetch_sub(&blocks, 1);
}
