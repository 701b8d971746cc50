/* SPDX-License-Identifier: MIT */
/* poll_test.c - watchers on descriptors of all kinds. */
#include "core/poll.h"

#include <fcntl.h>
#include <stdlib.h>

#include "../support/posix.h"
#include "support.h"

enum { PAIRS = 50 };

static int ends[2]; /* a pair of sockets, or a pipe with the reading end in
                       [0] */
static unsigned calls;
static int seen; /* the events of the last call */

static void on_events(lunado_watcher *watcher, int events) {
  void (*act)(lunado_watcher *) = *(void (**)(lunado_watcher *))watcher->owner;
  calls++;
  seen = events;
  if (act != NULL) act(watcher);
}

static void (*acting)(lunado_watcher *watcher);

static void open_pair(void) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void shut(int end) {
  if (ends[end] >= 0) close(ends[end]);
  ends[end] = -1;
}

static int setup(void **state, bool borrowed) {
  *state = loop_open(borrowed);
  ends[0] = ends[1] = -1;
  calls = 0;
  seen = LUNADO_NONE;
  acting = NULL;
  return 0;
}

static int setup_on_own(void **state) { return setup(state, false); }

static int setup_on_borrowed(void **state) { return setup(state, true); }

static int finish(void **state) {
  loop_drop(*state);
  shut(0);
  shut(1);
  return 0;
}

static int add(lunado_watcher **watcher, lunado_loop *loop, int fd,
               int events) {
  int rc = lunado_watcher_new(watcher, loop, fd, events, on_events);
  assert_true((rc == 0) == (*watcher != NULL));
  if (rc == 0) (*watcher)->owner = (void *)&acting;
  lunado__check(loop);
  return rc;
}

static lunado_watcher *watch(lunado_loop *loop, int end, int events) {
  lunado_watcher *watcher;
  assert_int_equal(add(&watcher, loop, ends[end], events), 0);
  assert_int_equal(watcher->fd, ends[end]);
  return watcher;
}

static void set(lunado_watcher *watcher, int events) {
  assert_int_equal(lunado_watcher_set(watcher, events), 0);
  lunado__check(watcher->loop);
}

static void feed(int end) { assert_int_equal(write(ends[end], "x", 1), 1); }

static void drain(int end) {
  char c;
  assert_int_equal(read(ends[end], &c, 1), 1);
}

/* Returns the events of a few turns; LUNADO_NONE if there were none. */
static int events_of(lunado_loop *loop) {
  seen = LUNADO_NONE;
  for (int i = 0; i < 3; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  lunado__check(loop);
  return seen;
}

/* --- events -------------------------------------------------------------- */

static void tells_each_turn_while_there_is_something(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_READ);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  feed(1);
  assert_int_equal(events_of(loop), LUNADO_READ);
  assert_int_equal(calls, 3);
  drain(0);
  assert_int_equal(events_of(loop), LUNADO_NONE);
}

static void tells_of_what_it_watches_for(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  open_pair();
  feed(1);
  watcher = watch(loop, 0, LUNADO_WRITE);
  assert_int_equal(events_of(loop), LUNADO_WRITE);
  set(watcher, LUNADO_READ | LUNADO_WRITE);
  assert_int_equal(events_of(loop), LUNADO_READ | LUNADO_WRITE);
  set(watcher, LUNADO_READ);
  assert_int_equal(events_of(loop), LUNADO_READ);
  set(watcher, LUNADO_NONE);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  set(watcher, LUNADO_READ);
  assert_int_equal(events_of(loop), LUNADO_READ);
}

static void a_pipe_has_two_ends(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *reader, *writer;
  assert_int_equal(pipe(ends), 0);
  writer = watch(loop, 1, LUNADO_WRITE);
  assert_int_equal(events_of(loop), LUNADO_WRITE);
  set(writer, LUNADO_NONE);
  reader = watch(loop, 0, LUNADO_READ);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  feed(1);
  assert_int_equal(events_of(loop), LUNADO_READ);
  drain(0);
  shut(1);
  assert_true(events_of(loop) & LUNADO_READ); /* the end of the file */
  (void)reader;
}

