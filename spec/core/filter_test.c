/* SPDX-License-Identifier: MIT */
/*
 * filter_test.c - streams with a filter: a trivial one, whose two sides greet
 * each other with a byte, and then send records of a length and masked bytes.
 */
#include "core/filter.h"
#include "core/write.h"

#include <stdlib.h>
#include <string.h>

#include "ends.h"

enum {
  GREETING = 0x5a,
  FAREWELL = 0x66, /* what a side sends before it fails */
  MASK = 0xa5,
  HEAD = 2,
  MOST = 16384
};

typedef struct {
  lunado_filter base;
  bool greeted, received; /* the greetings, of both sides */
  bool refuses;           /* fails in the handshake */
  bool ended;             /* by a record of no bytes */
  unsigned char head[HEAD];
  unsigned head_size;
  size_t body; /* bytes of the record that are missing */
  unsigned released;
} mask_filter;

static mask_filter filters[2];

static int mask_start(lunado_filter *base, lunado_filter_port *port) {
  mask_filter *self = (mask_filter *)base;
  char greeting = GREETING, farewell = FAREWELL;
  if (!self->greeted && !port->send(port, &greeting, 1))
    return LUNADO_FILTER_FAILED;
  self->greeted = true;
  if (port->left == 0)
    return port->ended ? LUNADO_FILTER_FAILED : LUNADO_FILTER_WAITS;
  port->left--;
  if (*port->raw++ != GREETING || self->refuses) {
    (void)port->send(port, &farewell, 1);
    return LUNADO_FILTER_FAILED;
  }
  self->received = true;
  return LUNADO_FILTER_DONE;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Reads the rest of a head.  Returns false if the bytes do not suffice. */
static bool read_head(mask_filter *self, lunado_filter_port *port) {
  while (self->head_size < HEAD && port->left > 0) {
    self->head[self->head_size++] = (unsigned char)*port->raw++;
    port->left--;
  }
  if (self->head_size < HEAD) return false;
  self->head_size = 0;
  self->body = (size_t)self->head[0] << 8 | self->head[1];
  self->ended = self->body == 0;
  return true;
}

static size_t mask_read(lunado_filter *base, lunado_filter_port *port,
                        char *room, size_t size, int *status) {
  mask_filter *self = (mask_filter *)base;
  size_t done = 0, n;
  *status = LUNADO_FILTER_WAITS;
  while (done < size && !self->ended) {
    if (self->body == 0 && !read_head(self, port)) break;
    n = smaller(smaller(self->body, port->left), size - done);
    if (n == 0) break;
    for (size_t i = 0; i < n; i++)
      room[done + i] = (char)(port->raw[i] ^ (char)MASK);
    done += n;
    self->body -= n;
    port->raw += n;
    port->left -= n;
  }
  if (self->ended)
    *status = LUNADO_FILTER_ENDED;
  else if (port->ended)
    *status = LUNADO_FILTER_FAILED;
  return done;
}

static int send_record(lunado_filter_port *port, const char *data, size_t n) {
  char record[HEAD + MOST];
  assert_true(n <= MOST);
  record[0] = (char)(n >> 8);
  record[1] = (char)(n & 255);
  for (size_t i = 0; i < n; i++)
    record[HEAD + i] = (char)(data[i] ^ (char)MASK);
  return port->send(port, record, HEAD + n) ? LUNADO_FILTER_DONE
                                            : LUNADO_FILTER_FAILED;
}

static int mask_write(lunado_filter *base, lunado_filter_port *port,
                      const char *data, size_t n) {
  assert_true(((mask_filter *)base)->received);
  assert_true(n > 0);
  return send_record(port, data, n);
}

static int mask_end(lunado_filter *base, lunado_filter_port *port) {
  (void)base;
  return send_record(port, "", 0);
}

static void mask_release(lunado_filter *base) {
  ((mask_filter *)base)->released++;
}

static const lunado_filter_ops ops = {
    .abi = LUNADO_FILTER_INTERFACE,
    .start = mask_start,
    .read = mask_read,
    .write = mask_write,
    .end = mask_end,
    .release = mask_release,
};

static mask_filter *of(const end *self) { return &filters[self == &there]; }

static void add_filter(end *self) {
  *of(self) = (mask_filter){.base.ops = &ops};
  assert_int_equal(lunado_stream_set_filter(self->stream, &of(self)->base), 0);
}

static void start(lunado_loop *loop) {
  add_filter(&here);
  add_filter(&there);
  end_read(&here, 0);
  end_read(&there, 0);
  turn_until(loop, here.started == 1 && there.started == 1);
}

/* --- what goes through --------------------------------------------------- */

static void pass(lunado_loop *loop) {
  start(loop);
  for (int i = 0; i < 100; i++) {
    end_write(&there, i % 7 == 0 ? 0 : random_below(i % 5 == 0 ? 90000 : 50));
    if (random_below(4) == 0) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    lunado__check(loop);
  }
  end_write(&there, 3 * 1024 * 1024);
  turn_until(loop, here.got == there.sent);
  turn_until(loop, there.written == 101);
  assert_int_equal(there.failed, 0);
  assert_int_equal(lunado_stream_unsent(there.stream), 0);
}

static void bytes_pass_in_order(void **state) {
  in_both_directions(*state, pass);
  assert_int_equal(filters[0].released + filters[1].released, 2);
}

static void try_some(lunado_loop *loop) {
  uv_buf_t bufs[4];
  size_t taken;
  start(loop);
  for (unsigned i = 0; i < 4; i++)
    bufs[i] = uv_buf_init(text + i * 1000, i == 2 ? 0 : 1000);
  bufs[3].base = text + 2000;
  taken = lunado_stream_try_write(there.stream, bufs, 4);
  assert_int_equal(taken, 3000);
  turn_until(loop, here.got == 3000);
  bufs[0] = uv_buf_init(text + 3000, TEXT_SIZE - 3000);
  taken = lunado_stream_try_write(there.stream, bufs, 1);
  assert_true(taken > 0 && taken < bufs[0].len);
  assert_true(lunado_stream_has_output(there.stream));
  assert_int_equal(lunado_stream_try_write(there.stream, bufs, 1), 0);
  turn_until(loop, here.got == 3000 + taken);
}

static void a_part_is_written_at_once(void **state) {
  in_both_directions(*state, try_some);
}

/* The greeting comes behind what was written before. */
static void earlier_writes_are_not_filtered(void **state) {
  lunado_loop *loop = *state;
  size_t plain;
  ends_open(loop, LOCAL, false);
  end_write(&there, 1000);
  end_fill(&there);
  plain = there.sent;
  add_filter(&there);
  end_write(&there, 5000);
  here.keeps = true;
  end_read(&here, SIZE_MAX);
  turn_until(loop, end_waiting(&here) == plain + 1);
  here.keeps = false;
  end_skip(&here, plain);
  assert_int_equal(*lunado_bytes_at(&here.in), GREETING);
  lunado_bytes_skip(&here.in, 1);
  assert_int_equal(there.written, 2);
  add_filter(&here);
  of(&here)->received = true;
  end_read(&there, 0);
  turn_until(loop, there.written == 3 && there.started == 1);
}

static void one_byte_at_a_time(void **state) {
  lunado_loop *loop = *state;
  const char raw[] = {(char)GREETING, 0, 3, (char)(0), (char)0, (char)0, 0, 0};
  char masked[sizeof raw];
  ends_open(loop, LOCAL, false);
  memcpy(masked, raw, sizeof raw);
  for (int i = 0; i < 3; i++) masked[3 + i] = (char)(text[i] ^ (char)MASK);
  add_filter(&here);
  end_read(&here, 0);
  for (size_t i = 0; i < sizeof masked; i++) {
    uv_buf_t buf = uv_buf_init(masked + i, 1);
    assert_int_equal(uv_try_write(there.stream->uv, &buf, 1), 1);
    turn(loop);
    lunado__check(loop);
  }
  assert_int_equal(here.started, 1);
  assert_int_equal(here.got, 3);
  assert_int_equal(here.ended, UV_EOF);
}

/* --- how it ends --------------------------------------------------------- */

static void half_close(lunado_loop *loop) {
  start(loop);
  end_write(&there, 100000);
  end_write_end(&there);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
  assert_int_equal(here.got, 100000);
  assert_int_equal(there.written, 2);
  assert_int_equal(there.ended, 0);
  end_write(&here, 100);
  turn_until(loop, there.got == 100);
}

static void each_direction_ends_alone(void **state) {
  in_both_directions(*state, half_close);
}

static void closing_ends_well(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  start(loop);
  lunado_stream_close(there.stream);
  assert_int_equal(of(&there)->released, 1);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
}

static void closing_with_writes_left_does_not(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, TCP, false);
  start(loop);
  lunado_stream_read_stop(here.stream);
  end_write(&there, 6 * 1024 * 1024);
  turn(loop);
  lunado_stream_close(there.stream);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, LUNADO_FILTER_ERROR);
  assert_true(here.got < there.sent);
}

