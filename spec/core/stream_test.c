/* SPDX-License-Identifier: MIT */
/* stream_test.c - streams are made, and what arrives is read. */
#define _XOPEN_SOURCE 700 /* terminals */

#include "core/stream.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "core/listen.h"
#include "../support/posix.h"
#include "ends.h"

enum { SOME = 300, PIECE = 64 * 1024, BUFFER = 256 * 1024 };

/* --- what arrives -------------------------------------------------------- */

static const size_t sizes[] = {1,      2,      511,     4096,
                               65535,  65536,  65537,   131071,
                               131072, 262145, 1000000, 3 * 1024 * 1024 + 17};

static size_t missing_of(int how, size_t size) {
  switch (how) {
  case 0:
    return 0;
  case 1:
    return 1;
  case 2:
    return size;
  default:
    return SIZE_MAX;
  }
}

static void pass(lunado_loop *loop, size_t size, int how) {
  size_t before = here.got;
  here.largest = 0;
  end_write(&there, size);
  end_read(&here, missing_of(how, size));
  if (here.keeps) {
    turn_until(loop, end_waiting(&here) == size);
    end_skip(&here, size);
    assert_null(here.stream->in->data);
  } else {
    turn_until(loop, here.got == before + size && end_waiting(&here) == 0);
  }
  turn_until(loop, there.written == there.writes);
  assert_int_equal(here.got, there.sent);
}

static void start_text_again(void) { here.got = there.sent = 0; }

static void pass_all_sizes(lunado_loop *loop) {
  for (int how = 0; how < 4; how++) {
    start_text_again();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      pass(loop, sizes[i], how);
      assert_true(here.keeps || how != 0 || here.largest <= PIECE);
      assert_true(here.keeps || here.largest <= BUFFER);
    }
  }
}

static void bytes_arrive_in_order_in_every_size(void **state) {
  in_every_way(*state, pass_all_sizes);
}

static void keep_all(lunado_loop *loop) {
  here.keeps = true;
  pass_all_sizes(loop);
}

static void also_when_they_are_taken_at_last(void **state) {
  in_every_way(*state, keep_all);
}

static void take_the_rest(end *self, char event) {
  if (event == 'a' && random_below(50) == 0) end_skip(self, end_waiting(self));
}

