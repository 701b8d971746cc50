/* SPDX-License-Identifier: MIT */
/*
 * alloc.h - the only functions through which the core allocates memory.
 *
 * A host may install its own allocator here.  Tests install one that fails on
 * command and counts the blocks in use.  The allocator is called from every
 * thread that uses the core.
 */
#ifndef LUNADO_CORE_ALLOC_H
#define LUNADO_CORE_ALLOC_H

#include <stddef.h>

/* Resizes `block` (NULL: makes one) to `size` bytes; 0 bytes frees it and
 * returns NULL.  NULL for any other size means that nothing has changed. */
typedef void *(*lunado_alloc_cb)(void *block, size_t size);

/* Replaces the allocator; NULL restores realloc and free.  Only while no
 * memory of the core is in use. */
void lunado__set_allocator(lunado_alloc_cb cb);

/* Like lua_Alloc: resizes `block` of `old_size` bytes (NULL and 0: makes one)
 * to `size` bytes; 0 bytes frees it. */
typedef void *(*lunado_host_alloc_cb)(void *data, void *block, size_t old_size,
                                      size_t size);

/* Replaces the allocator by the host's; NULL restores realloc and free.
 * Returns 0, or UV_EBUSY while memory of the core is in use: then nothing has
 * changed. */
int lunado__set_host_allocator(lunado_host_alloc_cb cb, void *data);

/* Returns `size` bytes of zeros, or NULL. */
void *lunado__alloc(size_t size);

/* Calls the allocator; see lunado_alloc_cb. */
void *lunado__realloc(void *block, size_t size);

/* Frees `block`; NULL is allowed. */
void lunado__free(void *block);

#endif
