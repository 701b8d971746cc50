/* SPDX-License-Identifier: MIT */
/* alloc.c - the allocator in use: the C library's, or a test's. */
#include "core/alloc.h"

#include <stdlib.h>
#include <string.h>

static void *alloc_default(void *block, size_t size) {
  if (size != 0) return realloc(block, size);
  free(block);
  return NULL;
}

static lunado_alloc_cb allocator = alloc_default;

void lunado__set_allocator(lunado_alloc_cb cb) {
  allocator = cb != NULL ? cb : alloc_default;
}

void *lunado__realloc(void *block, size_t size) {
  return allocator(block, size);
}

void *lunado__alloc(size_t size) {
  void *block = allocator(NULL, size);
  if (block != NULL) memset(block, 0, size);
  return block;
}

void lunado__free(void *block) {
  if (block != NULL) (void)allocator(block, 0);
}
