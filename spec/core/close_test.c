/* SPDX-License-Identifier: MIT */
/* close_test.c - closing and releasing a loop, from any callback. */
#include <stdlib.h>
#include <string.h>

#include "core/loop.h"
#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

/* --- the load of a loop that is closed ------------------------------------ */

/* One object of each kind that a loop runs, in storage that is freed as soon as
 * the loop is closed. */
typedef struct {
  lunado_callback tasks[3];
  lunado_timer timers[3];
  lunado_message message;
  lunado_watcher *watcher;
} load;

static load *loaded;
static int ends[2];
static bool lets_go; /* the closing callback also releases the reference */
static bool closed;
static int left; /* calls of on_unused */

static void on_unused(lunado_loop *loop) {
  assert_true(closed);
  assert_false(lunado_loop_running(loop));
  left++;
}

static void close_now(lunado_loop *loop) {
  assert_false(closed);
  closed = true;
  lunado_loop_close(loop);
  lunado__check(loop);
  free(loaded);
  loaded = NULL;
  if (lets_go) lunado_loop_unref(loop);
}

static void nothing_runs_any_more(lunado_loop *loop) {
  (void)loop;
  assert_false(closed);
}

static void on_closing_task(lunado_loop *loop, lunado_callback *task) {
  (void)task;
  close_now(loop);
}

static void on_task(lunado_loop *loop, lunado_callback *task) {
  (void)task;
  nothing_runs_any_more(loop);
}

static void on_closing_timer(lunado_loop *loop, lunado_timer *timer) {
  (void)timer;
  close_now(loop);
}

static void on_timer(lunado_loop *loop, lunado_timer *timer) {
  (void)timer;
  nothing_runs_any_more(loop);
}

static void on_closing_message(lunado_loop *loop, lunado_message *message) {
  (void)message;
  close_now(loop);
}

static void on_closing_watcher(lunado_watcher *watcher, int events) {
  (void)events;
  close_now(watcher->loop);
}

static void on_watcher(lunado_watcher *watcher, int events) {
  (void)events;
  nothing_runs_any_more(watcher->loop);
}

static void on_closing_stranger(uv_timer_t *timer) {
  lunado_loop *loop = timer->data;
  uv_close((uv_handle_t *)timer, NULL);
  lunado__loop_enter(loop);
  close_now(loop);
  lunado__loop_leave(loop);
}

/* The kind of callback that closes the loop. */
typedef enum { TASK, TIMER, SOON, MESSAGE, WATCHER, STRANGER, KINDS } kind;

static void load_timers(lunado_loop *loop, kind who) {
  double when = who == SOON ? lunado_loop_time(loop) + 0.001 : 1;
  bool closes = who == SOON || who == TIMER;
  for (int i = 0; i < 3; i++) {
    lunado_timer_init(&loaded->timers[i],
                      i == 1 && closes ? on_closing_timer : on_timer);
    (void)lunado_timer_start(loop, &loaded->timers[i], when);
  }
}

static void load_tasks(lunado_loop *loop, kind who) {
  for (int i = 0; i < 3; i++) {
    lunado_callback_init(&loaded->tasks[i],
                         i == 1 && who == TASK ? on_closing_task : on_task);
    lunado_loop_ready(loop, &loaded->tasks[i]);
  }
}

static void load_loop(lunado_loop *loop, kind who) {
  static uv_timer_t stranger;
  loaded = malloc(sizeof *loaded);
  load_tasks(loop, who);
  load_timers(loop, who);
  assert_int_equal(
      lunado_watcher_new(&loaded->watcher, loop, ends[1], LUNADO_WRITE,
                         who == WATCHER ? on_closing_watcher : on_watcher),
      0);
  if (who == MESSAGE)
    (void)lunado_loop_send(loop, &loaded->message, on_closing_message);
  if (who == STRANGER) {
    uv_timer_init(loop->uv, &stranger);
    stranger.data = loop;
    uv_timer_start(&stranger, on_closing_stranger, 2, 0);
  }
  lunado__check(loop);
}

