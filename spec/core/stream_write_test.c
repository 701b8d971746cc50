/* SPDX-License-Identifier: MIT */
/* stream_write_test.c - what is written leaves in order, and connecting. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stream.h"
#include "core/write.h"
#include "../support/posix.h"
#include "ends.h"

enum { SOME = 300 };

static void read_all(lunado_loop *loop) {
  end_read(&here, 0);
  turn_until(loop, here.got == there.sent);
}

/* --- order --------------------------------------------------------------- */

/* ends.c proves the order. */
static void write_many(lunado_loop *loop) {
  for (int i = 0; i < SOME; i++) {
    end_write(&there, i % 7 == 0 ? 0 : random_below(i % 5 == 0 ? 40000 : 50));
    if (random_below(4) == 0) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    if (random_below(10) == 0) end_read(&here, 0);
    lunado__check(loop);
  }
  read_all(loop);
  turn_until(loop, there.written == SOME);
  assert_int_equal(there.failed, 0);
}

static void writes_leave_and_are_told_in_order(void **state) {
  in_every_way(*state, write_many);
}

static void a_write_is_told_once_it_has_left(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write(&there, 10);
  assert_int_equal(there.written, 0); /* not before the call is over */
  turn_until(loop, there.written == 1);
  end_fill(&there);
  end_write(&there, 1);
  turn(loop);
  assert_int_equal(there.written, 1);
  read_all(loop);
  turn_until(loop, there.written == 3);
}

static void count_unsent(lunado_loop *loop) {
  size_t before;
  assert_int_equal(lunado_stream_unsent(there.stream), 0);
  end_fill(&there);
  before = lunado_stream_unsent(there.stream);
  assert_true(0 < before && before < there.sent);
  end_write(&there, 1000);
  end_write_end(&there);
  assert_int_equal(lunado_stream_unsent(there.stream), before + 1000);
  end_read(&here, 0);
  while (there.written < 3) {
    size_t now = lunado_stream_unsent(there.stream);
    assert_true(now <= before + 1000);
    before = now - (now >= 1000 ? 1000 : now);
    (void)uv_run(loop->uv, UV_RUN_ONCE);
  }
  assert_int_equal(lunado_stream_unsent(there.stream), 0);
}

static void unsent_is_what_has_not_left(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  count_unsent(loop);
  ends_close(loop);
  ends_open(loop, TCP, true);
  count_unsent(loop);
}

/* --- at once ------------------------------------------------------------- */

static size_t try_write(size_t n) {
  uv_buf_t buf = uv_buf_init(text + there.sent, (unsigned)n);
  return lunado_stream_try_write(there.stream, &buf, 1);
}

/* Behind what has left at once comes the rest. */
static void write_partly(lunado_loop *loop) {
  for (int i = 0; i < 3; i++) {
    uv_buf_t bufs[3];
    lunado_write *write;
    size_t left;
    here.got = there.sent = 0;
    for (size_t j = 0; j < 3; j++)
      bufs[j] = uv_buf_init(text + there.sent + j * 2500000, 2500000);
    left = lunado_stream_try_write(there.stream, bufs, 3);
    assert_true(0 < left && left < 3 * 2500000);
    write = lunado_write_new(bufs, 3, left);
    assert_int_equal(write->size, 3 * 2500000 - left);
    write->number = there.writes++;
    lunado_stream_write(there.stream, write);
    assert_int_equal(try_write(1), 0);
    there.sent += 3 * 2500000;
    read_all(loop);
    turn_until(loop, there.written == there.writes);
  }
}

static void a_part_may_leave_at_once(void **state) {
  in_every_way(*state, write_partly);
}

static void nothing_leaves_before_what_waits(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write(&there, 1);
  assert_int_equal(try_write(1), 0);
  turn_until(loop, there.written == 1);
  assert_int_equal(try_write(1), 1);
  there.sent++;
  read_all(loop);
}

/* Bytes of 'a', of 'b' and of 'c', in buffers of these sizes. */
static void check_skip(size_t a, size_t b, size_t c, size_t skip) {
  char all[64], *at = all;
  uv_buf_t bufs[3];
  lunado_write *write;
  memset(all, 'a', a);
  memset(all + a, 'b', b);
  memset(all + a + b, 'c', c);
  bufs[0] = uv_buf_init(all, (unsigned)a);
  bufs[1] = uv_buf_init(all + a, (unsigned)b);
  bufs[2] = uv_buf_init(all + a + b, (unsigned)c);
  write = lunado_write_new(bufs, 3, skip);
  assert_int_equal(write->size, a + b + c - skip);
  assert_true(1 <= write->count && write->count <= 3);
  at += skip;
  for (unsigned i = 0; i < write->count; i++) {
    if (write->bufs[i].len > 0) assert_ptr_equal(write->bufs[i].base, at);
    at += write->bufs[i].len;
  }
  assert_ptr_equal(at, all + a + b + c);
  lunado_write_free(write);
}