static void tells_that_the_other_side_is_gone(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_READ | LUNADO_ERROR);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  shut(1);
  assert_int_equal(events_of(loop), LUNADO_READ | LUNADO_ERROR);
}

static void may_watch_for_that_alone(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_ERROR);
  feed(1);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  shut(1);
  assert_int_equal(events_of(loop), LUNADO_ERROR);
}

/* libuv stops watching a descriptor in error; the watcher does not. */
static void goes_on_telling_of_an_error(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(pipe(ends), 0);
  watch(loop, 1, LUNADO_WRITE);
  shut(0);
  assert_true(events_of(loop) & LUNADO_ERROR);
  assert_int_equal(calls, 3);
  assert_true(events_of(loop) & LUNADO_ERROR);
  assert_int_equal(calls, 6);
}

/* Connects to a port without a listener, so the connection is refused. */
#ifndef _WIN32

static void tells_of_a_refused_connection(void **state) {
  lunado_loop *loop = *state;
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  int port = socket(AF_INET, SOCK_STREAM, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(port, (struct sockaddr *)&address, size), 0);
  assert_int_equal(getsockname(port, (struct sockaddr *)&address, &size), 0);
  ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  assert_int_equal(connect(ends[0], (struct sockaddr *)&address, size), -1);
  watch(loop, 0, LUNADO_WRITE);
  while (calls == 0) (void)uv_run(loop->uv, UV_RUN_ONCE);
  assert_true(seen & (LUNADO_ERROR | LUNADO_WRITE));
  close(port);
}

#endif

static void pause_it(lunado_watcher *watcher) { set(watcher, LUNADO_NONE); }

static void can_be_paused_when_told_of_an_error(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(pipe(ends), 0);
  watch(loop, 1, LUNADO_WRITE);
  acting = pause_it;
  shut(0);
  assert_true(events_of(loop) & LUNADO_ERROR);
  assert_int_equal(calls, 1);
}

/* --- descriptors that cannot be watched ----------------------------------- */

static void a_regular_file_cannot(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  int fd = open("/proc/self/exe", O_RDONLY);
  assert_true(fd >= 0);
  assert_int_equal(add(&watcher, loop, fd, LUNADO_READ), UV_EPERM);
  assert_int_equal(add(&watcher, loop, fd, LUNADO_NONE), UV_EPERM);
  close(fd);
}

static void nor_can_what_is_closed(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  int fd;
  open_pair();
  fd = ends[0];
  shut(0);
  assert_int_equal(add(&watcher, loop, fd, LUNADO_READ), UV_EBADF);
  assert_int_equal(add(&watcher, loop, -1, LUNADO_READ), UV_EBADF);
}

static void nor_can_what_is_watched_already(void **state) {
  static const int events[] = {LUNADO_NONE, LUNADO_READ};
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 1, LUNADO_READ);
  for (int first = 0; first < 2; first++) {
    lunado_watcher *watcher = watch(loop, 0, events[first]), *other;
    for (int second = 0; second < 2; second++)
      assert_int_equal(add(&other, loop, ends[0], events[second]), UV_EEXIST);
    lunado_watcher_close(watcher);
  }
  feed(1);
  watch(loop, 0, LUNADO_READ); /* before libuv has closed the earlier ones */
  assert_int_equal(events_of(loop), LUNADO_READ);
}

static void nor_when_there_is_no_memory(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  open_pair();
  memory_fail_at(1);
  assert_int_equal(add(&watcher, loop, ends[0], LUNADO_READ), UV_ENOMEM);
  watch(loop, 0, LUNADO_READ);
}

static void nor_on_a_closed_loop(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  open_pair();
  lunado_loop_close(loop);
  assert_int_equal(add(&watcher, loop, ends[0], LUNADO_READ), UV_ECANCELED);
}

/* --- descriptors that are closed too early ------------------------------- */

static void one_that_is_closed_is_silent(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  (void)events_of(loop);
  shut(0);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  lunado_watcher_close(watcher);
}

