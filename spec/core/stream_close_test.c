/* SPDX-License-Identifier: MIT */
/* stream_close_test.c - streams are closed, by whomever and whenever. */
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "core/stream.h"
#include "core/write.h"
#include "../support/posix.h"
#include "ends.h"

/* --- in events ----------------------------------------------------------- */

static char when; /* the event in which `doing` is called */
static void (*doing)(end *self);
static bool done;

static void act(end *self, char event) {
  if (event == 'x') {
    note(self->name);
    end_close_foreign(self);
  }
  if (event != when || done) return;
  done = true;
  doing(self);
}

/* There writes some and ends, here reads all that; then there does so. */
static void play(lunado_loop *loop, medium of, bool adopted) {
  int rc;
  ends_open(loop, of, adopted);
  here.act = there.act = act;
  end_read(&here, 0);
  end_read(&there, 0);
  end_write(&there, 300000);
  end_write(&there, 10);
  end_write_end(&there);
  end_write(&here, 10);
  end_write_end(&here);
  rc = lunado_loop_run(loop, false);
  assert_int_equal(rc, loop->closed ? LUNADO_RUN_STOPPED : LUNADO_RUN_EMPTY);
  if (when == 'x' && !loop->closed) lunado_stream_close(here.stream);
}

static void close_all(lunado_loop *loop) {
  if (here.stream != NULL) lunado_stream_close(here.stream);
  if (there.stream != NULL) lunado_stream_close(there.stream);
  if (!loop->closed) turn(loop);
}

static void play_alone(medium of, bool adopted, bool borrowed) {
  void *state;
  if (borrowed)
    setup_ends_on_borrowed(&state);
  else
    setup_ends_on_own(&state);
  done = false;
  play(state, of, adopted);
  close_all(state);
  assert_true(done);
  ends_close(state);
  assert_int_equal(strlen(noted()), 2);
  teardown_ends(&state);
}

/* Whatever closes them, each is told of it once.  ends.c proves that nothing
 * else is told afterwards. */
static void in_each_event(void (*what)(end *self)) {
  doing = what;
  for (const char *event = "aewx"; *event != '\0'; event++) {
    when = *event;
    for (unsigned i = 0; i < 8; i++)
      play_alone(i & 1 ? TCP : LOCAL, i & 2, i & 4);
  }
}

static void close_it(end *self) {
  lunado_stream_close(self->stream);
  if (self->stream != NULL) lunado_stream_close(self->stream);
}

static void an_event_may_close_its_stream(void **state) {
  (void)state;
  in_each_event(close_it);
}

static end *other(const end *self) { return self == &here ? &there : &here; }

static void close_the_other(end *self) {
  if (other(self)->stream != NULL) close_it(other(self));
}

static void or_another(void **state) {
  (void)state;
  in_each_event(close_the_other);
}

static void close_both(end *self) {
  close_the_other(self);
  close_it(self);
}

static void or_both(void **state) {
  (void)state;
  in_each_event(close_both);
}

static void close_loop(end *self) { lunado_loop_close(self->stream->loop); }

static void or_the_loop(void **state) {
  (void)state;
  in_each_event(close_loop);
}

static void close_it_and_the_loop(end *self) {
  lunado_loop *loop = self->stream->loop;
  lunado_stream_close(self->stream);
  lunado_loop_close(loop);
}

static void or_itself_and_then_the_loop(void **state) {
  (void)state;
  in_each_event(close_it_and_the_loop);
}

/* Nobody is told what becomes of it. */
static void write_some(end *self) {
  self->written = self->writes;
  end_write(self, 10);
  end_write_end(self);
  lunado_stream_drop_writes(self->stream);
}

static void a_closed_one_takes_no_writes(void **state) {
  (void)state;
  when = 'x';
  doing = write_some;
  for (unsigned i = 0; i < 8; i++)
    play_alone(i & 1 ? TCP : LOCAL, i & 2, i & 4);
}

/* --- while something is under way ---------------------------------------- */

static void close_while_writing(lunado_loop *loop) {
  end_fill(&there);
  end_write(&there, 10);
  end_write_end(&there);
  end_read(&here, 0);
  lunado_stream_close(there.stream);
  lunado__check(loop);
  turn_until(loop, there.stream == NULL);
  turn(loop);
  assert_int_equal(there.written, 0);
}