static void what_has_left_is_not_in_the_write(void **state) {
  (void)state;
  for (size_t a = 0; a < 4; a++)
    for (size_t b = 0; b < 4; b++)
      for (size_t c = 0; c < 4; c++)
        for (size_t skip = 0; skip <= a + b + c; skip++)
          check_skip(a, b, c, skip);
}

/* --- the end of writing -------------------------------------------------- */

static void end_writing(lunado_loop *loop) {
  end_fill(&there);
  end_write(&there, 1000);
  end_write_end(&there);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
  assert_int_equal(here.got, there.sent);
  turn_until(loop, there.written == 3);
  assert_int_equal(there.error, 0);
  end_write(&here, 100000);
  end_read(&there, 0);
  turn_until(loop, there.got == 100000);
}

static void writing_ends_behind_the_writes_and_reading_goes_on(void **state) {
  in_both_directions(*state, end_writing);
}

static void what_is_written_behind_the_end_fails(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write_end(&there);
  end_write(&there, 1);
  turn_until(loop, there.written == 2);
  assert_int_equal(there.error, UV_EPIPE);
}

static void a_pipe_has_no_end_that_could_be_written(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, PIPE, false);
  end_write_end(&there);
  turn_until(loop, there.written == 1);
  assert_int_equal(there.error, UV_ENOTSOCK);
}

/* --- failure ------------------------------------------------------------- */

/* What is behind one that fails stays, until it is dropped. */
static void fail_to_write(lunado_loop *loop) {
  end_fill(&there);
  end_write(&there, 100);
  end_write(&there, 100);
  end_close(&here);
  turn_until(loop, there.written == 1);
  assert_int_equal(there.failed, 1);
  assert_true(there.error == UV_EPIPE || there.error == UV_ECONNRESET);
  turn(loop);
  assert_int_equal(there.written, 1);
  assert_int_equal(lunado__stream_first(there.stream)->number, 1);
  assert_int_equal(there.stream->queued, 200);
  lunado__check(loop);
  lunado_stream_drop_writes(there.stream);
  assert_null(there.stream->last);
  assert_int_equal(lunado_stream_unsent(there.stream), 0);
  lunado__check(loop);
  turn(loop);
  assert_int_equal(there.written, 1);
}

static void those_behind_one_that_fails_are_dropped(void **state) {
  in_every_way(*state, fail_to_write);
}

static void drop(end *self, char event) {
  if (event != 'w') return;
  lunado_stream_drop_writes(self->stream);
  lunado_stream_drop_writes(self->stream);
}

static void an_event_may_drop_them(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_fill(&there);
  end_write(&there, 100);
  end_write_end(&there);
  there.act = drop;
  lunado_stream_close(here.stream);
  turn_until(loop, there.written == 1);
  assert_null(there.stream->last);
  turn(loop);
  assert_int_equal(there.written, 1);
}

/* The one under way is told of to nobody. */
static void drop_under_way(lunado_loop *loop) {
  end_fill(&there);
  end_write(&there, 100);
  lunado_stream_drop_writes(there.stream);
  lunado__check(loop);
  assert_int_equal(try_write(1), 0);
  end_read(&here, 0);
  turn_until(loop, here.got == there.sent - 100);
  turn(loop);
  assert_int_equal(there.written, 0);
  assert_int_equal(lunado_stream_unsent(there.stream), 0);
}

static void one_under_way_may_be_dropped(void **state) {
  in_every_way(*state, drop_under_way);
}

static void no_write_is_made_without_memory(void **state) {
  uv_buf_t buf = uv_buf_init(text, 10);
  (void)state;
  memory_fail_at(1);
  assert_null(lunado_write_new(&buf, 1, 0));
  memory_fail_at(1);
  assert_null(lunado_write_new_end());
  lunado_write_free(lunado_write_new(&buf, 1, 0));
  lunado_write_free(lunado_write_new_end());
}

/* --- events that write --------------------------------------------------- */

static void write_again(end *self, char event) {
  if (event != 'w' || self->writes >= 1000) return;
  end_write(self, random_below(100));
  if (self->writes % 10 == 0) end_write(self, 3);
}

static void write_in_events(lunado_loop *loop) {
  there.act = write_again;
  end_write(&there, 1);
  end_read(&here, 0);
  turn_until(loop, there.written >= 1000 && there.written == there.writes);
  read_all(loop);
}

