/* SPDX-License-Identifier: MIT */
/* handle.c - the mark: an address that only this file has. */
#include "core/handle.h"

#include <stddef.h>
#include <string.h>

static char mark;

/* The last of the reserved words; libuv itself uses the first as a number. */
static void **mark_of(uv_handle_t *handle) { return &handle->u.reserved[3]; }

void lunado__handle_mark(void *handle) { *mark_of(handle) = &mark; }

/* The one before has the close callback of who closed the handle, while ours
 * stands in its place. */
static void **stranger_of(uv_handle_t *handle) {
  return &handle->u.reserved[2];
}

void lunado__handle_unmark(void *handle) {
  void **stranger = stranger_of(handle);
  uv_close_cb cb;
  *mark_of(handle) = NULL;
  if (*stranger == NULL) return;
  memcpy(&cb, stranger, sizeof cb);
  *stranger = NULL;
  cb(handle);
}

/* In all versions of libuv. */
#define CLOSED 0x02

void lunado__handle_close(void *object, uv_close_cb cb) {
  uv_handle_t *handle = object;
  if (!uv_is_closing(handle)) {
    uv_close(handle, cb);
  } else if (handle->flags & CLOSED) {
    cb(handle);
  } else {
    memcpy(stranger_of(handle), &handle->close_cb, sizeof cb);
    handle->close_cb = cb;
  }
}

bool lunado__handle_is_ours(const uv_handle_t *handle) {
  return handle->u.reserved[3] == &mark;
}
