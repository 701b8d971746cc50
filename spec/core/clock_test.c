/* SPDX-License-Identifier: MIT */
/* clock_test.c - loops with another clock, which may skip idle time. */
#include <math.h>

#include "core/loop.h"
#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

#define HOUR 3600.0

typedef struct named named;
struct named {
  lunado_timer timer;
  char name;
  double at; /* when it ran */
};

static fake_clock fake;
static named timers[4];

static void on_named(lunado_loop *loop, lunado_timer *timer) {
  named *self = lunado_container_of(timer, named, timer);
  self->at = lunado_loop_time(loop);
  note(self->name);
}

static void start(lunado_loop *loop, int i, double when) {
  timers[i].name = (char)('a' + i);
  lunado_timer_init(&timers[i].timer, on_named);
  assert_int_equal(lunado_timer_start(loop, &timers[i].timer, when), 0);
  lunado__check(loop);
}

static lunado_loop *with_fake(void **state) {
  lunado_loop *loop = *state;
  fake_clock_init(&fake, 1000);
  lunado_loop_set_clock(loop, &fake.clock);
  lunado__check(loop);
  return loop;
}

/* Without skipping, the run would take hours: the alarm ends the test then. */
static void run(lunado_loop *loop) {
  alarm(30);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  alarm(0);
  lunado__check(loop);
}

static void on_stop(lunado_loop *loop, lunado_timer *timer) {
  on_named(loop, timer);
  lunado_loop_stop(loop);
}

/* Runs until timer 0 has run. */
static void run_to_timer(lunado_loop *loop, bool forever) {
  timers[0].timer.cb = on_stop;
  alarm(30);
  assert_int_equal(lunado_loop_run(loop, forever), LUNADO_RUN_STOPPED);
  alarm(0);
  lunado__check(loop);
}

static void the_time_is_the_clocks(void **state) {
  lunado_loop *loop = *state;
  double before = lunado_loop_time(loop);
  (void)with_fake(state);
  assert_true(lunado_loop_time(loop) == 1000);
  fake.time = 1001;
  assert_true(lunado_loop_time(loop) == 1001);
  lunado_loop_set_clock(loop, NULL);
  assert_true(lunado_loop_time(loop) >= before);
  lunado_loop_set_clock(loop, &fake.clock);
  lunado_loop_close(loop);
  assert_true(lunado_loop_time(loop) == 1001);
}

static void the_systems_clock_does_not_go_back(void **state) {
  lunado_loop *loop = *state;
  double before = lunado_loop_time(loop);
  for (int i = 0; i < 10000; i++) {
    double now = lunado_loop_time(loop);
    assert_true(now >= before);
    before = now;
  }
}

static void skips_from_deadline_to_deadline(void **state) {
  lunado_loop *loop = with_fake(state);
  start(loop, 0, 1000 + HOUR);
  start(loop, 1, 1000 + 2 * HOUR);
  start(loop, 2, 1000.001);
  run(loop);
  assert_string_equal(noted(), "cab");
  assert_true(timers[2].at == 1000.001);
  assert_true(timers[0].at == 1000 + HOUR);
  assert_true(timers[1].at == 1000 + 2 * HOUR);
  assert_int_equal(fake.skips, 3);
}

static void does_not_skip_to_what_has_passed(void **state) {
  lunado_loop *loop = with_fake(state);
  start(loop, 0, 999);
  start(loop, 1, 1000);
  start(loop, 2, 1000 + HOUR);
  fake.time = 1000 + 2 * HOUR; /* past all deadlines, not by a skip */
  run(loop);
  assert_string_equal(noted(), "abc");
  assert_int_equal(fake.skips, 0);
  assert_true(fake.time == 1000 + 2 * HOUR);
}

static void never_is_not_skipped_to(void **state) {
  lunado_loop *loop = with_fake(state);
  start(loop, 0, INFINITY);
  run(loop);
  start(loop, 1, 1000 + HOUR);
  run(loop);
  assert_string_equal(noted(), "b");
  assert_int_equal(fake.skips, 1);
}

static void deadlines_stay_when_the_clock_changes(void **state) {
  lunado_loop *loop = *state;
  double when = lunado_loop_time(loop) + HOUR;
  start(loop, 0, when);
  fake_clock_init(&fake, 0);
  lunado_loop_set_clock(loop, &fake.clock);
  lunado__check(loop);
  run(loop);
  assert_true(timers[0].at == when);
  start(loop, 0, 1); /* in the past on both clocks */
  start(loop, 1, when + HOUR);
  lunado_loop_set_clock(loop, NULL);
  lunado__check(loop);
  lunado_timer_stop(loop, &timers[1].timer);
  run(loop);
  assert_string_equal(noted(), "aa");
}

/* --- while something is pending ------------------------------------------- */

static unsigned turns;

static void on_turn(lunado_loop *loop, lunado_callback *task) {
  if (++turns < 20000) lunado_loop_ready(loop, task);
  if (turns == 1) start(loop, 0, 1001);
}