static void nibble(lunado_loop *loop) {
  here.nibbles = true;
  here.act = take_the_rest;
  end_read(&here, 0);
  for (int i = 0; i < SOME; i++) {
    end_write(&there, 1 + random_below(i % 3 == 0 ? 5000 : 20));
    if (random_below(4) > 0) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
  turn_until(loop, here.got + end_waiting(&here) == there.sent);
  end_skip(&here, end_waiting(&here));
}

static void also_when_parts_are_left(void **state) {
  in_every_way(*state, nibble);
}

/* What one stream leaves must not be what the other one reads. */
static void read_both(lunado_loop *loop) {
  here.nibbles = there.nibbles = true;
  end_read(&here, 0);
  end_read(&there, 0);
  for (int i = 0; i < SOME; i++) {
    end_write(&here, 1 + random_below(3000));
    end_write(&there, 1 + random_below(3000));
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
  turn_until(loop, here.got + end_waiting(&here) == there.sent);
  turn_until(loop, there.got + end_waiting(&there) == here.sent);
  end_skip(&here, end_waiting(&here));
  end_skip(&there, end_waiting(&there));
}

static void streams_do_not_mix_up_what_they_share(void **state) {
  in_both_directions(*state, read_both);
}

static unsigned lent, direct;

static void look_where_it_is(end *self, char event) {
  if (event != 'a') return;
  if (self->stream->in->capacity == 0)
    lent++;
  else
    direct++;
}

/* libuv reads much that is missing to where it stays. */
static void much_that_is_missing_is_not_copied(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  lent = direct = 0;
  here.act = look_where_it_is;
  here.keeps = true;
  pass(loop, 128 * 1024, 2);
  assert_int_equal(lent, 0);
  assert_true(direct > 0);
  direct = 0;
  pass(loop, 128 * 1024 - 1, 2);
  assert_int_equal(lent, 1);
}

static void stop_reading(end *self, char event) {
  if (event == 'a') lunado_stream_read_stop(self->stream);
}

/* Though there is more. */
static void no_more_is_read_to_there_than_is_missing(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_fill(&there);
  here.keeps = true;
  here.act = stop_reading;
  end_read(&here, 128 * 1024);
  turn_until(loop, here.arrived > 0);
  assert_int_equal(end_waiting(&here), 128 * 1024);
  here.act = NULL;
  end_read(&here, 0);
  turn_until(loop, end_waiting(&here) == there.sent);
  end_skip(&here, there.sent);
}

static void what_is_missing_may_change(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  end_write(&there, 5000000);
  while (here.got < there.sent) {
    end_read(&here, random_below(2) == 0 ? 0 : random_below(1000000));
    (void)uv_run(loop->uv, UV_RUN_ONCE);
  }
}

/* --- stop ---------------------------------------------------------------- */

static void stop_at_the_third(end *self, char event) {
  if (event != 'a' || self->arrived != 3) return;
  lunado_stream_read_stop(self->stream);
  lunado_stream_read_stop(self->stream);
}

static void stop_and_go_on(lunado_loop *loop) {
  here.act = stop_at_the_third;
  end_write(&there, 1000000);
  end_read(&here, 0);
  turn_until(loop, here.arrived == 3);
  assert_false(here.stream->reading);
  turn(loop);
  assert_int_equal(here.arrived, 3);
  end_read(&here, 0);
  turn_until(loop, here.got == there.sent);
}

static void nothing_arrives_when_reading_was_stopped(void **state) {
  in_every_way(*state, stop_and_go_on);
}

static void stop_and_start(end *self, char event) {
  if (event != 'a') return;
  lunado_stream_read_stop(self->stream);
  end_read(self, random_below(300000));
}

static void restart(lunado_loop *loop) {
  here.act = stop_and_start;
  here.nibbles = true;
  end_write(&there, 1000000);
  end_read(&here, 0);
  turn_until(loop, here.got + end_waiting(&here) == there.sent);
  end_skip(&here, end_waiting(&here));
}

static void an_event_may_stop_and_start_it(void **state) {
  in_every_way(*state, restart);
}

/* --- the end ------------------------------------------------------------- */

static void end_it(lunado_loop *loop) {
  here.keeps = true;
  end_write(&there, 100000);
  end_read(&here, 0);
  turn_until(loop, there.written == 1);
  lunado_stream_close(there.stream);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
  assert_int_equal(end_waiting(&here), 100000);
  assert_int_equal(lunado_stream_reset_error(here.stream), 0);
}

static void the_other_sides_end_comes_after_its_bytes(void **state) {
  ends_open(*state, LOCAL, false);
  end_it(*state);
  ends_close(*state);
  ends_open(*state, TCP, false);
  end_it(*state);
  ends_close(*state);
  ends_open(*state, PIPE, false);
  end_it(*state);
}

static void it_comes_again_when_read_again(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  lunado_stream_close(there.stream);
  for (int i = 0; i < 3; i++) {
    end_read(&here, 0);
    turn_until(loop, here.ended != 0);
    assert_int_equal(here.ended, UV_EOF);
    here.ended = 0;
    if (uv_version() < 0x012b00) break; /* libuv 1.42 refuses to read again */
    turn(loop);
    assert_int_equal(here.ended, 0);
  }
}

/* Makes there's socket, which is closed then, cut the connection off. */
static void cut_off(void) {
  struct linger at_once = {.l_onoff = 1};
  uv_os_fd_t fd;
  assert_int_equal(uv_fileno((uv_handle_t *)there.stream->uv, &fd), 0);
  assert_int_equal(
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  lunado_stream_close(there.stream);
}

static void a_connection_that_is_cut_off_ends_with_an_error(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  cut_off();
  turn(loop);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_ECONNRESET);
}

static void also_right_behind_bytes(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  end_write(&there, 100);
  turn_until(loop, there.written == 1);
  cut_off();
  turn(loop);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, 100);
  if (here.ended != UV_ECONNRESET) {
    assert_int_equal(here.ended, UV_EOF);
    assert_int_equal(lunado_stream_reset_error(here.stream), UV_ECONNRESET);
  }
}

/* --- memory -------------------------------------------------------------- */

static unsigned incoming; /* connections that came in */

/* Has no memory for the first one. */
static void on_incoming(lunado_stream *stream, int error) {
  lunado_stream *accepted;
  assert_int_equal(error, 0);
  memory_fail_at(incoming++ == 0 ? 1 : 0);
  if (incoming == 1) {
    assert_int_equal(lunado_stream_accept(stream, &accepted), UV_ENOMEM);
    memory_fail_at(1);
  } else {
    assert_int_equal(lunado_stream_accept(stream, &accepted), 0);
    lunado_stream_close(accepted);
  }
}

static const lunado_stream_events listening_events = {.incoming = on_incoming};

static int connect_to(const struct sockaddr *address) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, address, sizeof(struct sockaddr_in)), 0);
  return fd;
}