static void writes_are_given_up(void **state) {
  in_every_way(*state, close_while_writing);
}

static void close_while_ending(lunado_loop *loop) {
  end_write_end(&there);
  lunado_stream_close(there.stream);
  turn_until(loop, there.stream == NULL);
  turn(loop);
  assert_int_equal(there.written, 0);
}

static void the_end_of_writing_is_given_up(void **state) {
  in_every_way(*state, close_while_ending);
}

static size_t left;

static void look_at_rest(end *self, char event) {
  if (event == 'x') left = end_waiting(self);
  if (event == 'x') end_skip(self, left);
}

static void keep_and_close(lunado_loop *loop) {
  here.keeps = true;
  here.act = look_at_rest;
  end_write(&there, 5000);
  end_read(&here, 0);
  turn_until(loop, end_waiting(&here) == 5000);
  lunado_stream_close(here.stream);
  turn_until(loop, here.stream == NULL);
  assert_int_equal(left, 5000);
}

static void what_has_arrived_can_be_taken_at_last(void **state) {
  in_every_way(*state, keep_and_close);
}

/* --- with the loop ------------------------------------------------------- */

static void close_loop_with(medium of, bool adopted, bool borrowed) {
  void *state;
  if (borrowed)
    setup_ends_on_borrowed(&state);
  else
    setup_ends_on_own(&state);
  ends_open(state, of, adopted);
  here.act = there.act = act;
  here.keeps = true;
  end_write(&there, 10);
  end_read(&here, 0);
  turn_until((lunado_loop *)state, end_waiting(&here) == 10);
  lunado_stream_read_stop(here.stream);
  if (of != PIPE) end_read(&there, 0);
  end_fill(&there);
  end_write(&there, 10);
  lunado_loop_close(state);
  lunado__check(state);
  here.act = there.act = NULL;
  ends_close(state);
  assert_int_equal(there.written, 1);
  teardown_ends(&state);
}

static void streams_are_closed_with_their_loop(void **state) {
  (void)state;
  when = ' ';
  for (unsigned i = 0; i < 12; i++)
    close_loop_with((medium)(i % 3), i & 1, i >= 6);
}

static void connect_nowhere(lunado_loop *loop) {
  struct sockaddr_in address;
  lunado_stream *stream;
  close(listen_on(&address));
  assert_int_equal(lunado_stream_new(&stream, loop, LUNADO_STREAM_TCP), 0);
  end_take(&here, stream);
  assert_int_equal(lunado_stream_connect(stream, (struct sockaddr *)&address),
                   0);
  end_write(&here, 10);
}

static void write_on(lunado_loop *loop) {
  ends_open(loop, TCP, false);
  end_fill(&there);
  end_write(&there, 10);
}

static void end_writing(lunado_loop *loop) {
  ends_open(loop, LOCAL, false);
  end_write_end(&there);
}

static void drop_on(lunado_loop *loop) {
  write_on(loop);
  lunado_stream_drop_writes(there.stream);
}

static void close_both_first(lunado_loop *loop) {
  write_on(loop);
  lunado_stream_close(here.stream);
  lunado_stream_close(there.stream);
}

/* Nobody drives an own uv_loop_t any more: what is under way ends with it. */
static void nothing_under_way_outlives_an_own_loop(void **state) {
  static void (*const begin[])(lunado_loop *) = {
      write_on, end_writing, drop_on, close_both_first, connect_nowhere};
  (void)state;
  for (size_t i = 0; i < sizeof begin / sizeof *begin; i++) {
    void *loop;
    setup_ends_on_own(&loop);
    begin[i](loop);
    lunado_loop_close(loop);
    assert_null(here.stream);
    assert_null(there.stream);
    assert_int_equal(((lunado_loop *)loop)->requests, 0);
    loop_drop(loop);
  }
}

static void close_the_loop(uv_handle_t *handle) {
  lunado_loop_close(handle->data);
}

