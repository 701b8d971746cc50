/* SPDX-License-Identifier: MIT */
/*
 * handle.h - telling lunado's handles from those of others on one uv_loop_t.
 *
 * Nothing in a handle says whose it is: `data` stays NULL, because luv takes
 * other values for its own, and what libuv leaves alone is not initialized.  So
 * the addresses of lunado's are kept, for the whole process: those of loops,
 * which contain handles, and of the handles that stand alone.
 */
#ifndef LUNADO_CORE_HANDLE_H
#define LUNADO_CORE_HANDLE_H

#include <stdbool.h>
#include <uv.h>

/* Makes room for one more, which is to be marked next, or let go.
 * Returns 0 or UV_ENOMEM.  From any thread, as all of these. */
int lunado__handle_reserve(void);

/* Gives the room back. */
void lunado__handle_unreserve(void);

/* Marks a lunado_loop, or a handle of lunado's, in the room that was made for
 * it. */
void lunado__handle_mark(const void *object);

/* Takes the mark off before the memory is freed, which may become somebody
 * else's handle next. */
void lunado__handle_unmark(const void *object);

/* Closes a handle of lunado's, as uv_close, where other code has not done
 * so: an owner of the uv_loop_t may walk it and close all there is.  `cb` is
 * called in any case, and at once where libuv is done with the handle. */
void lunado__handle_close(void *handle, uv_close_cb cb);

/* To be called in such a `cb`: calls the callback of who closed the handle. */
void lunado__handle_closed(uv_handle_t *handle);

/* True if the handle is lunado's. */
bool lunado__handle_is_ours(const uv_handle_t *handle);

#endif
