/* SPDX-License-Identifier: MIT */
/* handle.c - the mark: an address that only this file has. */
#include "core/handle.h"

#include <stddef.h>

static char mark;

/* The last of the reserved words; libuv itself uses the first as a number. */
static void **mark_of(uv_handle_t *handle) { return &handle->u.reserved[3]; }

void lunado__handle_mark(void *handle) { *mark_of(handle) = &mark; }

void lunado__handle_unmark(void *handle) { *mark_of(handle) = NULL; }

bool lunado__handle_is_ours(const uv_handle_t *handle) {
  return handle->u.reserved[3] == &mark;
}
