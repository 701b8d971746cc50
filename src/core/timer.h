/* SPDX-License-Identifier: MIT */
/*
 * timer.h - deadlines of a loop, all on one uv_timer_t.
 *
 * Times are seconds on lunado_loop_time().  A timer never runs early; timers
 * of one deadline run in the order in which they were started; one whose
 * deadline has passed runs on the loop's next turn.
 *
 * Life cycle: init; start; it runs once, or is stopped; start again.  A timer
 * may be dropped whenever it is not running.
 */
#ifndef LUNADO_CORE_TIMER_H
#define LUNADO_CORE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

typedef struct lunado_loop lunado_loop;
typedef struct lunado_timer lunado_timer;

/* Runs once the deadline has come, with the timer stopped; may start and stop
 * any timer, this one included, stop the loop and close it. */
typedef void (*lunado_timer_cb)(lunado_loop *loop, lunado_timer *timer);

/* Makes a stopped timer of the caller's storage. */
static inline void lunado_timer_init(lunado_timer *timer, lunado_timer_cb cb);

/* Starts a stopped timer; `when` is not NaN, and infinity means never.  The
 * timer stays where it is while it runs.
 * Returns 0; UV_ENOMEM, UV_ECANCELED (the loop is closed): nothing changed. */
int lunado_timer_start(lunado_loop *loop, lunado_timer *timer, double when);

/* Stops the timer if it runs.  O(1) amortized. */
void lunado_timer_stop(lunado_loop *loop, lunado_timer *timer);

static inline bool lunado_timer_running(const lunado_timer *timer);

/* True, and *when is its deadline, if the timer runs and on this loop. */
bool lunado_timer_when(const lunado_loop *loop, const lunado_timer *timer,
                       double *when);

/* --- for the loop -------------------------------------------------------- */

/* Runs the timers whose deadline is not later than `due`, in order, for a
 * slice. */
void lunado__timers_run(lunado_loop *loop, double due);

/* Arms the loop for the earliest deadline. */
void lunado__timers_arm(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_timer {
  lunado_timer_cb cb;
  uint32_t place; /* in the loop's heap, plus one; 0 while stopped */
  uint32_t age;   /* when it was started, as a wrapping count */
};

static inline void lunado_timer_init(lunado_timer *timer, lunado_timer_cb cb) {
  timer->cb = cb;
  timer->place = 0;
  timer->age = 0;
}

static inline bool lunado_timer_running(const lunado_timer *timer) {
  return timer->place != 0;
}

#endif
