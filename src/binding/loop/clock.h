/* SPDX-License-Identifier: MIT */
/* clock.h - time as a test wants it: still, and skipping what is idle. */
#ifndef LUNADO_BINDING_LOOP_CLOCK_H
#define LUNADO_BINDING_LOOP_CLOCK_H

#include "binding/state/realm.h"

/* The loop's clock once it has been stopped: from then on its time never is
 * the system's again, though it may go as fast. */
typedef struct {
  lunado_clock clock;
  double base;    /* the time; while it goes, at `since` */
  uint64_t since; /* uv_hrtime when it began to go; 0: it stands still */
} lunado_testclock;

/* Adds the functions for lunado.testing to the table on top. */
void lunado__clock_functions(lua_State *L);

#endif