static void an_event_may_write_again(void **state) {
  in_every_way(*state, write_in_events);
}

static void echo(end *self, char event) {
  if (event == 'a') end_write(self, self->got - self->sent);
}

static void what_arrives_may_be_written_back(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  here.act = echo;
  end_read(&here, 0);
  end_read(&there, 0);
  end_write(&there, 3000000);
  turn_until(loop, there.got == there.sent);
}

/* --- connecting ---------------------------------------------------------- */

static uv_tcp_t listening;

static void accept_here(uv_stream_t *server, int status) {
  uv_tcp_t *handle = malloc(sizeof *handle);
  lunado_stream *stream;
  assert_int_equal(status, 0);
  assert_int_equal(uv_tcp_init(server->loop, handle), 0);
  assert_int_equal(uv_accept(server, (uv_stream_t *)handle), 0);
  handle->data = &here;
  here.foreign = (uv_stream_t *)handle;
  assert_int_equal(lunado_stream_adopt(&stream, server->data, here.foreign), 0);
  end_take(&here, stream);
}

static struct sockaddr_in address;

static void start_listening(lunado_loop *loop) {
  int fd = listen_on(&address);
  assert_int_equal(uv_tcp_init(loop->uv, &listening), 0);
  assert_int_equal(uv_tcp_open(&listening, fd), 0);
  listening.data = loop;
  assert_int_equal(uv_listen((uv_stream_t *)&listening, 5, accept_here), 0);
}

