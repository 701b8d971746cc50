/* SPDX-License-Identifier: MIT */
/*
 * check.h - checks the invariants that the headers and sources state.
 *
 * A broken invariant prints its sentence and aborts the process, in release
 * builds as well.  The time of a check is proportional to the number of
 * objects, and for watchers to the square of their number.  The checks are for
 * tests, stress builds and debuggers.
 */
#ifndef LUNADO_CORE_CHECK_H
#define LUNADO_CORE_CHECK_H

#include "core/future.h"
#include "core/heap.h"

typedef struct lunado_loop lunado_loop;

/* Checks a loop, open or closed, with its callbacks, timers, watchers and
 * streams.  Called on the loop's thread, also from the loop's callbacks. */
void lunado__check(lunado_loop *loop);

/* Checks that the entries are in order and each timer knows its number. */
void lunado__check_heap(const lunado_heap *heap);

/* Checks the waiters of a future. */
void lunado__check_future(const lunado_future *future);

#endif