static lunado_loop *begin(bool borrowed, bool drops) {
  lets_go = drops;
  closed = false;
  left = 0;
  assert_int_equal(pipe(ends), 0);
  lunado_loop *loop = loop_open(borrowed);
  lunado_loop_set_unused(loop, on_unused);
  return loop;
}

static void finish(lunado_loop *loop) {
  assert_true(closed);
  assert_int_equal(left, 1);
  if (lets_go)
    loop_gone();
  else
    loop_drop(loop);
  close(ends[0]);
  close(ends[1]);
}

/* Each kind of callback closes both kinds of loop, with and without releasing
 * the last reference. */
static void closes_while_it_runs(void **state) {
  (void)state;
  for (kind who = TASK; who < KINDS; who++) {
    for (int i = 0; i < 4; i++) {
      lunado_loop *loop = begin(i & 1, i & 2);
      load_loop(loop, who);
      assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
      finish(loop);
    }
  }
}

/* The run ends although a foreign handle is still active. */
static void closing_ends_the_run(void **state) {
  (void)state;
  for (int borrowed = 0; borrowed < 2; borrowed++) {
    lunado_loop *loop = begin(borrowed, false);
    uv_timer_t theirs;
    uv_timer_init(loop->uv, &theirs);
    uv_timer_start(&theirs, on_closing_stranger, 3600000, 0);
    load_loop(loop, TASK);
    alarm(20);
    assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
    alarm(0);
    assert_false(uv_is_closing((uv_handle_t *)&theirs));
    uv_close((uv_handle_t *)&theirs, NULL);
    assert_int_equal(uv_run(theirs.loop, UV_RUN_DEFAULT), 0);
    finish(loop);
  }
}

static void closes_while_the_host_drives(void **state) {
  (void)state;
  for (kind who = TASK; who < KINDS; who++) {
    for (int drops = 0; drops < 2; drops++) {
      lunado_loop *loop = begin(true, drops);
      load_loop(loop, who);
      (void)uv_run(loop_host(), UV_RUN_DEFAULT);
      finish(loop);
    }
  }
}

/* If a test drives the loop's own uv_loop_t, the uv_loop_t lasts until the
 * uv_run has returned. */
static void closes_while_its_own_uv_loop_is_driven(void **state) {
  (void)state;
  for (kind who = TASK; who < KINDS; who++) {
    for (int drops = 0; drops < 2; drops++) {
      lunado_loop *loop = begin(false, drops);
      uv_loop_t *uv = loop->uv;
      load_loop(loop, who);
      assert_int_equal(uv_run(uv, UV_RUN_DEFAULT), 0);
      finish(loop);
      assert_int_equal(uv_run(uv, UV_RUN_NOWAIT), 0);
    }
  }
}

/* --- outside of callbacks ------------------------------------------------ */

static void closes_without_having_run(void **state) {
  (void)state;
  for (int borrowed = 0; borrowed < 2; borrowed++) {
    lunado_loop *loop = begin(borrowed, false);
    load_loop(loop, KINDS);
    close_now(loop);
    finish(loop);
  }
}

static void closing_twice_is_harmless(void **state) {
  lunado_loop *loop = *state;
  lunado_loop_close(loop);
  lunado_loop_close(loop);
  lunado__check(loop);
}

static void on_never(lunado_loop *loop, lunado_callback *task) {
  (void)loop;
  (void)task;
  fail();
}

static void a_closed_loop_does_nothing(void **state) {
  lunado_loop *loop = *state;
  lunado_callback task;
  lunado_callback_init(&task, on_never);
  lunado_loop_close(loop);
  lunado_loop_ready(loop, &task);
  assert_true(lunado_list_empty(&task.link));
  lunado_loop_keep_alive(loop);
  lunado_loop_release(loop);
  lunado_loop_stop(loop);
  lunado_loop_set_clock(loop, NULL);
  lunado_loop_set_drive(loop, NULL);
  assert_int_equal(lunado_loop_run(loop, false), UV_ECANCELED);
  assert_int_equal(lunado_loop_run(loop, true), UV_ECANCELED);
  assert_false(lunado_loop_running(loop));
  assert_true(lunado_loop_time(loop) > 0);
}

