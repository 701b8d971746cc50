/* SPDX-License-Identifier: MIT */
/* support.c - functions that the tests of the core share. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- memory -------------------------------------------------------------- */

/* Precedes each block; padded to the strictest alignment. */
typedef union {
  size_t size;
  max_align_t align;
} header;

static atomic_uint blocks;
static atomic_uint countdown;
static atomic_bool failed;

static bool fails_now(void) {
  unsigned n = atomic_load(&countdown);
  if (n == 0) return false;
  atomic_store(&countdown, n - 1);
  if (n == 1) atomic_store(&failed, true);
  return n == 1;
}

static void give_up(header *block) {
  memset(block + 1, 0xdd, block->size);
  free(block);
  atomic_fetch_sub(&blocks, 1);
}

static void *watched(void *memory, size_t size) {
  header *old = memory != NULL ? (header *)memory - 1 : NULL;
  header *block;
  if (size == 0) {
    if (old != NULL) give_up(old);
    return NULL;
  }
  if (fails_now()) return NULL;
  block = malloc(sizeof *block + size);
  if (block == NULL) return NULL;
  block->size = size;
  memset(block + 1, 0xaa, size);
  atomic_fetch_add(&blocks, 1);
  if (old != NULL) {
    memcpy(block + 1, memory, size < old->size ? size : old->size);
    give_up(old);
  }
  return block + 1;
}

/* Ignores blocks that an earlier, failed test has left behind. */
void memory_watch(void) {
  memory_fail_at(0);
  atomic_store(&blocks, 0);
  lunado__set_allocator(watched);
}

void memory_fail_at(unsigned n) {
  atomic_store(&failed, false);
  atomic_store(&countdown, n);
}

bool memory_failed(void) { return atomic_load(&failed); }

unsigned memory_out(void) { return atomic_load(&blocks); }

/* --- time ---------------------------------------------------------------- */

static double fake_now(lunado_clock *clock) {
  return lunado_container_of(clock, fake_clock, clock)->time;
}

static void fake_skip(lunado_clock *clock, double when) {
  fake_clock *self = lunado_container_of(clock, fake_clock, clock);
  assert_true(when > self->time);
  assert_true(when < INFINITY);
  self->time = when;
  self->skips++;
}

void fake_clock_init(fake_clock *self, double time) {
  self->clock.now = fake_now;
  self->clock.skip_to = fake_skip;
  self->time = time;
  self->skips = 0;
}

double cpu_ms(void) {
  return (double)clock() * 1e3 / CLOCKS_PER_SEC;
}

void burn_us(double us) {
  double end = cpu_ms() + us / 1e3;
  while (cpu_ms() < end) continue;
}

/* --- order --------------------------------------------------------------- */

static char journal[256];
static size_t length;

void note(char c) {
  assert_true(length + 1 < sizeof journal);
  journal[length++] = c;
}

const char *noted(void) {
  journal[length] = '\0';
  length = 0;
  return journal;
}

uint32_t random_below(uint32_t bound) {
  static uint32_t state = 2463534242u;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state % bound;
}

/* --- loops --------------------------------------------------------------- */

static uv_loop_t host;
static bool hosting;

uv_loop_t *loop_host(void) { return &host; }

double time_grain(lunado_loop *loop) {
  return lunado_loop_time(loop) * 2 * DBL_EPSILON;
}

lunado_loop *loop_open(bool borrowed) {
  lunado_loop *loop;
  memory_watch();
  (void)noted();
  hosting = borrowed;
  if (borrowed) assert_int_equal(uv_loop_init(&host), 0);
  assert_int_equal(lunado_loop_new(&loop, borrowed ? &host : NULL), 0);
  lunado__check(loop);
  return loop;
}

void loop_gone(void) {
  if (hosting) {
    (void)uv_run(&host, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&host), 0);
    hosting = false;
  }
  assert_int_equal(memory_out(), 0);
}

void loop_drop(lunado_loop *loop) {
  memory_fail_at(0);
  lunado__check(loop);
  lunado_loop_close(loop);
  lunado__check(loop);
  lunado_loop_unref(loop);
  loop_gone();
}

int setup_own(void **state) {
  *state = loop_open(false);
  return 0;
}

int setup_borrowed(void **state) {
  *state = loop_open(true);
  return 0;
}

int teardown(void **state) {
  loop_drop(*state);
  return 0;
}