static void truncation_is_an_error(void **state) {
  lunado_loop *loop = *state;
  uv_shutdown_t request;
  ends_open(loop, LOCAL, false);
  start(loop);
  end_write(&there, 10);
  assert_int_equal(uv_shutdown(&request, there.stream->uv, NULL), 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, 10);
  assert_int_equal(here.ended, LUNADO_FILTER_ERROR);
}

static void a_handshake_fails(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  there.keeps = true;
  add_filter(&here);
  of(&here)->refuses = true;
  end_write(&here, 10);
  text[0] = (char)GREETING;
  end_write(&there, 1);
  end_read(&here, 0);
  end_read(&there, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, LUNADO_FILTER_ERROR);
  assert_int_equal(here.started, 0);
  turn_until(loop, end_waiting(&there) == 2);
  assert_int_equal(lunado_bytes_at(&there.in)[1], FAREWELL);
  lunado_bytes_skip(&there.in, 2);
  there.got = 2;
  end_write(&here, 10);
  assert_int_equal(here.written, 0); /* until the stream is closed */
}

static void close_at_start(end *self, char event) {
  if (event == 's') lunado_stream_close(self->stream);
}
static void close_at_arrival(end *self, char event) {
  if (event == 'a') lunado_stream_close(self->stream);
}
static void close_at_end(end *self, char event) {
  if (event == 'e') lunado_stream_close(self->stream);
}
static void close_when_written(end *self, char event) {
  if (event == 'w') lunado_stream_close(self->stream);
}

