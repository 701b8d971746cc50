/* SPDX-License-Identifier: MIT */
/* clock.h - a clock for tests: it can stand still, and skip idle time. */
#ifndef LUNADO_BINDING_LOOP_CLOCK_H
#define LUNADO_BINDING_LOOP_CLOCK_H

#include "binding/state/realm.h"

/* The loop's clock once a test has stopped it.  From then on the loop's time is
 * never the system's time again, though it may advance as fast. */
typedef struct {
  lunado_clock clock;
  double base;    /* the time, or the time at `since` while the clock runs */
  uint64_t since; /* uv_hrtime when the clock was started; 0: it stands still */
} lunado_testclock;

/* Adds the functions for lunado.testing to the table on top. */
void lunado__clock_functions(lua_State *L);

#endif
