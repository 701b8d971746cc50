/* SPDX-License-Identifier: MIT */
/* signals_test.c - watching signals without any lunado_loop. */
#include "core/signals.h"

#include <signal.h>

#include "../support/posix.h"
#include "support.h"

static lunado_signals *signals;

static int open_signals(void **state) {
  (void)state;
  memory_watch();
  return lunado_signals_new(&signals);
}

static int close_signals(void **state) {
  (void)state;
  lunado_signals_free(signals);
  assert_int_equal(memory_out(), 0);
  return 0;
}

static bool is_default(int signum) {
  struct sigaction action;
  assert_int_equal(sigaction(signum, NULL, &action), 0);
  return action.sa_handler == SIG_DFL;
}

static bool is_readable(void) {
  struct pollfd fd = {.fd = lunado_signals_fd(signals), .events = POLLIN};
  return poll(&fd, 1, 0) == 1;
}

static int take(void) {
  lunado_signals_drain(signals);
  return lunado_signals_take(signals);
}

static void each_time_is_told(void **state) {
  (void)state;
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
  assert_int_equal(lunado_signals_watch(signals, SIGUSR2), 0);
  assert_false(is_readable());
  assert_int_equal(take(), 0);
  raise(SIGUSR1);
  assert_true(is_readable());
  raise(SIGUSR2);
  raise(SIGUSR1);
  assert_int_equal(take(), SIGUSR1);
  assert_false(is_readable());
  assert_int_equal(take(), SIGUSR1);
  assert_int_equal(take(), SIGUSR2);
  assert_int_equal(take(), 0);
}

static void one_that_is_let_go_is_forgotten(void **state) {
  (void)state;
  assert_true(is_default(SIGUSR1));
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
  assert_false(is_default(SIGUSR1));
  raise(SIGUSR1);
  lunado_signals_unwatch(signals, SIGUSR1);
  lunado_signals_unwatch(signals, SIGUSR1);
  assert_true(is_default(SIGUSR1));
  assert_int_equal(take(), 0);
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
  raise(SIGUSR1);
  assert_int_equal(take(), SIGUSR1);
}

static void owners_do_not_disturb_each_other(void **state) {
  lunado_signals *other;
  (void)state;
  assert_int_equal(lunado_signals_new(&other), 0);
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
  assert_int_equal(lunado_signals_watch(other, SIGUSR1), 0);
  raise(SIGUSR1);
  lunado_signals_drain(other);
  assert_int_equal(lunado_signals_take(other), SIGUSR1);
  lunado_signals_free(other);
  assert_false(is_default(SIGUSR1));
  assert_int_equal(take(), SIGUSR1);
}

static void what_cannot_be_noticed_is_refused(void **state) {
  static const int signums[] = {SIGKILL, SIGSTOP, 0, -1, 4711};
  (void)state;
  for (size_t i = 0; i < sizeof signums / sizeof signums[0]; i++)
    assert_int_equal(lunado_signals_watch(signals, signums[i]), UV_EINVAL);
  assert_int_equal(take(), 0);
}

static void want_of_memory_changes_nothing(void **state) {
  lunado_signals *other;
  (void)state;
  memory_fail_at(1);
  assert_int_equal(lunado_signals_new(&other), UV_ENOMEM);
  assert_null(other);
  memory_fail_at(1);
  assert_int_equal(lunado_signals_watch(signals, SIGUSR1), UV_ENOMEM);
  assert_true(is_default(SIGUSR1));
  memory_fail_at(0);
}

static void many_are_no_leak(void **state) {
  (void)state;
  for (int i = 0; i < 1000; i++) {
    assert_int_equal(lunado_signals_watch(signals, SIGUSR1), 0);
    raise(SIGUSR1);
    lunado_signals_unwatch(signals, SIGUSR1);
  }
  assert_true(memory_out() <= 2);
}

#define on_signals(test) \
  { #test, test, open_signals, close_signals, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      on_signals(each_time_is_told),
      on_signals(one_that_is_let_go_is_forgotten),
      on_signals(owners_do_not_disturb_each_other),
      on_signals(what_cannot_be_noticed_is_refused),
      on_signals(want_of_memory_changes_nothing),
      on_signals(many_are_no_leak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
