/* SPDX-License-Identifier: MIT */
/*
 * check.h - checks the invariants that the headers and sources state.
 *
 * A broken invariant ends the process and prints the sentence that is not true,
 * in release builds as well.  A check takes time in proportion to the number of
 * objects checked (for watchers, to its square).  It is for tests, stress
 * builds and debuggers.
 */
#ifndef LUNADO_CORE_CHECK_H
#define LUNADO_CORE_CHECK_H

#include "core/future.h"
#include "core/heap.h"

typedef struct lunado_loop lunado_loop;

/* Checks a loop, open or closed, with its callbacks, timers and watchers; on
 * the loop's thread, also from its callbacks. */
void lunado__check(lunado_loop *loop);

/* Checks that the entries are in order and each timer knows its place. */
void lunado__check_heap(const lunado_heap *heap);

/* Checks the waiters of a future. */
void lunado__check_future(const lunado_future *future);

#endif