static void without_memory_a_connection_is_closed(void **state) {
  lunado_loop *loop = *state;
  struct sockaddr_in in = {.sin_family = AF_INET};
  struct sockaddr *address = (struct sockaddr *)&in;
  int size = sizeof in, fds[2];
  lunado_stream *stream;
  char byte;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(lunado_stream_new(&stream, loop, LUNADO_STREAM_TCP), 0);
  stream->events = &listening_events;
  assert_int_equal(lunado_stream_bind(stream, address, false), 0);
  assert_int_equal(lunado_stream_listen(stream, 5), 0);
  assert_int_equal(uv_tcp_getsockname((uv_tcp_t *)stream->uv, address, &size),
                   0);
  incoming = 0;
  fds[0] = connect_to(address);
  turn_until(loop, incoming == 1);
  fds[1] = connect_to(address);
  turn_until(loop, incoming == 2);
  memory_fail_at(0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(read(fds[i], &byte, 1), 0);
    close(fds[i]);
  }
  lunado_stream_close(stream);
  turn(loop);
}

static void without_memory_reading_ends(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write(&there, 1000);
  turn_until(loop, there.written == 1);
  memory_fail_at(1);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_true(memory_failed());
  assert_int_equal(here.ended, UV_ENOMEM);
  assert_int_equal(here.arrived, 0);
  end_read(&here, 0);
  turn_until(loop, here.got == 1000);
}

/* What is left when an event is over needs memory of its own. */
static void without_memory_for_what_is_left_it_ends(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write(&there, 10);
  end_read(&here, 0);
  turn_until(loop, here.got == 10);
  here.keeps = true;
  memory_fail_at(2); /* the first is the write */
  end_write(&there, 10);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_ENOMEM);
  assert_int_equal(end_waiting(&here), 0);
}

/* What cannot be kept is lost, so that reading must not go on. */
static void nor_behind_what_waits_already(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  here.keeps = true;
  end_write(&there, 500);
  end_read(&here, 0);
  turn_until(loop, end_waiting(&here) == 500);
  memory_fail_at(2);
  end_write(&there, 20000);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_ENOMEM);
  assert_int_equal(end_waiting(&here), 500);
  end_skip(&here, 500);
}

static void much_is_read_without_memory_for_it_too(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_write(&there, 10);
  end_read(&here, 0);
  turn_until(loop, here.got == 10);
  memory_fail_at(2);
  end_write(&there, 200000);
  end_read(&here, 200000);
  turn_until(loop, memory_failed());
  turn_until(loop, here.got == there.sent);
}

/* --- adopted handles ----------------------------------------------------- */

static char seen[16];
static ssize_t seen_size;

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle;
  (void)size;
  *buf = uv_buf_init(seen, sizeof seen);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf) {
  (void)handle;
  (void)buf;
  seen_size = n;
}

static void an_adopted_handle_is_given_back(void **state) {
  lunado_loop *loop = *state;
  uv_stream_t *handle;
  ends_open(loop, LOCAL, true);
  handle = here.foreign;
  assert_ptr_equal(lunado__handle_adopter(handle), here.stream);
  assert_false(lunado__handle_is_ours((uv_handle_t *)handle));
  end_read(&here, 0);
  end_write(&there, 10);
  turn_until(loop, here.got == 10);
  lunado_stream_close(here.stream);
  assert_null(here.stream);
  assert_null(lunado__handle_adopter(handle));
  assert_false(uv_is_closing((uv_handle_t *)handle));
  assert_false(uv_is_active((uv_handle_t *)handle));
  assert_int_equal(uv_read_start(handle, on_alloc, on_read), 0);
  end_write(&there, 5);
  seen_size = 0;
  while (seen_size == 0) turn(loop);
  assert_int_equal(seen_size, 5);
  assert_memory_equal(seen, text + 10, 5);
  assert_int_equal(uv_read_stop(handle), 0);
}