static void stands_still_while_tasks_are_ready(void **state) {
  lunado_loop *loop = with_fake(state);
  lunado_callback task;
  turns = 0;
  lunado_callback_init(&task, on_turn);
  lunado_loop_ready(loop, &task);
  start(loop, 1, 1000);
  while (turns < 20000) {
    assert_true(fake.time == 1000);
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
  run(loop);
  assert_string_equal(noted(), "ba");
  assert_true(fake.time == 1001);
}

static void on_work(uv_work_t *work) {
  (void)work;
  usleep(20000);
}

static void after_work(uv_work_t *work, int status) {
  assert_int_equal(status, 0);
  assert_true(fake.time == 1000);
  *(bool *)work->data = true;
}

static void stands_still_while_libuv_works(void **state) {
  lunado_loop *loop = with_fake(state);
  uv_work_t work;
  bool worked = false;
  work.data = &worked;
  start(loop, 0, 1000 + HOUR);
  assert_int_equal(uv_queue_work(loop->uv, &work, on_work, after_work), 0);
  run(loop);
  assert_true(worked);
  assert_string_equal(noted(), "a");
}

static bool brought;

static void bring(uv_async_t *async) {
  assert_true(fake.time == 1000);
  brought = true;
  lunado_loop_release(async->data);
  uv_close((uv_handle_t *)async, NULL);
}

static void send_later(void *async) {
  usleep(20000);
  assert_int_equal(uv_async_send(async), 0);
}

/* Another thread sends the event for which the loop is kept alive. */
static void stands_still_while_the_loop_is_held(void **state) {
  for (int forever = 0; forever < 2; forever++) {
    lunado_loop *loop = with_fake(state);
    uv_thread_t thread;
    uv_async_t async;
    brought = false;
    assert_int_equal(uv_async_init(loop->uv, &async, bring), 0);
    async.data = loop;
    start(loop, 0, 1000 + HOUR);
    lunado_loop_keep_alive(loop);
    assert_int_equal(uv_thread_create(&thread, send_later, &async), 0);
    run_to_timer(loop, forever != 0);
    assert_true(brought);
    assert_int_equal(uv_thread_join(&thread), 0);
    assert_true(timers[0].at == 1000 + HOUR);
  }
}

static int wires[2];
static unsigned bounces;

static void on_bounce(lunado_watcher *watcher, int events) {
  char c;
  assert_int_equal(events, LUNADO_READ);
  assert_true(fake.time == 1000);
  assert_int_equal(read(watcher->fd, &c, 1), 1);
  if (++bounces < 100)
    assert_int_equal(write(watcher->fd, &c, 1), 1);
  else
    lunado_loop_stop(watcher->loop);
}

static void stands_still_while_callbacks_come(void **state) {
  lunado_loop *loop = with_fake(state);
  lunado_watcher *watchers[2];
  bounces = 0;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, wires), 0);
  for (int i = 0; i < 2; i++)
    assert_int_equal(lunado_watcher_new(&watchers[i], loop, wires[i],
                                        LUNADO_READ, on_bounce),
                     0);
  start(loop, 0, 1000 + HOUR);
  assert_int_equal(write(wires[0], "x", 1), 1);
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_int_equal(bounces, 100);
  assert_string_equal(noted(), "");
  for (int i = 0; i < 2; i++) lunado_watcher_close(watchers[i]);
  run(loop);
  assert_string_equal(noted(), "a");
  for (int i = 0; i < 2; i++) close(wires[i]);
}

/* --- wherever the deadline comes from ------------------------------------ */

static int ends[2];

static void on_readable(lunado_watcher *watcher, int events) {
  (void)events;
  lunado_watcher_close(watcher);
  start(watcher->owner, 0, 1000 + HOUR);
}