static void one_that_is_closed_cannot_be_set(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  (void)events_of(loop);
  shut(0);
  assert_int_equal(lunado_watcher_set(watcher, LUNADO_WRITE), UV_EBADF);
  lunado__check(loop);
  (void)events_of(loop);
  set(watcher, LUNADO_NONE);
  assert_int_equal(lunado_watcher_set(watcher, LUNADO_READ), UV_EBADF);
  (void)events_of(loop);
}

static void nor_when_its_number_is_a_files(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  int fd;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  (void)events_of(loop);
  fd = open("/proc/self/exe", O_RDONLY);
  assert_int_equal(dup2(fd, ends[0]), ends[0]);
  close(fd);
  assert_int_equal(lunado_watcher_set(watcher, LUNADO_WRITE), UV_EPERM);
  lunado__check(loop);
  (void)events_of(loop);
}

static void a_number_that_comes_again_can_be_watched_again(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  int fd;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  (void)events_of(loop);
  fd = ends[0];
  shut(0);
  shut(1);
  open_pair();
  assert_int_equal(ends[0], fd);
  lunado_watcher_close(watcher);
  watch(loop, 0, LUNADO_READ);
  feed(1);
  assert_int_equal(events_of(loop), LUNADO_READ);
}

static void close_descriptor(lunado_watcher *watcher) {
  (void)watcher;
  shut(1);
}

static void an_error_may_end_with_its_descriptor(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(pipe(ends), 0);
  watch(loop, 1, LUNADO_WRITE);
  acting = close_descriptor;
  shut(0);
  assert_int_equal(events_of(loop), UV_EBADF);
  assert_int_equal(calls, 2);
}

/* --- descriptors that are closed before libuv hands them on --------------- */

static void is_refused(lunado_watcher *watcher, int error) {
  lunado_loop *loop = watcher->loop;
  assert_int_equal(events_of(loop), error);
  assert_int_equal(calls, 1);
  assert_int_equal(watcher->events, LUNADO_NONE);
  assert_int_equal(events_of(loop), LUNADO_NONE);
}

static void one_that_is_new_is_told_of(void **state) {
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(*state, 0, LUNADO_READ);
  shut(0);
  is_refused(watcher, UV_EBADF);
  assert_int_equal(lunado_watcher_set(watcher, LUNADO_READ), UV_EBADF);
}

static void one_that_was_changed_is_told_of(void **state) {
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(*state, 0, LUNADO_READ);
  assert_int_equal(events_of(*state), LUNADO_NONE);
  set(watcher, LUNADO_WRITE);
  shut(0);
  is_refused(watcher, UV_EBADF);
}

static void one_that_is_paused_is_not(void **state) {
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(*state, 0, LUNADO_READ);
  set(watcher, LUNADO_NONE);
  shut(0);
  assert_int_equal(events_of(*state), LUNADO_NONE);
  assert_int_equal(calls, 0);
}

static void put_in_its_place(int end, const char *name) {
  int fd = open(name, O_RDWR);
  if (fd < 0) fd = open(name, O_RDONLY);
  assert_true(fd >= 0);
  assert_int_equal(dup2(fd, ends[end]), ends[end]);
  close(fd);
}

static void its_number_is_a_files_now(void **state) {
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(*state, 0, LUNADO_READ);
  put_in_its_place(0, "/proc/self/exe");
  is_refused(watcher, UV_EPERM);
}

/* The type is not a file's, but the system refuses to watch it. */
static void its_number_is_a_devices_now(void **state) {
  lunado_watcher *watcher;
  open_pair();
  watcher = watch(*state, 0, LUNADO_READ);
  put_in_its_place(0, "/dev/null");
  is_refused(watcher, UV_EPERM);
  assert_int_equal(lunado_watcher_set(watcher, LUNADO_READ), UV_EPERM);
}

static void its_number_is_another_sockets_now(void **state) {
  lunado_loop *loop = *state;
  int other[2];
  open_pair();
  watch(loop, 0, LUNADO_READ);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0);
  assert_int_equal(dup2(other[0], ends[0]), ends[0]);
  close(other[0]);
  assert_int_equal(write(other[1], "x", 1), 1);
  assert_int_equal(events_of(loop), LUNADO_READ);
  assert_int_equal(calls, 3);
  close(other[1]);
}

