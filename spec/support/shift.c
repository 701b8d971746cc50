/* SPDX-License-Identifier: MIT */
/*
 * shift.c - a preloaded library that imitates another machine's monotonic
 * clock.
 *
 * The clock is LUNADO_SHIFT seconds ahead.  This number may have a fraction,
 * which a time namespace would not allow.  With LUNADO_STALLS=n the process
 * also seems to be suspended from time to time, as on a busy machine: on
 * average, one of n readings finds the clock some milliseconds further ahead.
 * scripts/strangers.sh uses both.
 *   cc -shared -fPIC -o shift.so spec/support/shift.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { SECOND = 1000000000, LONGEST_STALL = 20000000 };

typedef int clock_fn(clockid_t id, struct timespec *now);

static clock_fn *real;
static struct timespec shift;
static unsigned stalls; /* one of so many readings stalls; 0: none */
static atomic_ullong stalled; /* nanoseconds of all stalls together */
static atomic_uint seed;

static void begin(void) {
  const char *text = getenv("LUNADO_SHIFT");
  double seconds = text != NULL ? strtod(text, NULL) : 0;
  struct timespec now;
  shift.tv_sec = (time_t)seconds;
  shift.tv_nsec = (long)((seconds - (double)shift.tv_sec) * 1e9);
  text = getenv("LUNADO_STALLS");
  stalls = text != NULL ? (unsigned)atoi(text) : 0;
  real = (clock_fn *)dlsym(RTLD_NEXT, "clock_gettime");
  (void)real(CLOCK_REALTIME, &now);
  atomic_store(&seed, (unsigned)now.tv_nsec | 1);
}

/* Returns a random number.  Two threads may get the same one, which does not
 * matter. */
static uint32_t draw(void) {
  uint32_t x = atomic_load(&seed);
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  atomic_store(&seed, x);
  return x;
}

static unsigned long long stall(void) {
  if (stalls == 0) return 0;
  if (draw() % stalls == 0)
    (void)atomic_fetch_add(&stalled, draw() % LONGEST_STALL);
  return atomic_load(&stalled);
}

int clock_gettime(clockid_t id, struct timespec *now) {
  unsigned long long ns;
  if (real == NULL) begin();
  if (real(id, now) != 0) return -1;
  if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE) return 0;
  ns = stall() + (unsigned long long)(now->tv_nsec + shift.tv_nsec);
  now->tv_sec += shift.tv_sec + (time_t)(ns / SECOND);
  now->tv_nsec = (long)(ns % SECOND);
  return 0;
}