/* One that is closing then is in the list that uv_run goes through. */
static void anothers_close_callback_may_close_the_loop(void **state) {
  (void)state;
  for (int first = 0; first < 2; first++) {
    void *loop;
    uv_timer_t timer;
    setup_ends_on_own(&loop);
    write_on(loop);
    (void)uv_timer_init(((lunado_loop *)loop)->uv, &timer);
    timer.data = loop;
    if (first) uv_close((uv_handle_t *)&timer, close_the_loop);
    lunado_stream_close(here.stream);
    lunado_stream_close(there.stream);
    if (!first) uv_close((uv_handle_t *)&timer, close_the_loop);
    (void)uv_run(((lunado_loop *)loop)->uv, UV_RUN_DEFAULT);
    assert_null(there.stream);
    loop_drop(loop);
  }
}

static void also_those_that_connect(void **state) {
  lunado_loop *loop = *state;
  connect_nowhere(loop);
  lunado_loop_close(loop);
  lunado__check(loop);
  ends_close(loop);
  assert_int_equal(here.connected, 1);
}

static void close_other_of_two(end *self, char event) {
  if (event == 'x') close_the_other(self);
}

static void one_may_close_another_then(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, true);
  here.act = there.act = close_other_of_two;
  lunado_loop_close(loop);
  assert_null(here.stream);
  assert_null(there.stream);
}

/* The handles' last callbacks are those of the host's uv_run. */
static void they_may_outlive_all_references_to_it(void **state) {
  void *loop;
  (void)state;
  setup_ends_on_borrowed(&loop);
  ends_open(loop, TCP, false);
  end_fill(&there);
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  assert_non_null(here.stream);
  (void)uv_run(loop_host(), UV_RUN_NOWAIT);
  assert_null(here.stream);
  assert_null(there.stream);
  loop_gone();
}

/* --- by the host --------------------------------------------------------- */

static unsigned walked, told;

static void on_walked_closed(uv_handle_t *handle) {
  (void)handle;
  told++;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  bool silently = arg != NULL && handle == *(uv_handle_t **)arg;
  if (uv_is_closing(handle)) return;
  if (!silently) walked++;
  uv_close(handle, silently ? NULL : on_walked_closed);
}

static void walk(void) {
  walked = told = 0;
  uv_walk(loop_host(), close_handle, NULL);
}

/* With some turns before and after the streams are closed, or without. */
static void let_host_close(lunado_loop *loop, bool early, bool late) {
  if (early) turn(loop);
  assert_int_equal(there.written, early);
  if (early) assert_int_equal(there.error, UV_ECANCELED);
  lunado_stream_close(there.stream);
  if (late) turn(loop);
  lunado_loop_close(loop);
  turn(loop);
  ends_close(loop);
  assert_int_equal(told, walked);
}

static void be_walked(medium of, bool adopted, bool early, bool late) {
  void *state;
  lunado_stream *stream;
  setup_ends_on_borrowed(&state);
  ends_open(state, of, adopted);
  end_read(&here, 0);
  lunado_stream_read_stop(here.stream);
  end_fill(&there);
  end_write(&there, 10);
  walk();
  assert_true(walked >= 6);
  assert_true(lunado_stream_is_closing(here.stream));
  assert_false(lunado_stream_is_readable(here.stream));
  assert_false(lunado_stream_is_writable(there.stream));
  assert_int_equal(lunado_stream_read(here.stream, 0), UV_ECANCELED);
  assert_int_equal(lunado_stream_new(&stream, state, LUNADO_STREAM_TCP),
                   UV_ECANCELED);
  assert_null(stream);
  let_host_close(state, early, late);
  teardown_ends(&state);
}

static void the_host_may_close_every_handle(void **state) {
  (void)state;
  for (unsigned i = 0; i < 24; i++)
    be_walked((medium)(i % 3), i & 1, i >= 12, i / 6 & 1);
}

/* What is read is not told of its end, but can be closed. */
static void also_while_it_is_read(void **state) {
  void *loop;
  (void)state;
  for (int adopted = 0; adopted < 2; adopted++) {
    setup_ends_on_borrowed(&loop);
    ends_open(loop, TCP, adopted);
    end_read(&here, 0);
    end_write(&there, 100);
    walk();
    turn(loop);
    assert_int_equal(here.ended, 0);
    lunado_stream_close(here.stream);
    assert_null(here.stream);
    lunado_loop_close(loop);
    teardown_ends(&loop);
    assert_int_equal(told, walked);
  }
}

