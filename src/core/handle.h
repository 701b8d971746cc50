/* SPDX-License-Identifier: MIT */
/*
 * handle.h - distinguishing lunado's handles from others on one uv_loop_t.
 *
 * No field of a handle can mark it as lunado's: `data` stays NULL, because luv
 * takes other values for its own, and fields that libuv does not use are not
 * initialized.  So one set for the whole process has the addresses of lunado's
 * loops, which contain handles, and of its separate handles.  It also has the
 * handles of other libraries that a stream has adopted.
 */
#ifndef LUNADO_CORE_HANDLE_H
#define LUNADO_CORE_HANDLE_H

#include <stdbool.h>
#include <uv.h>

typedef struct lunado_stream lunado_stream;

/* Reserves room for one more object; the caller then marks the object or
 * unreserves the room.  Returns 0 or UV_ENOMEM.  This function and the others
 * here may be called from any thread. */
int lunado__handle_reserve(void);

/* Releases the reserved room. */
void lunado__handle_unreserve(void);

/* Adds a lunado_loop or a separate handle of lunado's to the set, in the
 * reserved room. */
void lunado__handle_mark(const void *object);

/* Removes the mark.  The owner calls it before it frees the memory, which may
 * be reused for a foreign handle. */
void lunado__handle_unmark(const void *object);

/* Records, in the room reserved for it, that the stream uses a handle of
 * another library: stream->uv, which must not change before the record is
 * removed.  An earlier adopter of the handle loses it. */
void lunado__handle_adopt(const lunado_stream *adopter);

/* Returns the stream that has adopted a handle; NULL if none has. */
lunado_stream *lunado__handle_adopter(const void *handle);

/* Removes the record.  The adopter calls it before the handle's memory is
 * freed. */
void lunado__handle_unadopt(const void *handle);

/* Closes a handle of lunado's with uv_close.  The handle may be closing
 * already, because the owner of the uv_loop_t may walk it and close every
 * handle.  `cb` is called in any case: at once if libuv has already closed the
 * handle. */
void lunado__handle_close(void *handle, uv_close_cb cb);

/* Must be called in the `cb` of lunado__handle_close.  If another party closed
 * the handle, it calls the close callback which that party passed. */
void lunado__handle_closed(uv_handle_t *handle);

/* True if the handle is lunado's. */
bool lunado__handle_is_ours(const uv_handle_t *handle);

#endif
