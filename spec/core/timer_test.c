/* SPDX-License-Identifier: MIT */
/* timer_test.c - deadlines: never early, in order, whatever the callbacks
 * do. */
#include "core/timer.h"

#include <math.h>
#include <stdlib.h>

#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

enum { FEW = 8, SOME = 400, MANY = 100000 };

typedef struct named named;
struct named {
  lunado_timer timer;
  char name;
  void (*act)(lunado_loop *loop, named *self);
  named *other; /* the timer that `act` acts on */
  double when;  /* its deadline */
};

static named timers[FEW];
static unsigned count;

static void on_named(lunado_loop *loop, lunado_timer *timer) {
  named *self = lunado_container_of(timer, named, timer);
  assert_false(lunado_timer_running(timer));
  assert_true(lunado_loop_running(loop));
  assert_true(lunado_loop_time(loop) >= self->when);
  note(self->name);
  if (self->act != NULL) self->act(loop, self);
  lunado__check(loop);
}

static named *start(lunado_loop *loop, named *self, double when, char name) {
  *self = (named){.name = name, .when = when};
  lunado_timer_init(&self->timer, on_named);
  assert_int_equal(lunado_timer_start(loop, &self->timer, when), 0);
  assert_true(lunado_timer_running(&self->timer));
  lunado__check(loop);
  return self;
}

static double in(lunado_loop *loop, double seconds) {
  return lunado_loop_time(loop) + seconds;
}

static void run(lunado_loop *loop) {
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  lunado__check(loop);
}

/* --- order and time ------------------------------------------------------ */

static void a_delay_counts_from_now(void **state) {
  lunado_loop *loop = *state;
  named *self = start(loop, &timers[0], in(loop, 5), 'a');
  double before, when, after;
  lunado_timer_stop(loop, &self->timer);
  before = in(loop, 0.002);
  assert_int_equal(lunado_timer_start_in(loop, &self->timer, 0.002), 0);
  after = in(loop, 0.002);
  lunado__check(loop);
  assert_true(lunado_timer_when(loop, &self->timer, &when));
  assert_true(before <= when && when <= after);
  self->when = when;
  /* More than the grain of times that are as large as 2^40 s. */
  start(loop, &timers[1], before - 0.001, 'b');
  run(loop);
  assert_string_equal(noted(), "ba");
}

static void no_delay_means_the_next_turn(void **state) {
  lunado_loop *loop = *state;
  named *self = start(loop, &timers[0], in(loop, 5), 'a');
  lunado_timer_stop(loop, &self->timer);
  self->when = in(loop, 0);
  assert_int_equal(lunado_timer_start_in(loop, &self->timer, 0), 0);
  assert_true(uv_is_active((uv_handle_t *)&loop->idle));
  run(loop);
  assert_string_equal(noted(), "a");
}

static void runs_once_and_not_early(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], in(loop, 0.0123), 'a');
  run(loop);
  assert_string_equal(noted(), "a");
  run(loop);
  assert_string_equal(noted(), "");
}

static void runs_in_the_order_of_deadlines(void **state) {
  lunado_loop *loop = *state;
  double now = lunado_loop_time(loop);
  start(loop, &timers[0], now + 0.003, 'c');
  start(loop, &timers[1], now + 0.001, 'a');
  start(loop, &timers[2], now + 0.002, 'b');
  run(loop);
  assert_string_equal(noted(), "abc");
}

static void equal_deadlines_run_in_the_order_of_starting(void **state) {
  lunado_loop *loop = *state;
  double when = in(loop, 0.002);
  for (int i = 0; i < FEW; i++) start(loop, &timers[i], when, (char)('a' + i));
  run(loop);
  assert_string_equal(noted(), "abcdefgh");
}

static void they_do_so_where_the_count_of_ages_wraps(void **state) {
  lunado_loop *loop = *state;
  double when = in(loop, 0.002);
  loop->heap.ages = UINT32_MAX - FEW / 2;
  for (int i = 0; i < FEW; i++) start(loop, &timers[i], when, (char)('a' + i));
  assert_true(loop->heap.ages < FEW);
  run(loop);
  assert_string_equal(noted(), "abcdefgh");
}