static void also_while_it_connects(void **state) {
  void *loop;
  (void)state;
  setup_ends_on_borrowed(&loop);
  connect_nowhere(loop);
  walk();
  turn(loop);
  assert_int_equal(here.connected, UV_ECANCELED);
  assert_int_equal(here.written, 1);
  assert_int_equal(here.error, UV_ECANCELED);
  lunado_loop_close(loop);
  teardown_ends(&loop);
  assert_int_equal(told, walked);
}

static uv_handle_t *silent;

static void the_host_may_not_want_to_know(void **state) {
  void *loop;
  (void)state;
  setup_ends_on_borrowed(&loop);
  ends_open(loop, LOCAL, false);
  silent = (uv_handle_t *)here.stream->uv;
  walked = told = 0;
  uv_walk(loop_host(), close_handle, &silent);
  lunado_loop_close(loop);
  ends_close(loop);
  assert_int_equal(told, walked);
  teardown_ends(&loop);
}

/* --- memory -------------------------------------------------------------- */

static bool open_one(end *self, lunado_loop *loop, int fd) {
  lunado_stream *stream;
  *self = (end){.name = '-'};
  if (lunado_stream_new_open(&stream, loop, LUNADO_STREAM_PIPE, fd) == 0) {
    end_take(self, stream);
    return true;
  }
  assert_null(stream);
  close(fd);
  return false;
}

static bool write_one(size_t n) {
  uv_buf_t buf = uv_buf_init(text + there.sent, (unsigned)n);
  lunado_write *write = lunado_write_new(&buf, 1, 0);
  if (write == NULL) return false;
  write->number = there.writes++;
  there.sent += n;
  lunado_stream_write(there.stream, write);
  return true;
}

static void exchange(lunado_loop *loop) {
  here.nibbles = true;
  end_read(&here, 0);
  for (int i = 0; i < 5; i++) (void)write_one((size_t)i * 50000 + 10);
  while (there.written < there.writes ||
         (here.ended == 0 && here.got + end_waiting(&here) < there.sent)) {
    (void)uv_run(loop->uv, UV_RUN_ONCE);
    if (here.ended != 0) break;
    here.stream->missing = here.stream->missing == 0 ? 200000 : 0;
  }
  if (memory_failed()) return;
  end_skip(&here, end_waiting(&here));
  assert_int_equal(here.got, there.sent);
}

static void try_all(lunado_loop *loop) {
  int fds[2];
  bool both;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  both = open_one(&here, loop, fds[0]);
  both = open_one(&there, loop, fds[1]) && both;
  if (both) exchange(loop);
  lunado__check(loop);
  ends_close(loop);
}

static void close_without_memory(end *self, char event) {
  if (event != 'a') return;
  memory_fail_at(1);
  lunado_stream_close(self->stream);
}

/* What it leaves then cannot be kept, which nobody is told. */
static void one_may_be_closed_without_memory(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  here.keeps = true;
  here.act = close_without_memory;
  end_write(&there, 10);
  end_read(&here, 0);
  turn_until(loop, here.stream == NULL);
  assert_true(memory_failed());
  assert_int_equal(here.ended, 0);
}

static void memory_may_be_missing_everywhere(void **state) {
  for (unsigned n = 1;; n++) {
    memory_fail_at(n);
    try_all(*state);
    if (!memory_failed()) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_event_may_close_its_stream),
      cmocka_unit_test(or_another),
      cmocka_unit_test(or_both),
      cmocka_unit_test(or_the_loop),
      cmocka_unit_test(or_itself_and_then_the_loop),
      cmocka_unit_test(a_closed_one_takes_no_writes),
      end_units(writes_are_given_up),
      end_units(the_end_of_writing_is_given_up),
      end_units(what_has_arrived_can_be_taken_at_last),
      cmocka_unit_test(streams_are_closed_with_their_loop),
      cmocka_unit_test(nothing_under_way_outlives_an_own_loop),
      cmocka_unit_test(anothers_close_callback_may_close_the_loop),
      end_units(also_those_that_connect),
      end_units(one_may_close_another_then),
      cmocka_unit_test(they_may_outlive_all_references_to_it),
      cmocka_unit_test(the_host_may_close_every_handle),
      cmocka_unit_test(also_while_it_is_read),
      cmocka_unit_test(also_while_it_connects),
      cmocka_unit_test(the_host_may_not_want_to_know),
      end_units(one_may_be_closed_without_memory),
      end_units(memory_may_be_missing_everywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
