/* SPDX-License-Identifier: MIT */
/*
 * support.h - what the tests of the core share: memory that is counted and
 * fails on command, time that only moves when told, loops that are checked.
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

/* --- memory -------------------------------------------------------------- */

/* From now on the core's memory is counted, is garbage when new, moves
 * whenever it is resized and is overwritten when freed.  From any thread. */
void memory_watch(void);

/* The n-th allocation or resize from now on fails; 0: none does. */
void memory_fail_at(unsigned n);

/* True when the allocation that was to fail has been asked for. */
bool memory_failed(void);

/* How many blocks are not freed. */
unsigned memory_out(void);

/* --- time ---------------------------------------------------------------- */

/* Starts at `time`, and moves when it is told to or skips to a deadline. */
typedef struct {
  lunado_clock clock;
  double time;
  unsigned skips; /* how often it skipped */
} fake_clock;

void fake_clock_init(fake_clock *self, double time);

/* The processor time of this thread, in milliseconds: what other processes
 * do does not count. */
double cpu_ms(void);

/* Uses the processor for that long. */
void burn_us(double us);

/* --- loops --------------------------------------------------------------- */

/* A loop of its own, or one on a uv_loop_t that the test drives; memory is
 * watched.  One at a time. */
lunado_loop *loop_open(bool borrowed);

/* Checks the loop, open or closed; closes it, lets it go, and proves that
 * neither a handle nor memory is left. */
void loop_drop(lunado_loop *loop);

/* For tests that let the last reference go themselves: proves the same. */
void loop_gone(void);

/* A difference of the loop's times that is seen in them: the older the machine,
 * the fewer digits behind the point has the number of its seconds. */
double time_grain(lunado_loop *loop);

/* The uv_loop_t under a borrowed loop. */
uv_loop_t *loop_host(void);

/* As fixtures: *state is the loop. */
int setup_own(void **state);
int setup_borrowed(void **state);
int teardown(void **state);

/* A test on a loop of its own; and on a borrowed one, too. */
#define on_own(test) \
  { #test, test, setup_own, teardown, NULL }
#define on_both(test) \
  on_own(test), { #test " (borrowed)", test, setup_borrowed, teardown, NULL }

/* --- order --------------------------------------------------------------- */

/* Remembers a character. */
void note(char c);

/* What was noted since the last call, or since the loop was opened. */
const char *noted(void);

/* A random number below `bound`; the same ones in each run. */
uint32_t random_below(uint32_t bound);

#endif
