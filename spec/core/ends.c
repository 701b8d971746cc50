/* SPDX-License-Identifier: MIT */
/* ends.c - both ends of a connection. */
#include "ends.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../support/posix.h"
#include "core/handle.h"
#include "core/write.h"

char text[TEXT_SIZE];

end here, there;

static void fill_text(void) {
  static uint32_t state;
  if (state != 0) return;
  for (size_t i = 0; i < TEXT_SIZE; i++) {
    state = state * 1664525u + 1013904223u;
    text[i] = (char)(state >> 24);
  }
}

/* --- events -------------------------------------------------------------- */

/* One whose handles its host has closed is not as it should be, nor is one that
 * is just being closed. */
static void check(lunado_loop *loop) {
  if (!lunado_loop_taken(loop) && loop->mail.closed == loop->closed)
    lunado__check(loop);
}

static end *of(lunado_stream *stream) {
  end *self = stream->owner;
  assert_ptr_equal(self->stream, stream);
  check(stream->loop);
  return self;
}

static void tell(end *self, char event) {
  lunado_loop *loop = self->stream->loop;
  if (self->act != NULL) self->act(self, event);
  check(loop);
}

size_t end_waiting(const end *self) {
  return lunado_bytes_size(self->stream->in);
}

void end_skip(end *self, size_t n) {
  if (n == 0) return;
  assert_memory_equal(lunado_bytes_at(self->stream->in), text + self->got, n);
  lunado_bytes_skip(self->stream->in, n);
  self->got += n;
}

static void on_arrived(lunado_stream *stream) {
  end *self = of(stream);
  size_t size = lunado_bytes_size(stream->in);
  assert_true(size > 0);
  assert_false(stream->closed);
  self->arrived++;
  if (size > self->largest) self->largest = size;
  if (self->nibbles)
    end_skip(self, random_below((uint32_t)size + 1));
  else if (!self->keeps)
    end_skip(self, size);
  tell(self, 'a');
}

static void on_ended(lunado_stream *stream, int error) {
  end *self = of(stream);
  assert_true(error < 0);
  assert_false(stream->closed);
  assert_false(stream->reading);
  self->ended = error;
  tell(self, 'e');
}

static void on_written(lunado_stream *stream, lunado_write *write, int error) {
  end *self = of(stream);
  assert_true(error <= 0);
  assert_false(stream->closed);
  assert_int_equal(write->number, self->written);
  self->written++;
  self->error = error;
  if (error < 0) self->failed++;
  tell(self, 'w');
}

static void on_connected(lunado_stream *stream, int error) {
  end *self = of(stream);
  assert_true(error <= 0);
  assert_false(stream->closed);
  assert_false(stream->connecting);
  assert_int_equal(self->connected, 1);
  self->connected = error;
  tell(self, 'c');
}

static void on_started(lunado_stream *stream) {
  end *self = of(stream);
  assert_false(stream->closed);
  self->started++;
  tell(self, 's');
}

static void on_closed(lunado_stream *stream) {
  end *self = of(stream);
  assert_true(stream->closed);
  assert_true(lunado_stream_is_closing(stream));
  tell(self, 'x');
  lunado_bytes_fini(&self->in);
  self->stream = NULL;
}

static const lunado_stream_events events = {
    .arrived = on_arrived,
    .ended = on_ended,
    .written = on_written,
    .connected = on_connected,
    .started = on_started,
    .closed = on_closed,
};

/* --- life cycle ---------------------------------------------------------- */

void end_take(end *self, lunado_stream *stream) {
  self->stream = stream;
  self->connected = 1;
  stream->owner = self;
  stream->events = &events;
  stream->in = &self->in;
  lunado_stream_keep_alive(stream, true);
  lunado__check(stream->loop);
}

static void adopt(end *self, lunado_loop *loop, medium of, int fd) {
  lunado_stream *stream;
  uv_stream_t *handle = malloc(sizeof(union uv_any_handle));
  int rc = of == TCP ? uv_tcp_init(loop->uv, (uv_tcp_t *)handle)
                     : uv_pipe_init(loop->uv, (uv_pipe_t *)handle, 0);
  assert_int_equal(rc, 0);
  rc = of == TCP ? uv_tcp_open((uv_tcp_t *)handle, fd)
                 : uv_pipe_open((uv_pipe_t *)handle, fd);
  assert_int_equal(rc, 0);
  handle->data = self;
  self->foreign = handle;
  assert_int_equal(lunado_stream_adopt(&stream, loop, handle), 0);
  end_take(self, stream);
}

