/* SPDX-License-Identifier: MIT */
/*
 * jump.h - repairing a loop after an error has jumped out of uv_run.
 *
 * libuv requires its callbacks to return. A callback of another library may
 * not: luv pushes the arguments of a Lua callback unprotected, which raises if
 * memory is short. Parts of libuv's queues are then on a stack that is gone. A
 * mended loop can be run again; the callback that raised is not called again.
 *
 * libuv hands over finished works of its thread pool in batches. With
 * lunado__works_guard it hands them over one by one, so that a jump loses none
 * of the others.
 */
#ifndef LUNADO_CORE_JUMP_H
#define LUNADO_CORE_JUMP_H

#include "core/loop.h"

/* For the thread of the loop, right after a jump out of a run of loop->uv. */
void lunado__loop_mend(lunado_loop *loop);

/* Hands finished works of loop->uv over one by one, until the loop is closed.
 * May be repeated.  Returns 0 or UV_ENOMEM. */
int lunado__works_guard(lunado_loop *loop);

/* Ends the guard when the loop is closed. */
void lunado__works_let_go(lunado_loop *loop);

/* Frees the guard's memory when the loop is freed. */
void lunado__works_fini(lunado_loop *loop);

#endif
