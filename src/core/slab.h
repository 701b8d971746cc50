/* SPDX-License-Identifier: MIT */
/*
 * slab.h - numbered items of one size, which stay where they are.
 *
 * Items are made in blocks, each as large as all before it.  An item is free
 * or taken; a free item keeps its contents, except its slot.  Items are taken
 * from the first block that has a free one, so that the last blocks become
 * free.
 *
 * Another thread may look up an item whose number it knows, if the owner never
 * trims the slab.
 */
#ifndef LUNADO_CORE_SLAB_H
#define LUNADO_CORE_SLAB_H

#include <stddef.h>
#include <stdint.h>

/* Items of the first block. */
#define LUNADO_SLAB_FIRST 64u

#define LUNADO_SLAB_BLOCKS 19

/* So many items at most. */
#define LUNADO_SLAB_MAX (LUNADO_SLAB_FIRST << (LUNADO_SLAB_BLOCKS - 1))

/* What each item begins with. */
typedef struct {
  uint32_t number; /* which item it is, from 0 */
  uint32_t next;   /* while it is free: the number of the next free one of its
                      block, plus one; 0: none */
} lunado_slot;

typedef struct {
  char *items;    /* NULL: the block is not made */
  uint32_t free;  /* the number of the first free one, plus one; 0: none */
  uint32_t taken; /* items of it */
} lunado_slab_block;

typedef struct {
  size_t size;     /* bytes of an item */
  uint32_t count;  /* items made */
  uint32_t taken;  /* and taken */
  int first;       /* no block before this one has a free item */
  int block_count; /* blocks made */
  lunado_slab_block blocks[LUNADO_SLAB_BLOCKS];
} lunado_slab;

/* Makes a slab without items, which owns no memory. */
void lunado_slab_init(lunado_slab *self, size_t size);

/* Frees all items. */
void lunado_slab_fini(lunado_slab *self);

/* Ensures that one more item can be taken, of `max` at most.  Returns 0, or
 * UV_ENOMEM or UV_ENOSPC, and then nothing has changed. */
int lunado_slab_reserve(lunado_slab *self, uint32_t max);

/* Takes a free item; there must be one.  A new item is all zeros except its
 * slot. */
void *lunado_slab_take(lunado_slab *self);

/* Gives an item back. */
void lunado_slab_give(lunado_slab *self, void *item);

/* Frees blocks at the end that have no item taken, but for the first one, where
 * less than a quarter of all items is taken.  O(1) amortized. */
void lunado_slab_trim(lunado_slab *self);

/* The item of this number, which is less than `count`. */
void *lunado_slab_at(const lunado_slab *self, uint32_t number);

#endif