static void closing_what_was_refused(lunado_watcher *watcher) {
  lunado_watcher_close(watcher);
}

static void its_watcher_may_be_closed_then(void **state) {
  open_pair();
  watch(*state, 0, LUNADO_READ);
  shut(0);
  acting = closing_what_was_refused;
  assert_int_equal(events_of(*state), UV_EBADF);
  assert_int_equal(calls, 1);
}

static void close_all(lunado_watcher *watcher) {
  lunado_loop_close(watcher->loop);
}

static void or_the_loop(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_READ);
  watch(loop, 1, LUNADO_READ);
  shut(0);
  shut(1);
  acting = close_all;
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  assert_int_equal(calls, 1);
}

static void or_its_watcher_before(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *first, *second;
  open_pair();
  first = watch(loop, 0, LUNADO_READ);
  second = watch(loop, 1, LUNADO_READ);
  shut(0);
  shut(1);
  lunado_watcher_close(first);
  lunado__watchers_check(loop); /* as right before libuv polls */
  lunado__check(loop);
  lunado_watcher_close(second);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  assert_int_equal(calls, 0);
}

static void it_may_be_watched_again_before_it_is_told(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  int fd;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  fd = ends[0];
  shut(0);
  lunado__watchers_check(loop);
  shut(1);
  open_pair();
  assert_int_equal(ends[0], fd);
  set(watcher, LUNADO_READ);
  feed(1);
  assert_int_equal(events_of(loop), LUNADO_READ);
}

static lunado_watcher *changed;

static void change_and_shut(lunado_watcher *watcher) {
  acting = NULL;
  lunado_watcher_close(watcher);
  set(changed, LUNADO_READ);
  shut(1);
}

static void one_that_another_callback_closes_is_told_of(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  feed(1);
  watch(loop, 0, LUNADO_READ);
  changed = watch(loop, 1, LUNADO_WRITE);
  acting = change_and_shut;
  (void)events_of(loop);
  assert_int_equal(events_of(loop), LUNADO_NONE);
  assert_int_equal(changed->events, LUNADO_NONE);
}

static void shut_first(uv_prepare_t *handle) {
  shut(0);
  (void)uv_prepare_stop(handle);
}

/* libuv runs prepare handles in reverse order of their start, so this one runs
 * before the loop's. */
static void one_that_a_prepare_callback_closes_is_told_of(void **state) {
  lunado_loop *loop = *state;
  lunado_watcher *watcher;
  uv_prepare_t prepare;
  open_pair();
  watcher = watch(loop, 0, LUNADO_READ);
  (void)uv_prepare_init(loop->uv, &prepare);
  (void)uv_prepare_start(&prepare, shut_first);
  is_refused(watcher, UV_EBADF);
  uv_close((uv_handle_t *)&prepare, NULL);
  (void)events_of(loop);
}

static void it_keeps_the_run_alive_until_told(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_READ);
  shut(0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(seen, UV_EBADF);
  assert_int_equal(calls, 1);
}

/* --- from within a callback ---------------------------------------------- */

static lunado_watcher *both[2];

static void close_both(lunado_watcher *watcher) {
  lunado_loop *loop = watcher->loop;
  lunado_watcher_close(both[0]);
  lunado_watcher_close(both[1]);
  lunado__check(loop);
}

static void a_callback_closes_itself_and_another(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  feed(0);
  feed(1);
  both[0] = watch(loop, 0, LUNADO_READ);
  both[1] = watch(loop, 1, LUNADO_READ);
  acting = close_both;
  assert_int_equal(events_of(loop), LUNADO_READ);
  assert_int_equal(calls, 1);
}

static void a_callback_closes_the_loop(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  feed(0);
  feed(1);
  watch(loop, 0, LUNADO_READ);
  watch(loop, 1, LUNADO_READ);
  acting = close_all;
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_int_equal(calls, 1);
}