static void closed_in_any_event(void **state) {
  static const end_act acts[] = {close_at_start, close_at_arrival, close_at_end,
                                 close_when_written};
  for (unsigned i = 0; i < 8; i++) {
    lunado_loop *loop = *state;
    end *closed = i < 4 ? &here : &there;
    ends_open(loop, LOCAL, false);
    closed->act = acts[i % 4];
    add_filter(&here);
    add_filter(&there);
    end_read(&here, 0);
    end_read(&there, 0);
    for (int n = 0; n < 3; n++) {
      if (here.stream != NULL && !here.stream->closed) end_write(&here, 5000);
      if (there.stream != NULL && !there.stream->closed)
        end_write(&there, 100000);
      if (n == 2 && closed == &here && there.stream != NULL &&
          !there.stream->closed)
        end_write_end(&there);
      if (n == 2 && closed == &there && here.stream != NULL &&
          !here.stream->closed)
        end_write_end(&here);
      turn(loop);
    }
    turn_until(loop, closed->stream == NULL);
    ends_close(loop);
    assert_int_equal(filters[0].released, 1);
    assert_int_equal(filters[1].released, 1);
  }
}

static void memory_fails(void **state) {
  lunado_loop *loop = *state;
  for (unsigned n = 1;; n++) {
    bool failed;
    ends_open(loop, LOCAL, false);
    *of(&here) = (mask_filter){.base.ops = &ops};
    *of(&there) = (mask_filter){.base.ops = &ops};
    memory_fail_at(n);
    if (lunado_stream_set_filter(here.stream, &of(&here)->base) == 0 &&
        lunado_stream_set_filter(there.stream, &of(&there)->base) == 0) {
      uv_buf_t buf = uv_buf_init(text, 40000);
      if (here.ended == 0) end_read(&here, 0);
      if (there.ended == 0) end_read(&there, 0);
      for (int i = 0; i < 3; i++) turn(loop);
      if (there.started == 1)
        (void)lunado_stream_try_write(there.stream, &buf, 1);
      for (int i = 0; i < 3; i++) turn(loop);
    }
    failed = memory_failed();
    memory_fail_at(0);
    if (!failed) assert_int_equal(here.got, 40000);
    ends_close(loop);
    if (!failed) return;
  }
}

static void another_version_is_refused(void **state) {
  lunado_filter_ops other = ops;
  lunado_filter filter = {&other};
  ends_open(*state, LOCAL, false);
  other.abi++;
  assert_int_equal(lunado_stream_set_filter(here.stream, &filter), UV_EINVAL);
  assert_null(here.stream->filtering);
}

static void a_closed_stream_is_refused(void **state) {
  lunado_filter filter = {&ops};
  ends_open(*state, LOCAL, false);
  lunado_stream_close(here.stream);
  assert_int_equal(lunado_stream_set_filter(here.stream, &filter), UV_EBADF);
  assert_null(here.stream->filtering);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      end_units(bytes_pass_in_order),
      end_units(a_part_is_written_at_once),
      end_units(earlier_writes_are_not_filtered),
      end_units(one_byte_at_a_time),
      end_units(each_direction_ends_alone),
      end_units(closing_ends_well),
      end_units(closing_with_writes_left_does_not),
      end_units(truncation_is_an_error),
      end_units(a_handshake_fails),
      end_units(closed_in_any_event),
      end_unit(memory_fails),
      end_unit(another_version_is_refused),
      end_unit(a_closed_stream_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
