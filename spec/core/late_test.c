/* SPDX-License-Identifier: MIT */
/*
 * late_test.c - a timer is late by no more than the work of one callback.
 *
 * libuv computes its wait from a cached time, which does not include the work
 * of earlier callbacks.  An observer, the last callback before libuv waits,
 * reads that time and the wait.  Only measured times are compared, so the load
 * of the machine does not matter.
 */
#include <math.h>

#include "core/loop.h"
#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

enum { WORK_MS = 10, SOON_MS = 40 };

/* libuv's clock is coarser than the clock that measures work. */
enum { GRAIN_MS = 2 };

static uv_loop_t host;
static uv_prepare_t observer;
static lunado_loop *loop;
static uint64_t worked_until; /* in milliseconds; 0: no work was done */
static unsigned waits;        /* waits observed since then */
static unsigned busy;         /* how often be_busy was called */

static uint64_t real_ms(void) { return uv_hrtime() / 1000000; }

/* Keeps the thread busy for WORK_MS. */
static void work(void) {
  uint64_t end = uv_hrtime() + WORK_MS * 1000000ull;
  while (uv_hrtime() < end) continue;
  worked_until = real_ms();
  waits = 0;
}

static void check_time(void) {
  assert_true(uv_now(&host) + GRAIN_MS >= worked_until);
}

static void check_wait(int ms) {
  const lunado_heap *heap = &loop->heap;
  double deadline = heap->finite > 0
                        ? lunado_heap_entry_when(&heap->entries[0]) * 1e3
                        : (double)INFINITY;
  assert_true(ms <= 0 ||
              (double)uv_now(&host) + ms <= deadline + (double)GRAIN_MS);
}

static void observe(uv_prepare_t *handle) {
  int ms = uv_backend_timeout(&host);
  (void)handle;
  if (worked_until == 0 || ms <= 0) return;
  check_time();
  check_wait(ms);
  waits++;
}

static int setup(void **state) {
  memory_watch();
  (void)noted();
  worked_until = waits = busy = 0;
  assert_int_equal(uv_loop_init(&host), 0);
  (void)uv_prepare_init(&host, &observer);
  (void)uv_prepare_start(&observer, observe);
  uv_unref((uv_handle_t *)&observer);
  assert_int_equal(lunado_loop_new(&loop, &host), 0);
  lunado_loop_keep_alive(loop); /* messages do not keep a loop alive */
  *state = loop;
  return 0;
}

static int finish(void **state) {
  (void)state;
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  uv_close((uv_handle_t *)&observer, NULL);
  (void)uv_run(&host, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&host), 0);
  assert_int_equal(memory_out(), 0);
  return 0;
}

/* --- the timer ----------------------------------------------------------- */

static lunado_timer soon;

static void on_soon(lunado_loop *of, lunado_timer *timer) {
  (void)timer;
  note('t');
  lunado_loop_stop(of);
}

static void start_soon(double ms) {
  lunado_timer_init(&soon, on_soon);
  (void)lunado_timer_start(loop, &soon, lunado_loop_time(loop) + ms / 1e3);
}

/* The timer is started before the work, or after it. */
static void start_and_work(void) {
  start_soon(SOON_MS);
  work();
}

static void work_and_start(void) {
  work();
  start_soon(SOON_MS);
}

static void (*act)(void);

/* Calls `arrange`, which arranges a callback that calls act(), and runs the
 * loop until the timer has run. */
static void check_place(void (*arrange)(void)) {
  static void (*const ways[])(void) = {start_and_work, work_and_start};
  for (unsigned i = 0; i < 2; i++) {
    act = ways[i];
    worked_until = 0;
    arrange();
    assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
    assert_string_equal(noted(), "t");
    assert_true(worked_until > 0);
    lunado__check(loop);
  }
}

/* --- callbacks of the loop's own ------------------------------------------ */

static void on_task(lunado_loop *of, lunado_callback *self) {
  (void)of, (void)self;
  act();
}

static void by_task(void) {
  static lunado_callback task;
  lunado_callback_init(&task, on_task);
  lunado_loop_ready(loop, &task);
}

static void on_other_timer(lunado_loop *of, lunado_timer *timer) {
  (void)of, (void)timer;
  act();
}

static void by_timer(void) {
  static lunado_timer timer;
  lunado_timer_init(&timer, on_other_timer);
  (void)lunado_timer_start(loop, &timer, lunado_loop_time(loop) + 2e-3);
}

static void on_message(lunado_loop *of, lunado_message *message) {
  (void)of, (void)message;
  act();
}

static void by_message(void) {
  static lunado_message message;
  assert_int_equal(lunado_loop_send(loop, &message, on_message), 0);
}

static int ends[2];

static void on_event(lunado_watcher *watcher, int events) {
  (void)events;
  lunado_watcher_close(watcher);
  close(ends[0]);
  close(ends[1]);
  act();
}

static void by_watcher(void) {
  lunado_watcher *watcher;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(
      lunado_watcher_new(&watcher, loop, ends[1], LUNADO_WRITE, on_event), 0);
}

static void (*const own[])(void) = {by_task, by_timer, by_message, by_watcher};

static void work_of_the_loops_own_callbacks(void **state) {
  (void)state;
  for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++) check_place(own[i]);
}

/* --- callbacks of the host's ---------------------------------------------- */

