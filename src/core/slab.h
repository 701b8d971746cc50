/* SPDX-License-Identifier: MIT */
/*
 * slab.h - numbered items of one size, which stay where they are.
 *
 * Items are allocated in blocks, each as large as all earlier blocks together.
 * An item is free or taken; a free item keeps its contents, except its slot.
 * Items are taken from the first block that has a free item, so that the last
 * blocks become free.
 *
 * Another thread may look up an item whose number it knows, if the owner never
 * trims the slab.
 */
#ifndef LUNADO_CORE_SLAB_H
#define LUNADO_CORE_SLAB_H

#include <stddef.h>
#include <stdint.h>

/* The number of items in the first block. */
#define LUNADO_SLAB_FIRST 64u

#define LUNADO_SLAB_BLOCKS 19

/* The maximum number of items. */
#define LUNADO_SLAB_MAX (LUNADO_SLAB_FIRST << (LUNADO_SLAB_BLOCKS - 1))

/* The header of each item. */
typedef struct {
  uint32_t number; /* the item's number, from 0 */
  uint32_t next;   /* while free: number of the next free item of the block,
                      plus one; 0: none */
} lunado_slot;

typedef struct {
  char *items;    /* NULL: not allocated */
  uint32_t free;  /* number of the first free item, plus one; 0: none */
  uint32_t taken; /* how many items are taken */
} lunado_slab_block;

typedef struct {
  size_t size;     /* the size of an item in bytes */
  uint32_t count;  /* items allocated */
  uint32_t taken;  /* items taken */
  int first;       /* no block before this one has a free item */
  int block_count; /* blocks allocated */
  lunado_slab_block blocks[LUNADO_SLAB_BLOCKS];
} lunado_slab;

/* Makes a slab without items, which owns no memory. */
void lunado_slab_init(lunado_slab *self, size_t size);

/* Frees all items. */
void lunado_slab_fini(lunado_slab *self);

/* Ensures that one more item can be taken.  Allocates a block if no item is
 * free and fewer than `max` items are allocated.  Returns 0, or UV_ENOMEM or
 * UV_ENOSPC and changes nothing. */
int lunado_slab_reserve(lunado_slab *self, uint32_t max);

/* Takes a free item, which must exist.  A new item is all zeros except its
 * slot. */
void *lunado_slab_take(lunado_slab *self);

/* Frees a taken item. */
void lunado_slab_give(lunado_slab *self, void *item);

/* While less than a quarter of all items is taken, frees the last block if no
 * item of it is taken.  Keeps the first block.  O(1) amortized. */
void lunado_slab_trim(lunado_slab *self);

/* Returns the item with this number, which must be less than `count`. */
void *lunado_slab_at(const lunado_slab *self, uint32_t number);

#endif