/* The one that adopted it before is not read any more, but may be closed. */
static void an_adopted_handle_may_be_adopted_anew(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *before;
  end former;
  ends_open(loop, TCP, true);
  end_read(&here, 0);
  former = here;
  before = former.stream;
  before->owner = &former;
  here.got = here.arrived = 0;
  assert_int_equal(lunado_stream_adopt(&here.stream, loop, here.foreign), 0);
  end_take(&here, here.stream);
  end_read(&here, 0);
  end_write(&there, 10);
  turn_until(loop, here.got == 10);
  assert_int_equal(former.arrived, 0);
  lunado_stream_read_stop(before);
  lunado_stream_close(before);
  assert_null(former.stream);
  assert_ptr_equal(lunado__handle_adopter(here.foreign), here.stream);
  end_write(&there, 10);
  turn_until(loop, here.got == 20);
}

static void nothing_is_adopted_without_memory(void **state) {
  lunado_loop *loop = *state;
  uv_pipe_t *pipe = malloc(sizeof *pipe);
  lunado_stream *stream;
  ends_open(loop, LOCAL, false);
  (void)uv_pipe_init(loop->uv, pipe, 0);
  for (unsigned n = 1;; n++) {
    memory_fail_at(n);
    if (lunado_stream_adopt(&stream, loop, (uv_stream_t *)pipe) == 0) break;
    assert_true(memory_failed());
    assert_null(stream);
    assert_null(lunado__handle_adopter(pipe));
    lunado__check(loop);
  }
  memory_fail_at(0);
  lunado_stream_close(stream);
  uv_close((uv_handle_t *)pipe, (uv_close_cb)(void (*)(void))free);
  turn(loop);
}

/* --- making -------------------------------------------------------------- */

static void own_handles_are_lunados(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  assert_true(lunado__handle_is_ours((uv_handle_t *)here.stream->uv));
  assert_null(here.stream->uv->data);
  assert_null(lunado__handle_adopter(here.stream->uv));
}

static void a_descriptor_that_is_refused_is_the_callers(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  int fd = open("/dev/null", O_RDONLY);
  assert_int_equal(lunado_stream_new_open(&stream, loop, LUNADO_STREAM_TCP, -1),
                   UV_EBADF);
  assert_null(stream);
  assert_int_equal(close(fd), 0);
  assert_int_equal(
      lunado_stream_new_open(&stream, loop, LUNADO_STREAM_PIPE, fd), UV_EBADF);
  assert_null(stream);
  turn(loop);
}

static void none_is_made_without_memory(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  for (unsigned n = 1;; n++) {
    memory_fail_at(n);
    if (lunado_stream_new(&stream, loop, LUNADO_STREAM_PIPE) == 0) break;
    assert_true(memory_failed());
    assert_null(stream);
    lunado__check(loop);
  }
  memory_fail_at(0);
  end_take(&here, stream);
}

static void nor_on_a_closed_loop(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  lunado_loop_close(loop);
  assert_int_equal(lunado_stream_new(&stream, loop, LUNADO_STREAM_TCP),
                   UV_ECANCELED);
  assert_null(stream);
  assert_int_equal(lunado_stream_new_tty(&stream, loop, 0, true), UV_ECANCELED);
  assert_null(stream);
}

static void tells_which_way_it_goes(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, PIPE, false);
  assert_true(lunado_stream_is_readable(here.stream));
  assert_false(lunado_stream_is_writable(here.stream));
  assert_false(lunado_stream_is_readable(there.stream));
  assert_true(lunado_stream_is_writable(there.stream));
  assert_false(lunado_stream_can_half_close(there.stream));
  assert_int_equal(lunado_stream_read(there.stream, 0), UV_ENOTCONN);
  assert_false(there.stream->reading);
  ends_close(loop);
  for (int of = 0; of < 2; of++) {
    ends_open(loop, of == 0 ? LOCAL : TCP, of != 0);
    assert_true(lunado_stream_is_readable(here.stream));
    assert_true(lunado_stream_is_writable(here.stream));
    assert_true(lunado_stream_can_half_close(here.stream));
    ends_close(loop);
  }
}

/* There may be very many that are idle. */
static void a_stream_is_small(void **state) {
  (void)state;
  assert_true(sizeof(lunado_stream) <= 13 * sizeof(void *));
}

#ifndef _WIN32

