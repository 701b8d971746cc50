/* SPDX-License-Identifier: MIT */
/*
 * ownuv.h - a uv_loop_t of a loop's own, and how it ends.
 *
 * The loop's owner may give the uv_loop_t to other code.  When the loop is
 * closed, that code may have handles and requests on the uv_loop_t, and may be
 * running it.  The loop does not close foreign handles.  So the uv_loop_t is
 * closed with the loop if the loop is at rest and no foreign handle or request
 * is left.  Otherwise it is closed later, in a uv_run by the other code, once
 * all foreign handles are closed.
 */
#ifndef LUNADO_CORE_OWNUV_H
#define LUNADO_CORE_OWNUV_H

#include "core/loop.h"

/* Makes a uv_loop_t for the loop, without handles.  Returns 0 or a negative
 * libuv error. */
int lunado__ownuv_open(lunado_loop *loop);

/* Opens the check handle, which observes the passes of the uv_loop_t. */
void lunado__ownuv_open_check(lunado_loop *loop);

/* Closes the uv_loop_t of a closed loop: now, if the loop is at rest, otherwise
 * later.  Does nothing while the loop is open, or the uv_loop_t is lent. */
void lunado__ownuv_close(lunado_loop *loop);

/* After a run: if the loop was closed during it, and foreign handles are still
 * closing, calls their close callbacks. */
void lunado__ownuv_finish(lunado_loop *loop);

/* Frees the storage of the uv_loop_t. */
void lunado__ownuv_free(lunado_loop *loop);

#endif
