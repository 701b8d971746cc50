/* SPDX-License-Identifier: MIT */
/*
 * seed.c - a preloaded library that tells the interpreter which time it is.
 *
 * Lua seeds the hashes of its strings with the time and two addresses.  The
 * addresses are the same in each run under valgrind; so the number
 * BENCH_SEED, taken for the time, makes runs repeatable.
 */
#include <stdlib.h>
#include <time.h>

time_t time(time_t *result) {
  const char *text = getenv("BENCH_SEED");
  time_t now = text != NULL ? (time_t)atol(text) : 0;
  if (result != NULL) *result = now;
  return now;
}