static union {
  uv_handle_t handle;
  uv_timer_t timer;
  uv_idle_t idle;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_async_t async;
} of_host;

static void close_host_handle(void) { uv_close(&of_host.handle, NULL); }

static void on_host_timer(uv_timer_t *handle) {
  (void)handle;
  close_host_handle();
  act();
}

static void by_host_timer(void) {
  (void)uv_timer_init(&host, &of_host.timer);
  (void)uv_timer_start(&of_host.timer, on_host_timer, 1, 0);
}

static void on_host_idle(uv_idle_t *handle) {
  (void)handle;
  (void)uv_idle_stop(&of_host.idle);
  close_host_handle();
  act();
}

static void by_host_idle(void) {
  (void)uv_idle_init(&host, &of_host.idle);
  (void)uv_idle_start(&of_host.idle, on_host_idle);
}

static void on_host_prepare(uv_prepare_t *handle) {
  (void)handle;
  (void)uv_prepare_stop(&of_host.prepare);
  act();
}

static void by_host_prepare(void) {
  static bool open;
  if (!open) (void)uv_prepare_init(&host, &of_host.prepare);
  open = !open;
  (void)uv_prepare_start(&of_host.prepare, on_host_prepare);
}

static void on_host_check(uv_check_t *handle) {
  (void)handle;
  close_host_handle();
  act();
}

static void by_host_check(void) {
  (void)uv_check_init(&host, &of_host.check);
  (void)uv_check_start(&of_host.check, on_host_check);
  (void)uv_async_send(&loop->async); /* ends the wait before the check handle */
}

static void on_host_async(uv_async_t *handle) {
  (void)handle;
  close_host_handle();
  act();
}

static void by_host_async(void) {
  (void)uv_async_init(&host, &of_host.async, on_host_async);
  (void)uv_async_send(&of_host.async);
}

static void on_host_closed(uv_handle_t *handle) {
  (void)handle;
  act();
}

static void by_host_close(void) {
  (void)uv_timer_init(&host, &of_host.timer);
  uv_close(&of_host.handle, on_host_closed);
}

static void (*const of_hosts[])(void) = {by_host_timer,   by_host_idle,
                                         by_host_prepare, by_host_check,
                                         by_host_async,   by_host_close};

static void work_of_the_hosts_callbacks(void **state) {
  (void)state;
  for (unsigned i = 0; i < sizeof of_hosts / sizeof of_hosts[0]; i++) {
    check_place(of_hosts[i]);
    if (of_hosts[i] == by_host_prepare) {
      close_host_handle();
      (void)uv_run(&host, UV_RUN_NOWAIT);
    }
  }
}

/* --- owners that ask for the wait ----------------------------------------- */

/* A host waits in an event loop of its own, for uv_backend_timeout. */
static void the_wait_that_an_owner_asks_for(void **state) {
  (void)state;
  for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++) {
    act = start_and_work;
    worked_until = 0;
    own[i]();
    while (worked_until == 0) (void)uv_run(&host, UV_RUN_NOWAIT);
    check_time();
    check_wait(uv_backend_timeout(&host));
    while (lunado_timer_running(&soon)) (void)uv_run(&host, UV_RUN_NOWAIT);
    assert_string_equal(noted(), "t");
  }
}

/* --- between callbacks --------------------------------------------------- */

/* During the work of the first call, the timer becomes due. */
static void be_busy(void) {
  note('b');
  if (busy++ == 0) start_soon(WORK_MS / 2);
  work();
}

static void on_busy(lunado_loop *of, lunado_callback *task) {
  be_busy();
  if (lunado_timer_running(&soon)) lunado_loop_ready(of, task);
}

/* A timer that becomes due during the work of a callback does not wait for the
 * next callback. */
static void between_turns(void **state) {
  lunado_callback task;
  (void)state;
  lunado_callback_init(&task, on_busy);
  lunado_loop_ready(loop, &task);
  do {
    (void)uv_run(&host, UV_RUN_NOWAIT);
  } while (lunado_timer_running(&soon));
  lunado_callback_cancel(&task);
  assert_string_equal(noted(), "bt");
}

/* --- between timers ------------------------------------------------------ */

static unsigned frames;

/* A timer that works for longer than its period and starts itself again. */
static void on_frame(lunado_loop *of, lunado_timer *timer) {
  (void)lunado_timer_start(of, timer, lunado_loop_time(of) + 1e-3);
  work();
  if (++frames == 100) lunado_loop_stop(of);
}

static void on_other_event(lunado_watcher *watcher, int events) {
  (void)events;
  lunado_watcher_close(watcher);
  lunado_loop_stop(loop);
}

/* The timers let the loop poll descriptors in between. */
static void between_timers(void **state) {
  static lunado_timer timer;
  lunado_watcher *watcher;
  (void)state;
  frames = 0;
  lunado_timer_init(&timer, on_frame);
  on_frame(loop, &timer);
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(
      lunado_watcher_new(&watcher, loop, ends[1], LUNADO_WRITE, on_other_event),
      0);
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_true(frames < 10);
  lunado_timer_stop(loop, &timer);
  close(ends[0]);
  close(ends[1]);
}

#define late_test(test) \
  { #test, test, setup, finish, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      late_test(work_of_the_loops_own_callbacks),
      late_test(work_of_the_hosts_callbacks),
      late_test(the_wait_that_an_owner_asks_for),
      late_test(between_turns),
      late_test(between_timers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
