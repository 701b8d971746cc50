/* SPDX-License-Identifier: MIT */
/* slab.c - blocks of items, each with a list of its free items. */
#include "core/slab.h"

#include <assert.h>
#include <uv.h>

#include "core/alloc.h"

void lunado_slab_init(lunado_slab *self, size_t size) {
  assert(size >= sizeof(lunado_slot) && "an item begins with its slot");
  *self = (lunado_slab){.size = size};
}

void lunado_slab_fini(lunado_slab *self) {
  for (int i = 0; i < self->block_count; i++)
    lunado__free(self->blocks[i].items);
  lunado_slab_init(self, self->size);
}

/* The number of the first item of a block, and of all items before it. */
static uint32_t first_of(int block) {
  return block > 0 ? LUNADO_SLAB_FIRST << (block - 1) : 0;
}

static void *item_of(const lunado_slab *self, int block, uint32_t number) {
  return self->blocks[block].items + (number - first_of(block)) * self->size;
}

static void make_free(lunado_slab_block *block, lunado_slot *slot) {
  slot->next = block->free;
  block->free = slot->number + 1;
}

/* Puts the items of a new block into its free list, in order; `first` is the
 * number of the first item. */
static void add_items(lunado_slab *self, lunado_slab_block *block,
                      uint32_t first, uint32_t size) {
  for (uint32_t i = size; i-- > 0;) {
    lunado_slot *slot = (void *)(block->items + i * self->size);
    slot->number = first + i;
    make_free(block, slot);
  }
}

int lunado_slab_reserve(lunado_slab *self, uint32_t max) {
  uint32_t size = self->count > 0 ? self->count : LUNADO_SLAB_FIRST;
  lunado_slab_block *block = &self->blocks[self->block_count];
  char *items;
  assert(max <= LUNADO_SLAB_MAX);
  if (self->taken < self->count) return 0;
  if (self->count >= max) return UV_ENOSPC;
  items = lunado__alloc(size * self->size);
  if (items == NULL) return UV_ENOMEM;
  *block = (lunado_slab_block){.items = items};
  self->first = self->block_count++;
  add_items(self, block, self->count, size);
  self->count += size;
  return 0;
}

void *lunado_slab_take(lunado_slab *self) {
  lunado_slab_block *block;
  lunado_slot *slot;
  while (self->blocks[self->first].free == 0) self->first++;
  block = &self->blocks[self->first];
  slot = item_of(self, self->first, block->free - 1);
  block->free = slot->next;
  block->taken++;
  self->taken++;
  return slot;
}

/* Half of all items are in the last block, so the search begins there. */
void lunado_slab_give(lunado_slab *self, void *item) {
  lunado_slot *slot = item;
  int number = self->block_count - 1;
  lunado_slab_block *block;
  while (slot->number < first_of(number)) number--;
  block = &self->blocks[number];
  make_free(block, slot);
  block->taken--;
  self->taken--;
  if (number < self->first) self->first = number;
}

void lunado_slab_trim(lunado_slab *self) {
  while (self->block_count > 1 && self->taken < self->count / 4) {
    lunado_slab_block *last = &self->blocks[self->block_count - 1];
    if (last->taken > 0) return;
    lunado__free(last->items);
    *last = (lunado_slab_block){.items = NULL};
    self->block_count--;
    self->count /= 2;
  }
}

/* Another thread must not look at block_count: see slab.h. */
void *lunado_slab_at(const lunado_slab *self, uint32_t number) {
  uint32_t first = 0;
  int block = 0;
  for (uint32_t end = LUNADO_SLAB_FIRST; number >= end; end *= 2, block++)
    first = end;
  return self->blocks[block].items + (number - first) * self->size;
}