static void stop_listening(lunado_loop *loop) {
  uv_close((uv_handle_t *)&listening, NULL);
  for (int i = 0; i < 3; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

static void make_there(lunado_loop *loop, lunado_stream_kind kind) {
  lunado_stream *stream;
  there = (end){.name = 't'};
  assert_int_equal(lunado_stream_new(&stream, loop, kind), 0);
  end_take(&there, stream);
}

static int connect_there(void) {
  return lunado_stream_connect(there.stream, (struct sockaddr *)&address);
}

static void connects_and_then_writes_what_waits(void **state) {
  lunado_loop *loop = *state;
  start_listening(loop);
  make_there(loop, LUNADO_STREAM_TCP);
  assert_false(lunado_stream_is_readable(there.stream));
  assert_int_equal(lunado_stream_read(there.stream, 0), UV_ENOTCONN);
  assert_int_equal(connect_there(), 0);
  assert_true(there.stream->connecting);
  assert_int_equal(try_write(1), 0);
  end_write(&there, 1000);
  end_write(&there, 3000000);
  end_write_end(&there);
  assert_int_equal(lunado_stream_unsent(there.stream), 3001000);
  lunado__check(loop);
  turn_until(loop, there.connected <= 0);
  assert_int_equal(there.connected, 0);
  turn_until(loop, here.stream != NULL);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, there.sent);
  assert_int_equal(there.written, 3);
  stop_listening(loop);
}

static void connects_once(void **state) {
  lunado_loop *loop = *state;
  start_listening(loop);
  make_there(loop, LUNADO_STREAM_TCP);
  assert_int_equal(connect_there(), 0);
  assert_int_equal(connect_there(), UV_EALREADY);
  turn_until(loop, there.connected <= 0);
  turn_until(loop, here.stream != NULL);
  stop_listening(loop);
}

/* A port that is bound but not listened on: nobody else gets it. */
static int refuse(void) {
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  address = (struct sockaddr_in){.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
  return fd;
}

static void may_be_refused(void **state) {
  lunado_loop *loop = *state;
  int fd = refuse();
  make_there(loop, LUNADO_STREAM_TCP);
  assert_int_equal(connect_there(), 0);
  end_write(&there, 10);
  end_write(&there, 10);
  turn_until(loop, there.connected <= 0);
  assert_int_equal(there.connected, UV_ECONNREFUSED);
  turn_until(loop, there.written > 0);
  assert_true(there.error < 0);
  assert_int_equal(there.written, 1);
  close(fd);
}

static void close_it(end *self, char event) {
  if (event == 'c') lunado_stream_close(self->stream);
}

static void is_closed_when_told(void **state) {
  lunado_loop *loop = *state;
  int fd = refuse();
  make_there(loop, LUNADO_STREAM_TCP);
  there.act = close_it;
  assert_int_equal(connect_there(), 0);
  end_write(&there, 10);
  turn_until(loop, there.stream == NULL);
  assert_int_equal(there.written, 0);
  close(fd);
}

static void is_not_told_when_closed_meanwhile(void **state) {
  lunado_loop *loop = *state;
  start_listening(loop);
  make_there(loop, LUNADO_STREAM_TCP);
  assert_int_equal(connect_there(), 0);
  end_write(&there, 10);
  lunado_stream_close(there.stream);
  turn_until(loop, there.stream == NULL);
  assert_int_equal(there.connected, 1);
  assert_int_equal(there.written, 0);
  stop_listening(loop);
}

static void nothing_begins_without_memory_or_when_closed(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  address = (struct sockaddr_in){.sin_family = AF_INET};
  make_there(loop, LUNADO_STREAM_TCP);
  memory_fail_at(1);
  assert_int_equal(connect_there(), UV_ENOMEM);
  assert_false(there.stream->connecting);
  stream = there.stream;
  lunado_stream_close(stream); /* its storage is there for now */
  assert_int_equal(connect_there(), UV_ECANCELED);
  assert_int_equal(lunado_stream_connect_pipe(stream, "x"), UV_ECANCELED);
  assert_int_equal(lunado_stream_read(stream, 0), UV_ECANCELED);
  assert_int_equal(try_write(1), 0);
  assert_int_equal(lunado_stream_unsent(stream), 0);
  assert_int_equal(lunado_stream_reset_error(stream), 0);
  assert_false(lunado_stream_is_readable(stream));
  assert_false(lunado_stream_is_writable(stream));
  lunado_stream_read_stop(stream);
  lunado_stream_drop_writes(stream);
  lunado_stream_keep_alive(stream, true);
  lunado_stream_close(stream);
  turn_until(loop, there.stream == NULL);
}

/* An address that there cannot be fails at once. */
static void an_address_may_be_refused_at_once(void **state) {
  lunado_loop *loop = *state;
  address = (struct sockaddr_in){.sin_family = AF_UNIX};
  make_there(loop, LUNADO_STREAM_TCP);
  assert_int_equal(connect_there(), UV_EINVAL);
  assert_false(there.stream->connecting);
  lunado__check(loop);
}

static void connects_to_a_path(void **state) {
  lunado_loop *loop = *state;
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0), other;
  (void)snprintf(local.sun_path, sizeof local.sun_path, "/tmp/lunado-%d",
                 (int)getpid());
  make_there(loop, LUNADO_STREAM_PIPE);
  assert_int_equal(lunado_stream_connect_pipe(there.stream, local.sun_path), 0);
  turn_until(loop, there.connected <= 0);
  assert_int_equal(there.connected, UV_ENOENT);
  lunado_stream_close(there.stream);
  turn_until(loop, there.stream == NULL);
  assert_int_equal(bind(fd, (struct sockaddr *)&local, sizeof local), 0);
  assert_int_equal(listen(fd, 1), 0);
  make_there(loop, LUNADO_STREAM_PIPE);
  assert_int_equal(lunado_stream_connect_pipe(there.stream, local.sun_path), 0);
  end_write(&there, 5000);
  turn_until(loop, there.connected <= 0);
  assert_int_equal(there.connected, 0);
  other = accept(fd, NULL, NULL);
  end_open(&here, loop, LOCAL, false, other);
  read_all(loop);
  close(fd);
  (void)unlink(local.sun_path);
}

static void connecting_keeps_a_run_alive(void **state) {
  lunado_loop *loop = *state;
  int fd = refuse();
  make_there(loop, LUNADO_STREAM_TCP);
  lunado_stream_keep_alive(there.stream, false);
  assert_int_equal(connect_there(), 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(there.connected, UV_ECONNREFUSED);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      end_units(writes_leave_and_are_told_in_order),
      end_unit(a_write_is_told_once_it_has_left),
      end_unit(unsent_is_what_has_not_left),
      end_units(a_part_may_leave_at_once),
      end_unit(nothing_leaves_before_what_waits),
      end_unit(what_has_left_is_not_in_the_write),
      end_units(writing_ends_behind_the_writes_and_reading_goes_on),
      end_unit(what_is_written_behind_the_end_fails),
      end_unit(a_pipe_has_no_end_that_could_be_written),
      end_units(those_behind_one_that_fails_are_dropped),
      end_unit(an_event_may_drop_them),
      end_units(one_under_way_may_be_dropped),
      end_unit(no_write_is_made_without_memory),
      end_units(an_event_may_write_again),
      end_unit(what_arrives_may_be_written_back),
      end_units(connects_and_then_writes_what_waits),
      end_unit(connects_once),
      end_units(may_be_refused),
      end_units(is_closed_when_told),
      end_units(is_not_told_when_closed_meanwhile),
      end_units(nothing_begins_without_memory_or_when_closed),
      end_unit(an_address_may_be_refused_at_once),
      end_unit(connects_to_a_path),
      end_units(connecting_keeps_a_run_alive),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
