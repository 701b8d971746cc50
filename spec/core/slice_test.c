/* SPDX-License-Identifier: MIT */
/*
 * slice_test.c - endless callbacks must not block timers and descriptors.
 *
 * The tests measure processor time, so the load of the machine does not matter.
 */
#include <stdlib.h>

#include "core/loop.h"
#include "support.h"

static unsigned count;

/* Measures the longest processor time between two polls of the descriptors. */
typedef struct {
  uv_check_t check;
  double last, longest;
  unsigned looks;
} gauge;

static void on_look(uv_check_t *check) {
  gauge *self = lunado_container_of(check, gauge, check);
  double now = cpu_ms();
  if (now - self->last > self->longest) self->longest = now - self->last;
  self->last = now;
  self->looks++;
}

/* Skips the first passes: they may be slow under a checker that translates the
 * code. */
static void gauge_start(lunado_loop *loop, gauge *self) {
  *self = (gauge){0};
  uv_check_init(loop->uv, &self->check);
  uv_check_start(&self->check, on_look);
  for (int i = 0; i < 5; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  self->last = cpu_ms();
  self->longest = 0;
  self->looks = 0;
}

static void gauge_stop(lunado_loop *loop, gauge *self) {
  uv_close((uv_handle_t *)&self->check, NULL);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

/* A callback that makes itself ready for ever; each call takes `us`
 * microseconds of processor time. */
typedef struct {
  lunado_callback task;
  double us;
} hog;

static void on_hog(lunado_loop *loop, lunado_callback *task) {
  hog *self = lunado_container_of(task, hog, task);
  if (self->us > 0) burn_us(self->us);
  count++;
  lunado_loop_ready(loop, task);
}

static void hog_start(lunado_loop *loop, hog *self, double us) {
  lunado_callback_init(&self->task, on_hog);
  self->us = us;
  lunado_loop_ready(loop, &self->task);
}

static void run_for(lunado_loop *loop, double ms) {
  double end = cpu_ms() + ms;
  while (cpu_ms() < end) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

/* Runs something on the loop; returns the longest gap, in milliseconds. */
typedef double (*measure_cb)(lunado_loop *loop, double us);

/* A checker can lengthen a gap but never shorten it, so the shortest of several
 * measurements counts. */
static void check_gaps(measure_cb measure, lunado_loop *loop, double us) {
  double shortest = measure(loop, us);
  for (int again = 0; again < 4 && shortest >= 5; again++)
    shortest = measure(loop, us);
  assert_true(shortest < 5);
}

static double run_hog(lunado_loop *loop, double us) {
  gauge g;
  hog h;
  hog_start(loop, &h, us);
  gauge_start(loop, &g);
  run_for(loop, 50);
  lunado_callback_cancel(&h.task);
  gauge_stop(loop, &g);
  return g.longest;
}

static void a_task_that_readies_itself_for_ever_leaves_gaps(void **state) {
  static const double costs[] = {0, 5, 50, 500};
  for (int i = 0; i < 4; i++) check_gaps(run_hog, *state, costs[i]);
}

static double run_changing_hog(lunado_loop *loop, double us) {
  gauge g;
  hog h;
  hog_start(loop, &h, 0);
  gauge_start(loop, &g);
  run_for(loop, 20);
  h.us = us;
  run_for(loop, 20);
  lunado_callback_cancel(&h.task);
  gauge_stop(loop, &g);
  return g.longest;
}

/* While callbacks are cheap, the loop rarely looks at the clock; it must still
 * notice soon when a callback becomes expensive. */
static void so_does_one_that_becomes_expensive(void **state) {
  check_gaps(run_changing_hog, *state, 100);
}

static double run_herd(lunado_loop *loop, double us) {
  enum { HERD = 1000 };
  hog *herd = malloc(HERD * sizeof *herd);
  gauge g;
  gauge_start(loop, &g);
  for (int i = 0; i < HERD; i++) hog_start(loop, &herd[i], i < 100 ? us : 0);
  run_for(loop, 50);
  for (int i = 0; i < HERD; i++) lunado_callback_cancel(&herd[i].task);
  gauge_stop(loop, &g);
  free(herd);
  return g.longest;
}

static void so_do_many_together(void **state) {
  check_gaps(run_herd, *state, 5);
}

/* Cheap turns follow each other without a system call. */
static void a_slice_holds_many_turns(void **state) {
  lunado_loop *loop = *state;
  gauge g;
  hog h;
  count = 0;
  hog_start(loop, &h, 0);
  gauge_start(loop, &g);
  run_for(loop, 20);
  lunado_callback_cancel(&h.task);
  gauge_stop(loop, &g);
  assert_true(count > 10 * g.looks);
}

static unsigned ticks;

static void on_tick(lunado_loop *loop, lunado_timer *timer) {
  ticks++;
  (void)lunado_timer_start(loop, timer, lunado_loop_time(loop) + 0.001);
}

static void timers_run_beside_a_busy_task(void **state) {
  lunado_loop *loop = *state;
  lunado_timer timer;
  hog h;
  ticks = 0;
  hog_start(loop, &h, 20);
  lunado_timer_init(&timer, on_tick);
  (void)lunado_timer_start(loop, &timer, lunado_loop_time(loop));
  run_for(loop, 50);
  lunado_timer_stop(loop, &timer);
  lunado_callback_cancel(&h.task);
  assert_true(ticks >= 10);
}

static void until_tired(lunado_loop *loop, lunado_callback *task) {
  double start = cpu_ms();
  (void)task;
  while (!lunado_loop_slice_expired(loop)) count++;
  assert_true(cpu_ms() - start < 5);
  assert_true(lunado_loop_slice_expired(loop)); /* it remains expired */
}

static void a_long_task_is_told_when_it_is_tired(void **state) {
  lunado_loop *loop = *state;
  lunado_callback task;
  lunado_callback_init(&task, until_tired);
  count = 0;
  for (int i = 0; i < 5 || count == 0; i++) {
    assert_true(i < 1000); /* a slice may have expired when the task begins */
    lunado_loop_ready(loop, &task);
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_own(a_task_that_readies_itself_for_ever_leaves_gaps),
      on_own(so_does_one_that_becomes_expensive),
      on_own(so_do_many_together),
      on_own(a_slice_holds_many_turns),
      on_own(timers_run_beside_a_busy_task),
      on_own(a_long_task_is_told_when_it_is_tired),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
