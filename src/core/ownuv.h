/* SPDX-License-Identifier: MIT */
/*
 * ownuv.h - a uv_loop_t of a loop's own, and how it ends.
 *
 * Others may have handles and requests on it, and may be running it when the
 * loop is closed: they got it from the loop's owner.  Their handles stay as
 * they are.  So it ends with the loop where that is at rest and nothing of
 * theirs is left; otherwise it lives on, and ends while they run it, once all
 * that was theirs is closed.
 */
#ifndef LUNADO_CORE_OWNUV_H
#define LUNADO_CORE_OWNUV_H

#include "core/loop.h"

/* Makes a uv_loop_t for the loop, without handles.  Returns 0 or a negative
 * libuv error. */
int lunado__ownuv_open(lunado_loop *loop);

/* Opens the handle that looks at it. */
void lunado__ownuv_watch(lunado_loop *loop);

/* Ends it if the loop is closed and at rest, or has that done later. */
void lunado__ownuv_close(lunado_loop *loop);

/* Frees its storage. */
void lunado__ownuv_free(lunado_loop *loop);

#endif
