/* SPDX-License-Identifier: MIT */
/* alloc_test.c - the allocator, and a failure of each allocation. */
#include "core/alloc.h"

#include <math.h>
#include <string.h>

#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

enum { TIMERS = 200 };

static void new_memory_is_zeros(void **state) {
  static const char zeros[1000];
  void *block = lunado__alloc(sizeof zeros);
  (void)state;
  assert_non_null(block);
  assert_memory_equal(block, zeros, sizeof zeros);
  lunado__free(block);
}

static void resizing_keeps_what_there_is(void **state) {
  char *block = lunado__realloc(NULL, 10);
  (void)state;
  assert_non_null(block);
  memcpy(block, "123456789", 10);
  block = lunado__realloc(block, 1000);
  assert_string_equal(block, "123456789");
  block = lunado__realloc(block, 5);
  assert_memory_equal(block, "12345", 5);
  assert_null(lunado__realloc(block, 0));
}

static void nothing_can_be_freed(void **state) {
  (void)state;
  lunado__free(NULL);
  assert_null(lunado__realloc(NULL, 0));
}

static void counts_and_fails_on_command(void **state) {
  char *first, *second;
  (void)state;
  memory_watch();
  first = lunado__alloc(10);
  assert_int_equal(memory_out(), 1);
  memory_fail_at(2);
  second = lunado__alloc(10);
  assert_non_null(second);
  assert_false(memory_failed());
  memcpy(first, "123456789", 10);
  assert_null(lunado__realloc(first, 20));
  assert_true(memory_failed());
  assert_string_equal(first, "123456789");
  first = lunado__realloc(first, 20);
  assert_string_equal(first, "123456789");
  lunado__free(first);
  lunado__free(second);
  assert_int_equal(memory_out(), 0);
}

/* --- every allocation ----------------------------------------------------- */

static void on_timer(lunado_loop *loop, lunado_timer *timer) {
  (void)loop;
  (void)timer;
}

static void on_readable(lunado_watcher *watcher, int events) {
  (void)events;
  lunado_watcher_close(watcher);
}

static void on_post(void *arg) { ++*(unsigned *)arg; }

static int use_timers(lunado_loop *loop, lunado_timer *timers) {
  for (int i = 0; i < TIMERS; i++) {
    int rc;
    lunado_timer_init(&timers[i], on_timer);
    rc = lunado_timer_start(loop, &timers[i], i % 2 == 0 ? 1 : INFINITY);
    lunado__check(loop);
    if (rc < 0) return rc;
  }
  for (int i = 1; i < TIMERS; i += 2) lunado_timer_stop(loop, &timers[i]);
  return 0;
}

/* Uses the parts of a loop; stops at the first error, like an owner. */
static int use_everything(lunado_loop *loop, lunado_timer *timers, int fd) {
  static unsigned posted;
  lunado_watcher *watcher;
  int rc = lunado_loop_open_posts(loop);
  if (rc < 0) return rc;
  (void)lunado_loop_post(loop, on_post, &posted);
  rc = lunado_watcher_new(&watcher, loop, fd, LUNADO_READ, on_readable);
  lunado__check(loop);
  if (rc < 0) return rc;
  rc = use_timers(loop, timers);
  if (rc < 0) return rc;
  return lunado_loop_run(loop, false);
}

static int live(uv_loop_t *uv, int fd) {
  static lunado_timer timers[TIMERS];
  lunado_loop *loop;
  int rc = lunado_loop_new(&loop, uv);
  if (rc < 0) {
    assert_null(loop);
    return rc;
  }
  rc = use_everything(loop, timers, fd);
  lunado__check(loop);
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  if (uv != NULL) (void)uv_run(uv, UV_RUN_NOWAIT);
  return rc;
}

/* Fails the n-th allocation of a loop's life for n = 1, 2, ...  Nothing fails
 * if the allocation only returns memory. */
static void lacks_memory_at_every_place(uv_loop_t *uv) {
  int ends[2], failures = 0;
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  memory_watch();
  for (unsigned n = 1;; n++) {
    int rc;
    memory_fail_at(n);
    rc = live(uv, ends[0]);
    assert_int_equal(memory_out(), 0);
    if (!memory_failed()) break;
    assert_true(rc == UV_ENOMEM || rc == LUNADO_RUN_EMPTY);
    if (rc == UV_ENOMEM) failures++;
  }
  assert_true(failures >= 5);
  close(ends[0]);
  close(ends[1]);
}

static void an_own_loop_lacks_memory(void **state) {
  (void)state;
  lacks_memory_at_every_place(NULL);
}

static void a_borrowed_loop_lacks_memory(void **state) {
  uv_loop_t uv;
  (void)state;
  assert_int_equal(uv_loop_init(&uv), 0);
  lacks_memory_at_every_place(&uv);
  assert_int_equal(uv_loop_close(&uv), 0);
}

static int restore(void **state) {
  (void)state;
  lunado__set_allocator(NULL);
  return 0;
}

#define unit(test) cmocka_unit_test_setup_teardown(test, restore, restore)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(new_memory_is_zeros),      unit(resizing_keeps_what_there_is),
      unit(nothing_can_be_freed),     unit(counts_and_fails_on_command),
      unit(an_own_loop_lacks_memory), unit(a_borrowed_loop_lacks_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