static void its_handles_are_gone(void **state) {
  lunado_loop *loop = *state;
  lunado_loop_close(loop);
  if (loop->uv == loop_host()) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  assert_int_equal(loop->handles, 0);
}

static void on_walk(uv_handle_t *handle, void *arg) {
  (void)handle;
  ++*(unsigned *)arg;
}

static void a_borrowed_uv_loop_keeps_its_owners_handles(void **state) {
  lunado_loop *loop = *state;
  uv_timer_t theirs;
  unsigned handles = 0;
  uv_timer_init(loop->uv, &theirs);
  lunado_loop_close(loop);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  uv_walk(loop->uv, on_walk, &handles);
  assert_int_equal(handles, 1);
  assert_false(uv_is_closing((uv_handle_t *)&theirs));
  uv_close((uv_handle_t *)&theirs, NULL);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

static void on_work(uv_work_t *work) {
  usleep(10000);
  *(bool *)work->data = true;
}

static void after_work(uv_work_t *work, int status) {
  (void)work;
  assert_int_equal(status, 0);
  note('w');
}

static void on_borrower(uv_timer_t *timer) {
  note('b');
  uv_close((uv_handle_t *)timer, NULL);
}

static void on_theirs_closed(uv_handle_t *handle) {
  (void)handle;
  note('c');
}

/* Foreign handles on a loop's own uv_loop_t stay open, and the uv_loop_t lasts
 * until they are closed. */
static void an_own_uv_loop_leaves_strangers_alone(void **state) {
  uv_timer_t timer;
  uv_async_t async;
  const char *both;
  (void)state;
  for (int way = 0; way < 3; way++) {
    lunado_loop *loop = loop_open(false);
    uv_loop_t *uv = loop->uv;
    uv_timer_init(uv, &timer);
    uv_async_init(uv, &async, NULL);
    if (way == 1) uv_close((uv_handle_t *)&async, on_theirs_closed);
    lunado_loop_close(loop);
    if (way == 2) lunado_loop_close(loop);
    lunado_loop_unref(loop);
    assert_false(uv_is_closing((uv_handle_t *)&timer));
    assert_int_equal(uv_timer_start(&timer, on_borrower, 1, 0), 0);
    if (way != 1) uv_close((uv_handle_t *)&async, on_theirs_closed);
    assert_int_equal(uv_run(uv, UV_RUN_DEFAULT), 0);
    both = noted(); /* on a slow machine the timer comes first */
    assert_true(strcmp(both, "cb") == 0 || strcmp(both, "bc") == 0);
    loop_gone();
  }
}

/* The uv_loop_t also lasts until foreign requests have ended, while their owner
 * runs it. */
static void an_own_uv_loop_waits_for_requests(void **state) {
  lunado_loop *loop = loop_open(false);
  uv_loop_t *uv = loop->uv;
  uv_work_t work;
  bool worked = false;
  (void)state;
  work.data = &worked;
  uv_queue_work(uv, &work, on_work, after_work);
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  assert_string_equal(noted(), "");
  assert_int_equal(uv_run(uv, UV_RUN_DEFAULT), 0);
  assert_true(worked);
  assert_string_equal(noted(), "w");
  loop_gone();
}

/* --- closed by foreign callbacks ------------------------------------------ */

static lunado_loop *of_callback;

static void close_it(void) {
  note('x');
  lunado_loop_close(of_callback);
  lunado_loop_unref(of_callback);
}

static void close_by_closing(uv_handle_t *handle) {
  (void)handle;
  close_it();
}

static void close_by_work(uv_work_t *work, int status) {
  (void)work, (void)status;
  close_it();
}

static void close_by_async(uv_async_t *handle) {
  uv_close((uv_handle_t *)handle, on_theirs_closed);
  close_it();
}

static void close_by_timer(uv_timer_t *handle) {
  uv_close((uv_handle_t *)handle, on_theirs_closed);
  close_it();
}

static void on_nothing(uv_work_t *work) { (void)work; }

static void walk_and_close(uv_handle_t *handle, void *done) {
  (void)handle;
  if (*(bool *)done) return;
  *(bool *)done = true;
  close_it();
}

/* Runs the uv_loop_t like its owner, until it is empty. */
static void run_down(uv_loop_t *uv, uv_run_mode mode) {
  while (uv_run(uv, mode) != 0) continue;
  loop_gone();
}

static void it_is_closed_by_others_callbacks(void **state) {
  static const uv_run_mode modes[] = {UV_RUN_DEFAULT, UV_RUN_ONCE,
                                      UV_RUN_NOWAIT};
  (void)state;
  for (int i = 0; i < 5 * 3; i++) {
    union {
      uv_timer_t timer;
      uv_async_t async;
      uv_work_t work;
    } theirs;
    bool done = false;
    uv_loop_t *uv;
    of_callback = loop_open(false);
    uv = of_callback->uv;
    uv_timer_init(uv, &theirs.timer);
    switch (i / 3) {
    case 0:
      uv_close((uv_handle_t *)&theirs.timer, close_by_closing);
      break;
    case 1:
      uv_timer_start(&theirs.timer, close_by_timer, 1, 0);
      break;
    case 2:
      uv_close((uv_handle_t *)&theirs.timer, NULL);
      (void)uv_run(uv, UV_RUN_NOWAIT);
      uv_async_init(uv, &theirs.async, close_by_async);
      uv_async_send(&theirs.async);
      break;
    case 3:
      uv_close((uv_handle_t *)&theirs.timer, NULL);
      (void)uv_run(uv, UV_RUN_NOWAIT);
      uv_queue_work(uv, &theirs.work, on_nothing, close_by_work);
      break;
    default:
      uv_walk(uv, walk_and_close, &done);
      uv_close((uv_handle_t *)&theirs.timer, NULL);
    }
    run_down(uv, modes[i % 3]);
    assert_int_equal(*noted(), 'x');
  }
}

/* --- lending -------------------------------------------------------------- */

static void count_handle(uv_handle_t *handle, void *count) {
  (void)handle;
  ++*(int *)count;
}

static int handles_on(uv_loop_t *uv) {
  int count = 0;
  uv_walk(uv, count_handle, &count);
  return count;
}

static void the_borrower_goes_on(void **state) {
  lunado_loop *loop = *state;
  uv_timer_t timer;
  assert_true(lunado_loop_lend_uv(loop));
  lunado__check(loop);
  lunado_loop_close(loop);
  lunado__check(loop);
  uv_timer_init(loop->uv, &timer);
  uv_timer_start(&timer, on_borrower, 0, 0);
  assert_int_equal(uv_run(loop->uv, UV_RUN_DEFAULT), 0);
  assert_string_equal(noted(), "b");
  assert_int_equal(handles_on(loop->uv), 0);
  lunado__check(loop);
  lunado_loop_reclaim_uv(loop, true);
}

static void what_was_lent_is_there_until_reclaimed(void **state) {
  (void)state;
  for (int open = 0; open < 2; open++) {
    lunado_loop *loop = loop_open(false);
    assert_true(lunado_loop_lend_uv(loop));
    lunado_loop_close(loop);
    lunado_loop_unref(loop);
    assert_int_not_equal(memory_out(), 0);
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    if (!open) assert_int_equal(uv_loop_close(loop->uv), 0);
    lunado_loop_reclaim_uv(loop, open);
    loop_gone();
  }
}

static void reclaimed_in_time_it_is_closed_with_the_loop(void **state) {
  lunado_loop *loop = *state;
  assert_true(lunado_loop_lend_uv(loop));
  lunado_loop_reclaim_uv(loop, true);
  lunado__check(loop);
}

static void only_what_one_has_can_be_lent(void **state) {
  lunado_loop *loop = *state, *borrower;
  assert_int_equal(lunado_loop_new(&borrower, loop->uv), 0);
  assert_false(lunado_loop_lend_uv(borrower));
  lunado_loop_close(borrower);
  lunado_loop_unref(borrower);
  assert_true(lunado_loop_lend_uv(loop));
  assert_false(lunado_loop_lend_uv(loop));
  lunado_loop_reclaim_uv(loop, true);
  lunado_loop_close(loop);
  assert_false(lunado_loop_lend_uv(loop));
}

/* --- references ---------------------------------------------------------- */

static void unref_in_thread(void *arg) { lunado_loop_unref(arg); }

static void the_last_reference_may_be_another_threads(void **state) {
  (void)state;
  for (int borrowed = 0; borrowed < 2; borrowed++) {
    lunado_loop *loop = loop_open(borrowed);
    uv_thread_t thread;
    (void)lunado_loop_open_posts(loop);
    lunado_loop_ref(loop);
    lunado_loop_close(loop);
    if (borrowed) (void)uv_run(loop_host(), UV_RUN_NOWAIT);
    lunado_loop_unref(loop);
    assert_int_not_equal(memory_out(), 0);
    assert_int_equal(uv_thread_create(&thread, unref_in_thread, loop), 0);
    uv_thread_join(&thread);
    loop_gone();
  }
}

static void a_borrowed_loop_may_be_dropped_before_its_handles(void **state) {
  lunado_loop *loop = loop_open(true);
  (void)state;
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  assert_int_not_equal(memory_out(), 0);
  loop_gone();
}

static void two_loops_share_a_uv_loop(void **state) {
  lunado_loop *loop = *state, *other;
  lunado_callback task;
  assert_int_equal(lunado_loop_new(&other, loop->uv), 0);
  lunado_callback_init(&task, on_closing_task);
  lunado_loop_ready(other, &task);
  closed = lets_go = false;
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_true(closed);
  lunado_loop_unref(other);
  lunado__check(loop);
}

/* --- failures of lunado_loop_new ------------------------------------------ */

static void without_memory_there_is_no_loop(void **state) {
  lunado_loop *loop = (lunado_loop *)state;
  (void)state;
  memory_watch();
  memory_fail_at(1);
  assert_int_equal(lunado_loop_new(&loop, NULL), UV_ENOMEM);
  assert_null(loop);
  assert_int_equal(memory_out(), 0);
}

#ifndef _WIN32

static void without_descriptors_there_is_no_loop(void **state) {
  lunado_loop *loop = (lunado_loop *)state;
  struct rlimit before, limit;
  memory_watch();
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  for (rlim_t files = 3; files < 8; files++) {
    int rc;
    limit = before;
    limit.rlim_cur = files;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    rc = lunado_loop_new(&loop, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (rc == 0) {
      loop_drop(loop);
    } else {
      assert_int_equal(rc, UV_EMFILE);
      assert_null(loop);
    }
    assert_int_equal(memory_out(), 0);
    if (files == 3) assert_int_not_equal(rc, 0);
  }
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(closes_while_it_runs),
      cmocka_unit_test(closing_ends_the_run),
      cmocka_unit_test(closes_while_the_host_drives),
      cmocka_unit_test(closes_while_its_own_uv_loop_is_driven),
      cmocka_unit_test(closes_without_having_run),
      on_both(closing_twice_is_harmless),
      on_both(a_closed_loop_does_nothing),
      on_both(its_handles_are_gone),
      {"a_borrowed_uv_loop_keeps_its_owners_handles",
       a_borrowed_uv_loop_keeps_its_owners_handles, setup_borrowed, teardown,
       NULL},
      cmocka_unit_test(an_own_uv_loop_leaves_strangers_alone),
      cmocka_unit_test(an_own_uv_loop_waits_for_requests),
      cmocka_unit_test(it_is_closed_by_others_callbacks),
      on_own(the_borrower_goes_on),
      cmocka_unit_test(what_was_lent_is_there_until_reclaimed),
      on_own(reclaimed_in_time_it_is_closed_with_the_loop),
      on_own(only_what_one_has_can_be_lent),
      cmocka_unit_test(the_last_reference_may_be_another_threads),
      cmocka_unit_test(a_borrowed_loop_may_be_dropped_before_its_handles),
      on_both(two_loops_share_a_uv_loop),
      cmocka_unit_test(without_memory_there_is_no_loop),
#ifndef _WIN32
      cmocka_unit_test(without_descriptors_there_is_no_loop),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
