/* SPDX-License-Identifier: MIT */
/*
 * jump.h - repairing a loop after an error has jumped out of uv_run.
 *
 * libuv requires its callbacks to return.  A callback of another library may
 * not: luv pushes the arguments of a Lua callback without protection, which
 * raises an error if memory is short.  Parts of libuv's queues are then lost
 * with the stack that held them.  A repaired loop can be run again; the
 * callback that raised is not called again.
 *
 * libuv dispatches the finished works of its thread pool in batches.  After
 * lunado__jump_guard they are dispatched one by one, so that a jump out of one
 * callback does not lose the other works.
 */
#ifndef LUNADO_CORE_JUMP_H
#define LUNADO_CORE_JUMP_H

#include "core/loop.h"

/* Repairs loop->uv.  Called on the loop's thread, right after an error has
 * jumped out of a uv_run of loop->uv. */
void lunado__jump_mend(lunado_loop *loop);

/* Dispatches finished works of loop->uv one by one, until the loop is closed.
 * Does nothing if they are guarded already.  Returns 0 or UV_ENOMEM. */
int lunado__jump_guard(lunado_loop *loop);

/* Ends the guard: restores libuv's own function and returns the finished works
 * to loop->uv.  Called when the loop closes. */
void lunado__jump_let_go(lunado_loop *loop);

/* Frees the guard's memory.  Called when the loop is freed. */
void lunado__jump_fini(lunado_loop *loop);

#endif
