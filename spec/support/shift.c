/* SPDX-License-Identifier: MIT */
/*
 * shift.c - a monotonic clock of any age, preloaded: it is LUNADO_SHIFT seconds
 * ahead, a number that may have a fraction.  scripts/strangers.sh uses it for
 * what a time namespace refuses.
 *   cc -shared -fPIC -o shift.so spec/support/shift.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int clock_fn(clockid_t id, struct timespec *now);

int clock_gettime(clockid_t id, struct timespec *now) {
  static clock_fn *real;
  static struct timespec shift;
  if (real == NULL) {
    const char *text = getenv("LUNADO_SHIFT");
    double seconds = text != NULL ? strtod(text, NULL) : 0;
    shift.tv_sec = (time_t)seconds;
    shift.tv_nsec = (long)((seconds - (double)shift.tv_sec) * 1e9);
    real = (clock_fn *)dlsym(RTLD_NEXT, "clock_gettime");
  }
  if (real(id, now) != 0) return -1;
  if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE) return 0;
  now->tv_sec += shift.tv_sec;
  now->tv_nsec += shift.tv_nsec;
  if (now->tv_nsec >= 1000000000) {
    now->tv_nsec -= 1000000000;
    now->tv_sec++;
  }
  return 0;
}
