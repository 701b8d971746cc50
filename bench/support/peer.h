/* SPDX-License-Identifier: MIT */
/*
** Runs one workload in C on libuv; prints lines `name value`.  The file that
** includes this header defines run(n).  With MEASURES_ITSELF, run prints its
** own lines by found().  Time is measured as in measure.lua.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

static inline double cpu_ns(void) {
  return (double) clock() / CLOCKS_PER_SEC * 1e9;
}

static inline long status_kb(const char *field) {
  char line[128];
  size_t length = strlen(field);
  long kb = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, field, length) == 0)
      kb = atol(line + length + 1);
  if (file != NULL)
    fclose(file);
  return kb;
}

static inline void found(const char *name, double value) {
  printf("%s %.3f\n", name, value);
}

static void run(long n);

#ifndef MEASURES_ITSELF
static double timed(long n) {
  double from = cpu_ns();
  run(n);
  return cpu_ns() - from;
}

static double measure(long n) {
  const double enough = 0.2e9;
  double spent = timed(n);
  long count = 1;
  if (spent < enough)
    for (spent = 0, count = 0; spent < enough; count++)
      spent += timed(n);
  return spent / (double) count / (double) n;
}
#endif

int main(int argc, char **argv) {
  long n = argc > 3 ? atol(argv[3]) : 1;
#ifdef MEASURES_ITSELF
  run(n);
#else
  found("ns", measure(n));
#endif
  found("peak_kb", (double) status_kb("VmHWM"));
  return 0;
}
