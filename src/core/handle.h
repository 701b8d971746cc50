/* SPDX-License-Identifier: MIT */
/*
 * handle.h - telling lunado's handles from those of others on one uv_loop_t.
 *
 * `data` stays NULL, because luv takes other values for its own.  The mark is
 * in a field that libuv reserves and does not use.  Handles are marked when
 * they are opened; the mark goes in the close callback, as the memory may
 * become somebody else's handle next.
 */
#ifndef LUNADO_CORE_HANDLE_H
#define LUNADO_CORE_HANDLE_H

#include <stdbool.h>
#include <uv.h>

/* Marks a handle of lunado's, which has just been initialized. */
void lunado__handle_mark(void *handle);

/* Takes the mark off a handle that libuv is done with. */
void lunado__handle_unmark(void *handle);

/* Closes the handle, as uv_close, where somebody else has not done so: an owner
 * of the uv_loop_t may walk it and close all there is.  `cb` is called in any
 * case, and at once where libuv is done with the handle; the callback of who
 * closed it, too. */
void lunado__handle_close(void *handle, uv_close_cb cb);

/* True if the handle is lunado's, and has not been closed. */
bool lunado__handle_is_ours(const uv_handle_t *handle);

#endif