static void a_callback_closes_the_loop_on_error(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(pipe(ends), 0);
  watch(loop, 1, LUNADO_WRITE);
  acting = close_all;
  shut(0);
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_int_equal(calls, 1);
}

static void watch_again(lunado_watcher *watcher) {
  lunado_loop *loop = watcher->loop;
  acting = NULL;
  lunado_watcher_close(watcher);
  watch(loop, 0, LUNADO_READ);
}

static void a_callback_watches_anew(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  feed(1);
  watch(loop, 0, LUNADO_READ);
  acting = watch_again;
  assert_int_equal(events_of(loop), LUNADO_READ);
  assert_int_equal(calls, 3);
}

static void drain_and_close(lunado_watcher *watcher) {
  char c;
  assert_int_equal(read(watcher->fd, &c, 1), 1);
  lunado_watcher_close(watcher);
}

static void a_watcher_keeps_the_run_alive_until_closed(void **state) {
  lunado_loop *loop = *state;
  open_pair();
  watch(loop, 0, LUNADO_READ);
  acting = drain_and_close;
  assert_int_equal(uv_run(loop->uv, UV_RUN_NOWAIT), 1);
  feed(1);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(calls, 1);
}

static void many_watchers(void **state) {
  lunado_loop *loop = *state;
  int pairs[PAIRS][2];
  acting = drain_and_close;
  for (int i = 0; i < PAIRS; i++) {
    lunado_watcher *watcher;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
    assert_int_equal(add(&watcher, loop, pairs[i][0], LUNADO_READ), 0);
    if (i % 3 == 0) set(watcher, LUNADO_NONE);
    if (i % 6 == 0) set(watcher, LUNADO_READ);
  }
  for (int i = 0; i < PAIRS; i++)
    assert_int_equal(write(pairs[i][1], "x", 1), 1);
  (void)events_of(loop);
  assert_int_equal(calls, PAIRS - PAIRS / 6);
  for (int i = 0; i < PAIRS; i++) {
    close(pairs[i][0]);
    close(pairs[i][1]);
  }
}

#define unit(test) \
  { #test, test, setup_on_own, finish, NULL }
#define units(test) \
  unit(test), { #test " (borrowed)", test, setup_on_borrowed, finish, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      units(tells_each_turn_while_there_is_something),
      unit(tells_of_what_it_watches_for),
      unit(a_pipe_has_two_ends),
      unit(tells_that_the_other_side_is_gone),
      unit(may_watch_for_that_alone),
      unit(goes_on_telling_of_an_error),
#ifndef _WIN32
      unit(tells_of_a_refused_connection),
#endif
      unit(can_be_paused_when_told_of_an_error),
      unit(a_regular_file_cannot),
      unit(nor_can_what_is_closed),
      unit(nor_can_what_is_watched_already),
      unit(nor_when_there_is_no_memory),
      units(nor_on_a_closed_loop),
      unit(one_that_is_closed_is_silent),
      unit(one_that_is_closed_cannot_be_set),
      unit(nor_when_its_number_is_a_files),
      unit(a_number_that_comes_again_can_be_watched_again),
      unit(an_error_may_end_with_its_descriptor),
      units(one_that_is_new_is_told_of),
      units(one_that_was_changed_is_told_of),
      unit(one_that_is_paused_is_not),
      unit(its_number_is_a_files_now),
      unit(its_number_is_a_devices_now),
      unit(its_number_is_another_sockets_now),
      unit(its_watcher_may_be_closed_then),
      units(or_the_loop),
      unit(or_its_watcher_before),
      unit(it_may_be_watched_again_before_it_is_told),
      unit(one_that_another_callback_closes_is_told_of),
      units(one_that_a_prepare_callback_closes_is_told_of),
      unit(it_keeps_the_run_alive_until_told),
      units(a_callback_closes_itself_and_another),
      units(a_callback_closes_the_loop),
      units(a_callback_closes_the_loop_on_error),
      unit(a_callback_watches_anew),
      unit(a_watcher_keeps_the_run_alive_until_closed),
      unit(many_watchers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
