/* SPDX-License-Identifier: MIT */
/*
 * support.h - functions that the tests of the core share: memory that is
 * counted and fails on command, a clock that the test moves, loops that are
 * checked.
 */
#ifndef LUNADO_SPEC_CORE_SUPPORT_H
#define LUNADO_SPEC_CORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/loop.h"

/* cmocka 2 deprecates the name, and has one for each sign, of which only this
 * one gives no warnings. */
#ifdef assert_int_in_range
#undef assert_in_range
#define assert_in_range assert_int_in_range
#endif

/* --- memory -------------------------------------------------------------- */

/* Installs an allocator that counts the core's memory, fills new blocks with
 * garbage, moves a block whenever it is resized, and overwrites freed blocks.
 * The allocator may be called from any thread. */
void memory_watch(void);

/* Makes the n-th allocation or resize from now on fail; 0: none. */
void memory_fail_at(unsigned n);

/* True if the n-th allocation of memory_fail_at has been requested. */
bool memory_failed(void);

/* Returns the number of blocks in use. */
unsigned memory_out(void);

/* --- time ---------------------------------------------------------------- */

/* A clock whose time changes only if the test sets `time`, or the loop skips to
 * a deadline. */
typedef struct {
  lunado_clock clock;
  double time;
  unsigned skips; /* how often it skipped */
} fake_clock;

void fake_clock_init(fake_clock *self, double time);

/* Returns the processor time of this thread, in milliseconds. */
double cpu_ms(void);

/* Uses the processor for `us` microseconds. */
void burn_us(double us);

/* --- loops --------------------------------------------------------------- */

/* Calls memory_watch and returns a new loop: on a uv_loop_t of its own, or, if
 * `borrowed`, on loop_host(), which the test drives.  There must be only one
 * such loop at a time. */
lunado_loop *loop_open(bool borrowed);

/* Checks the loop, open or closed; closes and releases it; checks that neither
 * a handle nor memory is left. */
void loop_drop(lunado_loop *loop);

/* For tests that release the last reference themselves: checks that neither a
 * handle nor memory is left. */
void loop_gone(void);

/* Returns a difference that the loop's times can represent.  The longer the
 * machine has been running, the fewer fractional digits its time in seconds
 * has. */
double time_grain(lunado_loop *loop);

/* The uv_loop_t under a borrowed loop. */
uv_loop_t *loop_host(void);

/* Fixtures, which set *state to the loop. */
int setup_own(void **state);
int setup_borrowed(void **state);
int teardown(void **state);

/* A test on a loop of its own, and, with on_both, on a borrowed one as well. */
#define on_own(test) \
  { #test, test, setup_own, teardown, NULL }
#define on_both(test) \
  on_own(test), { #test " (borrowed)", test, setup_borrowed, teardown, NULL }

/* --- order --------------------------------------------------------------- */

/* Appends a character to the notes. */
void note(char c);

/* Returns the notes since the last call, or since the loop was opened. */
const char *noted(void);

/* Returns a random number below `bound`.  Each run gets the same sequence. */
uint32_t random_below(uint32_t bound);

#endif
