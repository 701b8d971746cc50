/* SPDX-License-Identifier: MIT */
/*
 * timer.h - deadlines of a loop, all on one uv_timer_t.
 *
 * Times are seconds on lunado_loop_time().  A timer never runs early; timers
 * with equal deadlines run in the order in which they were started.  A timer
 * whose deadline has passed runs on the loop's next turn.
 *
 * Life cycle: init; start; it runs once, or is stopped; start again.  The
 * storage of a stopped timer may be freed.
 */
#ifndef LUNADO_CORE_TIMER_H
#define LUNADO_CORE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

typedef struct lunado_loop lunado_loop;
typedef struct lunado_timer lunado_timer;

/* Called when the deadline has passed, with the timer stopped.  It may start
 * and stop any timer, this one included, and stop or close the loop. */
typedef void (*lunado_timer_cb)(lunado_loop *loop, lunado_timer *timer);

/* Makes a stopped timer in the caller's storage. */
static inline void lunado_timer_init(lunado_timer *timer, lunado_timer_cb cb);

/* Starts a stopped timer.  `when` is the deadline, not NaN; infinity means
 * never.  The caller must not move the timer while it is running.
 * Returns 0, or UV_ENOMEM or UV_ECANCELED (the loop is closed) and changes
 * nothing. */
int lunado_timer_start(lunado_loop *loop, lunado_timer *timer, double when);

/* The same for a deadline `delay` seconds from now.  Looks at the clock only
 * once. */
int lunado_timer_start_in(lunado_loop *loop, lunado_timer *timer, double delay);

/* Stops the timer if it is running.  O(1) amortized. */
void lunado_timer_stop(lunado_loop *loop, lunado_timer *timer);

/* True from lunado_timer_start until the timer runs or is stopped. */
static inline bool lunado_timer_running(const lunado_timer *timer);

/* Returns true and stores the deadline in *when, if the timer is running on
 * this loop. */
bool lunado_timer_when(const lunado_loop *loop, const lunado_timer *timer,
                       double *when);

/* --- for the loop -------------------------------------------------------- */

/* Runs the timers whose deadline is not later than `due`, in order, for at most
 * a slice. */
void lunado__timers_run(lunado_loop *loop, double due);

/* Arms the uv_timer_t or starts the idle handle for the earliest deadline. */
void lunado__timers_arm(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_timer {
  lunado_timer_cb cb;
  uint32_t number; /* its number in the loop's heap plus one; 0: stopped */
};

static inline void lunado_timer_init(lunado_timer *timer, lunado_timer_cb cb) {
  timer->cb = cb;
  timer->number = 0;
}

static inline bool lunado_timer_running(const lunado_timer *timer) {
  return timer->number != 0;
}

#endif