static void microseconds_apart_run_in_order(void **state) {
  lunado_loop *loop = *state;
  double now = lunado_loop_time(loop);
  double grain = time_grain(loop), step = grain > 1e-6 ? grain : 1e-6;
  for (int i = 0; i < FEW; i++)
    start(loop, &timers[i], now + 0.001 + (FEW - i) * step, (char)('a' + i));
  run(loop);
  assert_string_equal(noted(), "hgfedcba");
}

static void on_counted(lunado_loop *loop, lunado_timer *timer) {
  named *self = lunado_container_of(timer, named, timer);
  assert_true(lunado_loop_time(loop) >= self->when);
  count++;
}

static void fractions_of_milliseconds_are_never_early(void **state) {
  lunado_loop *loop = *state;
  named *many = malloc(SOME * sizeof *many);
  double now = lunado_loop_time(loop);
  count = 0;
  for (int i = 0; i < SOME; i++) {
    many[i].when = now + random_below(8000) * 1e-6;
    lunado_timer_init(&many[i].timer, on_counted);
    (void)lunado_timer_start(loop, &many[i].timer, many[i].when);
  }
  run(loop);
  assert_int_equal(count, SOME);
  free(many);
}

static void an_earlier_one_arms_the_handle(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], in(loop, 3600), 'z');
  start(loop, &timers[1], in(loop, 0.001), 'a')->act = NULL;
  /* UV_RUN_ONCE would wait for the far one if the other is due at once. */
  while (lunado_timer_running(&timers[1].timer))
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  assert_string_equal(noted(), "a");
  lunado_timer_stop(loop, &timers[0].timer);
  run(loop);
}

/* --- deadlines that have passed ------------------------------------------ */

static void passed_deadlines_run_in_order(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'b');
  start(loop, &timers[1], -INFINITY, 'a');
  start(loop, &timers[2], lunado_loop_time(loop), 'd');
  start(loop, &timers[3], -1, 'c');
  run(loop);
  assert_string_equal(noted(), "abcd");
}

static void start_again_now(lunado_loop *loop, named *self) {
  double when = lunado_loop_time(loop);
  if (++count < SOME) start(loop, self, when, '.')->act = start_again_now;
  (void)noted();
}

/* The deadline of each timer is the time of its start, so no turn waits.  (A
 * turn waits only if its time is the same number as that of the turn
 * before.) */
static void a_passed_deadline_does_not_wait(void **state) {
  lunado_loop *loop = *state;
  if (time_grain(loop) > 1e-7) skip();
  assert_int_equal(uv_loop_configure(loop->uv, UV_METRICS_IDLE_TIME), 0);
  count = 0;
  start(loop, &timers[0], lunado_loop_time(loop), '.')->act = start_again_now;
  run(loop);
  assert_int_equal(count, SOME);
  assert_true(uv_metrics_idle_time(loop->uv) < SOME * 100000);
}

static int ends[2];
static bool readable;

static void on_readable(lunado_watcher *watcher, int events) {
  assert_int_equal(events, LUNADO_READ);
  readable = true;
  lunado_watcher_close(watcher);
}

static void start_again_until_readable(lunado_loop *loop, named *self) {
  (void)noted();
  if (++count == 10) assert_int_equal(write(ends[1], "x", 1), 1);
  assert_true(count < MANY);
  if (!readable)
    start(loop, self, -INFINITY, '.')->act = start_again_until_readable;
}

static void one_that_starts_itself_for_ever_lets_others_run(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(
      lunado_watcher_new(&watcher, loop, ends[0], LUNADO_READ, on_readable), 0);
  count = 0;
  readable = false;
  start(loop, &timers[0], 0, '.')->act = start_again_until_readable;
  run(loop);
  assert_true(readable);
  assert_true(count < 20);
  close(ends[0]);
  close(ends[1]);
}

static void start_other_now(lunado_loop *loop, named *self) {
  start(loop, self->other, -INFINITY, 'x');
}

/* A timer that a callback starts runs after the timers that were due before. */
static void one_started_by_a_callback_waits_its_turn(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'a')->act = start_other_now;
  timers[0].other = &timers[2];
  start(loop, &timers[1], 2, 'b');
  run(loop);
  assert_string_equal(noted(), "abx");
}

static unsigned passes;