static void skips_to_what_a_watcher_starts(void **state) {
  lunado_loop *loop = with_fake(state);
  lunado_watcher *watcher;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(
      lunado_watcher_new(&watcher, loop, ends[0], LUNADO_READ, on_readable), 0);
  watcher->owner = loop;
  for (int i = 0; i < 5; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  assert_int_equal(write(ends[1], "x", 1), 1);
  run(loop);
  assert_string_equal(noted(), "a");
  close(ends[0]);
  close(ends[1]);
}

static void on_message(lunado_loop *loop, lunado_message *message) {
  (void)message;
  start(loop, 0, 1000 + HOUR);
  lunado_loop_release(loop);
}

static void skips_to_what_a_message_starts(void **state) {
  lunado_loop *loop = with_fake(state);
  lunado_message message;
  for (int i = 0; i < 5; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  lunado_loop_keep_alive(loop);
  assert_int_equal(lunado_loop_send(loop, &message, on_message), 0);
  run(loop);
  assert_string_equal(noted(), "a");
}

static void skips_when_the_host_drives(void **state) {
  lunado_loop *loop = with_fake(state);
  alarm(30);
  for (int i = 0; i < 2; i++) {
    start(loop, 0, fake.time + HOUR);
    assert_int_equal(uv_run(loop->uv, UV_RUN_DEFAULT), 0);
    lunado__check(loop);
  }
  alarm(0);
  assert_string_equal(noted(), "aa");
}

/* --- the limit of a run --------------------------------------------------- */

static void on_again(lunado_loop *loop, lunado_timer *timer) {
  assert_int_equal(lunado_timer_start(loop, timer, fake.time + 1), 0);
}

static void on_again_until_limited(lunado_loop *loop, lunado_timer *timer) {
  on_again(loop, timer);
  if (fake.time == 1010) lunado_loop_set_limit(loop, 20);
}

/* Little of the system's time passes meanwhile. */
static void a_limit_ends_endless_skipping(void **state) {
  lunado_loop *loop = with_fake(state);
  start(loop, 0, 1001);
  timers[0].timer.cb = on_again_until_limited;
  assert_false(lunado_loop_limited(loop));
  alarm(30);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  alarm(0);
  assert_true(lunado_loop_limited(loop));
  assert_true(fake.time >= 1010);
  lunado_timer_stop(loop, &timers[0].timer);
  lunado_loop_set_limit(loop, 0);
  assert_false(lunado_loop_limited(loop));
}

static void a_limit_ends_waiting(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 2; i++) {
    lunado_loop_set_limit(loop, 5);
    alarm(30);
    assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
    alarm(0);
    assert_true(lunado_loop_limited(loop));
    lunado__check(loop);
  }
}

static void a_limit_keeps_no_run_from_ending(void **state) {
  lunado_loop *loop = *state;
  lunado_loop_set_limit(loop, 60000);
  lunado__check(loop);
  run(loop);
  assert_false(lunado_loop_limited(loop));
}

static void a_limit_is_taken_back(void **state) {
  lunado_loop *loop = *state;
  start(loop, 0, lunado_loop_time(loop) + 0.02);
  lunado_loop_set_limit(loop, 1);
  lunado_loop_set_limit(loop, 0);
  run(loop);
  assert_string_equal(noted(), "a");
  assert_false(lunado_loop_limited(loop));
}

/* The end of the test checks that the limit's handle is closed, too. */
static void a_closed_loop_has_no_limit(void **state) {
  lunado_loop *loop = *state;
  lunado_loop_set_limit(loop, 1);
  lunado_loop_close(loop);
  lunado_loop_set_limit(loop, 1);
  assert_false(lunado_loop_limited(loop));
}

/* --- clocks that do not skip --------------------------------------------- */

static double scaled_now(lunado_clock *clock) {
  (void)clock;
  return (double)uv_hrtime() / 1e10; /* at a tenth of the speed */
}

static void a_clock_may_be_slow(void **state) {
  lunado_loop *loop = *state;
  lunado_clock slow = {scaled_now, NULL};
  double when;
  lunado_loop_set_clock(loop, &slow);
  when = lunado_loop_time(loop) + 0.001;
  start(loop, 0, when);
  run(loop);
  assert_string_equal(noted(), "a");
  assert_true(timers[0].at >= when);
  lunado_loop_set_clock(loop, NULL);
}

static void on_restart(lunado_loop *loop, lunado_timer *timer) {
  if (++turns < 1000)
    (void)lunado_timer_start(loop, timer, lunado_loop_time(loop) - 1);
}

static double hasty_now(lunado_clock *clock) {
  static double now = 0;
  (void)clock;
  return now += 1;
}

static void on_check(uv_check_t *check) {
  lunado_loop_stop(check->data);
  uv_close((uv_handle_t *)check, NULL);
}

/* A timer that starts itself again does not block the loop, even if the clock
 * leaps. */
static void a_clock_may_leap(void **state) {
  lunado_loop *loop = *state;
  lunado_clock hasty = {hasty_now, NULL};
  uv_check_t check;
  uv_check_init(loop->uv, &check);
  uv_check_start(&check, on_check);
  check.data = loop;
  turns = 0;
  lunado_loop_set_clock(loop, &hasty);
  lunado_timer_init(&timers[0].timer, on_restart);
  (void)lunado_timer_start(loop, &timers[0].timer, 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  assert_in_range(turns, 1, 10);
  lunado_timer_stop(loop, &timers[0].timer);
  lunado_loop_set_clock(loop, NULL);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_own(the_time_is_the_clocks),
      on_own(the_systems_clock_does_not_go_back),
      on_both(skips_from_deadline_to_deadline),
      on_own(does_not_skip_to_what_has_passed),
      on_both(never_is_not_skipped_to),
      on_own(deadlines_stay_when_the_clock_changes),
      on_own(stands_still_while_tasks_are_ready),
      on_own(stands_still_while_libuv_works),
      on_own(stands_still_while_the_loop_is_held),
      on_both(stands_still_while_callbacks_come),
      on_both(skips_to_what_a_watcher_starts),
      on_both(skips_to_what_a_message_starts),
      on_both(skips_when_the_host_drives),
      on_both(a_limit_ends_endless_skipping),
      on_both(a_limit_ends_waiting),
      on_both(a_limit_keeps_no_run_from_ending),
      on_own(a_limit_is_taken_back),
      on_both(a_closed_loop_has_no_limit),
      on_own(a_clock_may_be_slow),
      on_own(a_clock_may_leap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
