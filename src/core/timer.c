/* SPDX-License-Identifier: MIT */
/*
 * timer.c - starting, stopping and running the deadlines of a loop.
 *
 * Invariants: the uv_timer_t is armed for the time `armed`, which is never
 * later than the earliest deadline.  It may be earlier if a timer was stopped;
 * the uv_timer_t then fires without effect and is armed again.  For a deadline
 * that has passed, or that the clock can skip to, the idle handle is active
 * instead.  The uv_timer_t is referenced exactly while a timer with a finite
 * deadline runs.
 */
#include "core/timer.h"

#include <assert.h>
#include <math.h>
#include <uv.h>

#include "core/loop.h"

/* The wait until `when` in whole milliseconds from libuv's cached time, rounded
 * up so that it does not end before the deadline.  At least 1, because a
 * uv_timer_t that its own callback starts with 0 would fire for ever in the
 * same pass. */
static uint64_t wait_ms(const lunado_loop *loop, double when, double now) {
  double from = loop->clock != NULL ? now : (double)uv_now(loop->uv) / 1e3;
  double ms = (when - from) * 1e3;
  uint64_t whole;
  if (ms <= 1) return 1;
  if (ms >= 1e15) return (uint64_t)1e15;
  whole = (uint64_t)ms;
  return (double)whole < ms ? whole + 1 : whole;
}

/* Updates libuv's cached time inside a timer callback.  Before it does anything
 * else, libuv calls all timers that are due by its cached time, so the loop's
 * uv_timer_t must not be due by the updated time as well.  If it would be, it
 * is stopped and the idle handle takes over. */
static void renew_time(lunado_loop *loop) {
  if (loop->closed) return;
  uv_update_time(loop->uv);
  if (loop->armed > lunado_loop_time(loop)) return;
  (void)uv_timer_stop(&loop->timer);
  loop->armed = INFINITY;
  lunado__timers_arm(loop);
}

static void on_timeout(uv_timer_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, timer);
  loop->armed = INFINITY;
  lunado__loop_enter(loop);
  lunado__timers_run(loop, lunado_loop_time(loop));
  lunado__loop_deliver_urgent(loop);
  renew_time(loop);
  lunado__loop_exit(loop);
}

static bool skips(const lunado_loop *loop) {
  return loop->clock != NULL && loop->clock->skip_to != NULL;
}

static void arm(lunado_loop *loop, double when, double now) {
  if (when <= now || skips(loop)) {
    lunado__loop_wake(loop);
  } else if (when < loop->armed &&
             !uv_is_closing((uv_handle_t *)&loop->timer)) {
    loop->armed = when;
    (void)uv_timer_start(&loop->timer, on_timeout, wait_ms(loop, when, now), 0);
  }
}

/* If the owner of the uv_loop_t has closed the uv_timer_t, it may still be
 * referenced, but not started. */
void lunado__timers_arm(lunado_loop *loop) {
  if (loop->closed) return;
  if (loop->heap.finite > 0) {
    uv_ref((uv_handle_t *)&loop->timer);
    arm(loop, lunado_heap_entry_when(lunado_heap_min(&loop->heap)),
        lunado_loop_time(loop));
  } else {
    uv_unref((uv_handle_t *)&loop->timer);
  }
}

/* While timers run, a deadline before `due` is changed to `due`.  So a timer
 * that is started meanwhile comes after all timers of this turn. */
static double not_before_due(const lunado_loop *loop, double when) {
  return when < loop->due ? loop->due : when;
}

/* Arms for a timer that was added.  `now` is NULL if the caller has not looked
 * at the clock. */
static void arm_added(lunado_loop *loop, const lunado_timer *timer, double when,
                      const double *now) {
  if (when < INFINITY && lunado_heap_is_first(&loop->heap, timer)) {
    uv_ref((uv_handle_t *)&loop->timer);
    arm(loop, when, now != NULL ? *now : lunado_loop_time(loop));
  } else if (loop->heap.finite == 1) { /* behind timers that were removed */
    lunado__timers_arm(loop);
  }
}

static int start(lunado_loop *loop, lunado_timer *timer, double when,
                 const double *now) {
  int rc;
  assert(when == when && "a deadline is a number");
  if (loop->closed) return UV_ECANCELED;
  when = not_before_due(loop, when);
  rc = lunado_heap_push(&loop->heap, when, timer);
  if (rc == 0) arm_added(loop, timer, when, now);
  return rc;
}

int lunado_timer_start(lunado_loop *loop, lunado_timer *timer, double when) {
  return start(loop, timer, when, NULL);
}

int lunado_timer_start_in(lunado_loop *loop, lunado_timer *timer,
                          double delay) {
  double now = lunado_loop_time(loop);
  return start(loop, timer, now + delay, &now);
}

void lunado_timer_stop(lunado_loop *loop, lunado_timer *timer) {
  if (!lunado_timer_running(timer)) return;
  lunado_heap_remove(&loop->heap, timer);
  if (loop->heap.finite == 0) lunado__timers_arm(loop);
}

bool lunado_timer_when(const lunado_loop *loop, const lunado_timer *timer,
                       double *when) {
  return lunado_heap_when(&loop->heap, timer, when);
}

/* True if the timer of the entry was started after the timers of this turn
 * began to run. */
static bool is_new(const lunado_loop *loop, const lunado_heap_entry *entry) {
  return !lunado__heap_older(entry->age, loop->turn_age);
}

/* True if the earliest timer belongs to this turn.  A timer that a timer of
 * this turn started waits for the next turn, so that the turn ends. */
static bool is_due(lunado_loop *loop) {
  const lunado_heap_entry *first = lunado_heap_min(&loop->heap);
  double when;
  if (first == NULL) return false;
  when = lunado_heap_entry_when(first);
  return when < loop->due || (when == loop->due && !is_new(loop, first));
}

static void run_first(lunado_loop *loop) {
  lunado_timer *timer = lunado_heap_pop(&loop->heap);
  timer->cb(loop, timer);
}

/* If the loop was stopped, the slice does not expire, so that the turn is
 * completed. */
static bool is_slice_over(lunado_loop *loop) {
  return !loop->stopped && lunado_loop_slice_expired(loop);
}

void lunado__timers_run(lunado_loop *loop, double due) {
  double outer = loop->due;
  uint32_t outer_age = loop->turn_age;
  loop->due = due;
  loop->turn_age = loop->heap.ages;
  lunado__loop_begin_slice(loop);
  while (is_due(loop) && !loop->broken && !lunado_loop_urged(loop)) {
    run_first(loop);
    if (is_slice_over(loop)) break;
  }
  loop->overdue = is_due(loop) ? due : -INFINITY;
  loop->due = outer;
  loop->turn_age = outer_age;
  lunado__timers_arm(loop);
}