static void on_pass(uv_check_t *check) {
  (void)check;
  passes++;
}

static void on_slow(lunado_loop *loop, lunado_timer *timer) {
  (void)loop;
  (void)timer;
  burn_us(100);
  count++;
}

/* 400 timers are due at once, and each takes 100 us: the loop must poll
 * descriptors about once per millisecond. */
static void many_that_are_due_do_not_hold_the_loop(void **state) {
  lunado_loop *loop = *state;
  named *many = malloc(SOME * sizeof *many);
  uv_check_t check;
  uv_check_init(loop->uv, &check);
  uv_check_start(&check, on_pass);
  uv_unref((uv_handle_t *)&check);
  passes = count = 0;
  for (int i = 0; i < SOME; i++) {
    lunado_timer_init(&many[i].timer, on_slow);
    (void)lunado_timer_start(loop, &many[i].timer, i % 7);
  }
  run(loop);
  assert_int_equal(count, SOME);
  assert_true(passes >= SOME / 50);
  uv_close((uv_handle_t *)&check, NULL);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  free(many);
}

/* --- never --------------------------------------------------------------- */

static void infinity_is_never_and_keeps_nothing_alive(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], INFINITY, 'x');
  run(loop);
  assert_true(lunado_timer_running(&timers[0].timer));
  start(loop, &timers[1], in(loop, 0.001), 'a');
  run(loop);
  assert_string_equal(noted(), "a");
}

/* The alarm ends the test if a bug makes the run wait for an hour. */
static void infinity_keeps_nothing_alive_once_others_stop(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], INFINITY, 'x');
  start(loop, &timers[1], in(loop, 3600), 'y');
  lunado_timer_stop(loop, &timers[1].timer);
  lunado__check(loop);
  alarm(20);
  run(loop);
  alarm(0);
  assert_string_equal(noted(), "");
}

static void one_behind_a_stopped_one_keeps_the_loop_alive(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], in(loop, 0.001), 'a');
  start(loop, &timers[1], INFINITY, 'x');
  lunado_timer_stop(loop, &timers[0].timer);
  start(loop, &timers[2], in(loop, 0.005), 'b');
  run(loop);
  assert_string_equal(noted(), "b");
}

static void a_far_deadline_is_no_near_one(void **state) {
  static const double far[] = {1e9, 1e12, 1e18, 1e300};
  lunado_loop *loop = *state;
  for (int i = 0; i < 4; i++) {
    start(loop, &timers[i], in(loop, far[i]), 'x');
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
  assert_string_equal(noted(), "");
}

/* --- stopping ------------------------------------------------------------ */

static void a_stopped_one_does_not_run(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], in(loop, 0.001), 'a');
  start(loop, &timers[1], in(loop, 0.002), 'b');
  start(loop, &timers[2], in(loop, 0.003), 'c');
  lunado_timer_stop(loop, &timers[0].timer);
  lunado_timer_stop(loop, &timers[0].timer);
  lunado_timer_stop(loop, &timers[2].timer);
  lunado__check(loop);
  assert_false(lunado_timer_running(&timers[2].timer));
  run(loop);
  assert_string_equal(noted(), "b");
  lunado_timer_stop(loop, &timers[1].timer); /* after it ran */
}

static void the_last_that_stops_ends_the_run(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], in(loop, 3600), 'a');
  lunado_timer_stop(loop, &timers[0].timer);
  alarm(20);
  run(loop);
  alarm(0);
  assert_string_equal(noted(), "");
}

static void stop_other(lunado_loop *loop, named *self) {
  lunado_timer_stop(loop, &self->timer);
  lunado_timer_stop(loop, &self->other->timer);
}

static void a_callback_stops_one_that_is_due(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'a')->act = stop_other;
  timers[0].other = &timers[1];
  start(loop, &timers[1], -1, 'b');
  start(loop, &timers[2], -1, 'c');
  run(loop);
  assert_string_equal(noted(), "ac");
}

static void move_other(lunado_loop *loop, named *self) {
  lunado_timer_stop(loop, &self->other->timer);
  start(loop, self->other, in(loop, 0.002), 'B');
}