static void a_terminal_is_a_stream_as_well(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  char line[] = "one\n", answer[16];
  int other = posix_openpt(O_RDWR | O_NOCTTY), fd;
  if (other < 0 || grantpt(other) < 0 || unlockpt(other) < 0) skip();
  fd = open(ptsname(other), O_RDWR | O_NOCTTY);
  assert_true(fd >= 0);
  assert_int_equal(lunado_stream_new_tty(&stream, loop, fd, true), 0);
  end_take(&here, stream);
  here.keeps = true;
  assert_true(lunado_stream_is_readable(stream));
  assert_false(lunado_stream_can_half_close(stream));
  end_read(&here, 0);
  assert_int_equal(write(other, line, 4), 4);
  turn_until(loop, end_waiting(&here) == 4);
  assert_memory_equal(lunado_bytes_at(stream->in), "one\n", 4);
  assert_int_equal(read(other, answer, sizeof answer), 5); /* its echo */
  end_write(&here, 4);
  turn_until(loop, here.written == 1);
  assert_int_equal(here.error, 0);
  lunado_stream_close(stream);
  turn(loop);
  close(fd);
  close(other);
}

#endif

/* --- being alive --------------------------------------------------------- */

static void run(lunado_loop *loop) {
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
}

static void keeps_a_run_alive_when_told(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  lunado_stream_keep_alive(here.stream, false);
  lunado_stream_keep_alive(there.stream, false);
  end_read(&here, 0);
  run(loop);
  assert_int_equal(uv_run(loop->uv, UV_RUN_NOWAIT), 0);
  lunado_stream_keep_alive(here.stream, true);
  assert_int_equal(uv_run(loop->uv, UV_RUN_NOWAIT), 1);
  lunado_stream_close(there.stream); /* which ends reading */
  run(loop);
  assert_int_equal(here.ended, UV_EOF);
}

/* Adopted ones, too, until they are given back. */
static void at_first_it_does_not(void **state) {
  lunado_loop *loop = *state;
  lunado_stream *stream;
  int fds[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  assert_int_equal(
      lunado_stream_new_open(&stream, loop, LUNADO_STREAM_PIPE, fds[0]), 0);
  assert_int_equal(lunado_stream_read(stream, 0), 0);
  run(loop);
  lunado_stream_close(stream);
  ends_open(loop, LOCAL, true);
  lunado_stream_close(here.stream);
  lunado_stream_close(there.stream);
  uv_ref((uv_handle_t *)here.foreign);
  assert_int_equal(
      lunado_stream_adopt(&stream, loop, (uv_stream_t *)here.foreign), 0);
  assert_int_equal(lunado_stream_read(stream, 0), 0);
  run(loop);
  lunado_stream_close(stream);
  close(fds[1]);
}

static void writing_always_does(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  end_read(&here, 0);
  lunado_stream_keep_alive(here.stream, false);
  lunado_stream_keep_alive(there.stream, false);
  end_write(&there, 3000000);
  run(loop);
  assert_int_equal(there.written, 1);
  lunado_stream_keep_alive(here.stream, true);
  turn_until(loop, here.got == 3000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      end_units(bytes_arrive_in_order_in_every_size),
      end_units(also_when_they_are_taken_at_last),
      end_units(also_when_parts_are_left),
      end_units(streams_do_not_mix_up_what_they_share),
      end_unit(much_that_is_missing_is_not_copied),
      end_unit(no_more_is_read_to_there_than_is_missing),
      end_unit(what_is_missing_may_change),
      end_units(nothing_arrives_when_reading_was_stopped),
      end_units(an_event_may_stop_and_start_it),
      end_units(the_other_sides_end_comes_after_its_bytes),
      end_unit(it_comes_again_when_read_again),
      end_unit(a_connection_that_is_cut_off_ends_with_an_error),
      end_unit(also_right_behind_bytes),
      end_unit(without_memory_a_connection_is_closed),
      end_unit(without_memory_reading_ends),
      end_unit(without_memory_for_what_is_left_it_ends),
      end_unit(nor_behind_what_waits_already),
      end_unit(much_is_read_without_memory_for_it_too),
      end_units(an_adopted_handle_is_given_back),
      end_units(an_adopted_handle_may_be_adopted_anew),
      end_unit(nothing_is_adopted_without_memory),
      end_unit(own_handles_are_lunados),
      end_unit(a_descriptor_that_is_refused_is_the_callers),
      end_unit(none_is_made_without_memory),
      end_units(nor_on_a_closed_loop),
      end_unit(tells_which_way_it_goes),
#ifndef _WIN32
      end_unit(a_terminal_is_a_stream_as_well),
#endif
      cmocka_unit_test(a_stream_is_small),
      end_units(keeps_a_run_alive_when_told),
      end_unit(at_first_it_does_not),
      end_units(writing_always_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
