/* SPDX-License-Identifier: MIT */
/* slab.c - blocks of items, and the list of the free ones. */
#include "core/slab.h"

#include <assert.h>
#include <uv.h>

#include "core/alloc.h"

void lunado_slab_init(lunado_slab *self, size_t size) {
  assert(size >= sizeof(lunado_slot) && "an item begins with its slot");
  *self = (lunado_slab){.size = size};
}

void lunado_slab_fini(lunado_slab *self) {
  for (int i = 0; i < LUNADO_SLAB_BLOCKS; i++) lunado__free(self->blocks[i]);
  lunado_slab_init(self, self->size);
}

static void make_free(lunado_slab *self, lunado_slot *slot) {
  slot->next = self->free;
  self->free = slot->number + 1;
}

/* Puts the items of a block, whose first number is `first`, into the list, in
 * their order. */
static void add_items(lunado_slab *self, char *block, uint32_t first,
                      uint32_t size) {
  for (uint32_t i = size; i-- > 0;) {
    lunado_slot *slot = (void *)(block + i * self->size);
    slot->number = first + i;
    make_free(self, slot);
  }
}

int lunado_slab_reserve(lunado_slab *self, uint32_t max) {
  uint32_t size = self->count > 0 ? self->count : LUNADO_SLAB_FIRST;
  char *block;
  int i = 0;
  assert(max <= LUNADO_SLAB_MAX);
  if (self->free != 0) return 0;
  if (self->count >= max) return UV_ENOSPC;
  block = lunado__alloc(size * self->size);
  if (block == NULL) return UV_ENOMEM;
  while (self->blocks[i] != NULL) i++;
  self->blocks[i] = block;
  add_items(self, block, self->count, size);
  self->count += size;
  return 0;
}

void *lunado_slab_take(lunado_slab *self) {
  lunado_slot *slot = lunado_slab_at(self, self->free - 1);
  self->free = slot->next;
  self->taken++;
  return slot;
}

void lunado_slab_give(lunado_slab *self, void *item) {
  make_free(self, item);
  self->taken--;
}

void lunado_slab_trim(lunado_slab *self) {
  if (self->taken > 0 || self->count <= LUNADO_SLAB_FIRST) return;
  for (int i = 1; i < LUNADO_SLAB_BLOCKS; i++) {
    lunado__free(self->blocks[i]);
    self->blocks[i] = NULL;
  }
  self->count = LUNADO_SLAB_FIRST;
  self->free = 0;
  add_items(self, self->blocks[0], 0, LUNADO_SLAB_FIRST);
}

void *lunado_slab_at(const lunado_slab *self, uint32_t number) {
  uint32_t first = 0, end = LUNADO_SLAB_FIRST;
  int block = 0;
  while (number >= end) {
    first = end;
    end *= 2;
    block++;
  }
  return self->blocks[block] + (number - first) * self->size;
}
