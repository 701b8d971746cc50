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

/* Resizes `block` (NULL: allocates one) to `size` bytes and returns it.  With 0
 * bytes it frees the block and returns NULL.  Otherwise NULL means that no
 * memory was available and nothing has changed. */
typedef void *(*lunado_alloc_cb)(void *block, size_t size);

/* Replaces the allocator; NULL restores realloc and free.  Must be called while
 * no memory of the core is in use. */
void lunado__set_allocator(lunado_alloc_cb cb);

/* Like lua_Alloc: resizes `block` from `old_size` to `size` bytes.  A NULL
 * block, with old_size 0, is allocated; a size of 0 bytes frees the block. */
typedef void *(*lunado_host_alloc_cb)(void *data, void *block, size_t old_size,
                                      size_t size);

/* Replaces the allocator by the host's; NULL restores realloc and free.
 * Returns 0.  While memory of the core is in use, returns UV_EBUSY and changes
 * nothing. */
int lunado__set_host_allocator(lunado_host_alloc_cb cb, void *data);

/* Allocates `size` bytes of zeros; NULL if no memory is available. */
void *lunado__alloc(size_t size);

/* Calls the allocator; see lunado_alloc_cb. */
void *lunado__realloc(void *block, size_t size);

/* Frees `block`; NULL is allowed. */
void lunado__free(void *block);

#endif