static void a_callback_moves_one_that_is_due(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'a')->act = move_other;
  timers[0].other = &timers[1];
  start(loop, &timers[1], -1, 'b');
  start(loop, &timers[2], -1, 'c');
  run(loop);
  assert_string_equal(noted(), "acB");
}

static void stop_loop(lunado_loop *loop, named *self) {
  start(loop, self->other, in(loop, 0.005), 'b');
  lunado_loop_stop(loop);
}

static void a_callback_stops_the_run(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'a')->act = stop_loop;
  timers[0].other = &timers[1];
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_string_equal(noted(), "a");
  run(loop);
  assert_string_equal(noted(), "b");
}

/* --- the end ------------------------------------------------------------- */

static void closing_lets_them_go(void **state) {
  lunado_loop *loop = *state;
  start(loop, &timers[0], -1, 'a');
  start(loop, &timers[1], in(loop, 3600), 'b');
  lunado_loop_close(loop);
  assert_false(lunado_timer_running(&timers[0].timer));
  assert_false(lunado_timer_running(&timers[1].timer));
  assert_int_equal(lunado_timer_start(loop, &timers[0].timer, -1),
                   UV_ECANCELED);
  assert_false(lunado_timer_running(&timers[0].timer));
  lunado_timer_stop(loop, &timers[0].timer);
  assert_string_equal(noted(), "");
}

static void without_memory_nothing_is_started(void **state) {
  lunado_loop *loop = *state;
  lunado_timer_init(&timers[0].timer, on_named);
  memory_fail_at(1);
  assert_int_equal(lunado_timer_start(loop, &timers[0].timer, -1), UV_ENOMEM);
  assert_false(lunado_timer_running(&timers[0].timer));
  lunado__check(loop);
  run(loop);
  start(loop, &timers[0], -1, 'a');
  run(loop);
  assert_string_equal(noted(), "a");
}

static void on_random(lunado_loop *loop, lunado_timer *timer) {
  lunado_timer *many = loop->uv->data;
  count++;
  for (int n = 0; n < 3; n++) {
    lunado_timer *other = &many[random_below(SOME)];
    if (other != timer) lunado_timer_stop(loop, other);
    if (lunado_timer_running(other) || count > MANY / 2) continue;
    (void)lunado_timer_start(loop, other, in(loop, random_below(300) * 1e-6));
  }
}

static void anything_from_callbacks(void **state) {
  lunado_loop *loop = *state;
  lunado_timer *many = malloc(SOME * sizeof *many);
  loop->uv->data = many;
  count = 0;
  for (int i = 0; i < SOME; i++) {
    lunado_timer_init(&many[i], on_random);
    (void)lunado_timer_start(loop, &many[i], in(loop, i * 1e-6));
  }
  for (int i = 0; i < 50; i++) {
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    lunado__check(loop);
  }
  count = MANY;
  run(loop);
  free(many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(a_delay_counts_from_now),
      on_both(no_delay_means_the_next_turn),
      on_both(runs_once_and_not_early),
      on_own(runs_in_the_order_of_deadlines),
      on_own(equal_deadlines_run_in_the_order_of_starting),
      on_own(they_do_so_where_the_count_of_ages_wraps),
      on_own(microseconds_apart_run_in_order),
      on_both(fractions_of_milliseconds_are_never_early),
      on_own(an_earlier_one_arms_the_handle),
      on_own(passed_deadlines_run_in_order),
      on_both(a_passed_deadline_does_not_wait),
      on_both(one_that_starts_itself_for_ever_lets_others_run),
      on_own(one_started_by_a_callback_waits_its_turn),
      on_own(many_that_are_due_do_not_hold_the_loop),
      on_own(infinity_is_never_and_keeps_nothing_alive),
      on_own(infinity_keeps_nothing_alive_once_others_stop),
      on_own(one_behind_a_stopped_one_keeps_the_loop_alive),
      on_own(a_far_deadline_is_no_near_one),
      on_own(a_stopped_one_does_not_run),
      on_own(the_last_that_stops_ends_the_run),
      on_own(a_callback_stops_one_that_is_due),
      on_own(a_callback_moves_one_that_is_due),
      on_own(a_callback_stops_the_run),
      on_both(closing_lets_them_go),
      on_own(without_memory_nothing_is_started),
      on_own(anything_from_callbacks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