void end_open(end *self, lunado_loop *loop, medium of, bool adopted, int fd) {
  lunado_stream *stream;
  *self = (end){.name = self == &here ? 'h' : 't'};
  if (adopted) {
    adopt(self, loop, of, fd);
    return;
  }
  assert_int_equal(lunado_stream_new_open(
                       &stream, loop,
                       of == TCP ? LUNADO_STREAM_TCP : LUNADO_STREAM_PIPE, fd),
                   0);
  end_take(self, stream);
}

int listen_on(struct sockaddr_in *address) {
  socklen_t size = sizeof *address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  *address = (struct sockaddr_in){.sin_family = AF_INET};
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
  assert_int_equal(listen(fd, 1), 0);
  return fd;
}

/* The system's buffers are so small that much data does not fit in. */
static void limit_buffers(int fd) {
  int size = 256 * 1024;
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size),
                   0);
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size),
                   0);
}

static void connect_tcp(int fds[2]) {
  struct sockaddr_in address;
  int listening = listen_on(&address);
  fds[1] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fds[1], (struct sockaddr *)&address, sizeof address),
                   0);
  fds[0] = accept(listening, NULL, NULL);
  assert_true(fds[0] >= 0);
  close(listening);
  limit_buffers(fds[0]);
  limit_buffers(fds[1]);
}

void ends_open(lunado_loop *loop, medium of, bool adopted) {
  int fds[2];
  if (of == TCP)
    connect_tcp(fds);
  else
    assert_int_equal(
        of == PIPE ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  end_open(&here, loop, of, adopted, fds[0]);
  end_open(&there, loop, of, adopted, fds[1]);
}

static void free_foreign(uv_handle_t *handle) { free(handle); }

void end_close_foreign(end *self) {
  if (self->foreign == NULL) return;
  assert_ptr_equal(self->foreign->data, self);
  assert_null(lunado__handle_adopter(self->foreign));
  if (uv_is_closing((uv_handle_t *)self->foreign))
    free(self->foreign);
  else
    uv_close((uv_handle_t *)self->foreign, free_foreign);
  self->foreign = NULL;
}

void end_close(end *self) {
  self->act = NULL;
  if (self->stream != NULL) lunado_stream_close(self->stream);
  end_close_foreign(self);
}

/* An own uv_loop_t of a closed loop goes with what others have on it. */
static bool is_driven(lunado_loop *loop) {
  return loop->uv == loop_host() || loop->owns_uv;
}

void ends_close(lunado_loop *loop) {
  end_close(&here);
  end_close(&there);
  for (int i = 0; i < 3 && is_driven(loop); i++)
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  assert_null(here.stream);
  assert_null(there.stream);
}

static int setup(void **state, bool borrowed) {
  (void)signal(SIGPIPE, SIG_IGN);
  fill_text();
  *state = loop_open(borrowed);
  here = there = (end){0};
  return 0;
}

int setup_ends_on_own(void **state) { return setup(state, false); }

int setup_ends_on_borrowed(void **state) { return setup(state, true); }

int teardown_ends(void **state) {
  memory_fail_at(0);
  ends_close(*state);
  loop_drop(*state);
  return 0;
}

static void in_ways(lunado_loop *loop, medium of,
                    void (*body)(lunado_loop *loop)) {
  for (int adopted = 0; adopted < 2; adopted++) {
    ends_open(loop, of, adopted);
    body(loop);
    ends_close(loop);
  }
}

void in_both_directions(lunado_loop *loop, void (*body)(lunado_loop *loop)) {
  in_ways(loop, LOCAL, body);
  in_ways(loop, TCP, body);
}

void in_every_way(lunado_loop *loop, void (*body)(lunado_loop *loop)) {
  in_both_directions(loop, body);
  in_ways(loop, PIPE, body);
}

/* --- what they do -------------------------------------------------------- */

static void put(end *self, lunado_write *write) {
  assert_non_null(write);
  write->number = self->writes++;
  lunado_stream_write(self->stream, write);
}

void end_write(end *self, size_t n) {
  uv_buf_t buf = uv_buf_init(text + self->sent, (unsigned)n);
  assert_true(self->sent + n <= TEXT_SIZE);
  self->sent += n;
  put(self, lunado_write_new(&buf, 1, 0));
}

void end_write_end(end *self) { put(self, lunado_write_new_end()); }

void end_fill(end *self) {
  unsigned before = self->writes;
  end_write(self, 4 * 1024 * 1024);
  turn(self->stream->loop);
  assert_true(self->stream->sending);
  assert_int_equal(self->written, before);
}

void end_read(end *self, size_t missing) {
  assert_int_equal(lunado_stream_read(self->stream, missing), 0);
  lunado__check(self->stream->loop);
}

void turn(lunado_loop *loop) {
  for (int i = 0; i < 4; i++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}
