/* SPDX-License-Identifier: MIT */
/*
 * jump.h - when an error jumps out of uv_run.
 *
 * libuv's callbacks return to it. Those of another library may not: luv pushes
 * what it has for a callback of Lua's unprotected, and without memory that
 * raises. libuv then has parts of its queues on a stack that is gone. A loop
 * that is mended can be run again; the callback that raised has had its chance.
 *
 * Finished works of the thread pool are handed over in batches; with
 * lunado__works_guard one by one, so that a jump loses none of the others.
 */
#ifndef LUNADO_CORE_JUMP_H
#define LUNADO_CORE_JUMP_H

#include "core/loop.h"

/* For the thread of the loop, right after a jump out of a run of loop->uv. */
void lunado__loop_mend(lunado_loop *loop);

/* Hands finished works of loop->uv over one by one, until the loop is closed.
 * May be repeated.  Returns 0 or UV_ENOMEM. */
int lunado__works_guard(lunado_loop *loop);

/* Ends that, when the loop is closed. */
void lunado__works_let_go(lunado_loop *loop);

/* Frees what it needed, with the loop. */
void lunado__works_fini(lunado_loop *loop);

#endif
