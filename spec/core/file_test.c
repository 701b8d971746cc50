/* SPDX-License-Identifier: MIT */
/* file_test.c - files as streams: one position, one operation at a time. */
#define _XOPEN_SOURCE 700 /* mkstemp */

#include "core/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/stream.h"
#include "core/write.h"
#include "../support/posix.h"
#include "ends.h"

enum { SOME = 200, MODEL = 400000 };

#define READS LUNADO_FILE_READABLE
#define WRITES LUNADO_FILE_WRITABLE
#define SEEKS LUNADO_FILE_AT_START

/* A file without a name, with the first n bytes of the text. */
static int make_file(size_t n) {
  char name[] = "/tmp/lunado-XXXXXX";
  int fd = mkstemp(name);
  assert_true(fd >= 0);
  assert_int_equal(unlink(name), 0);
  assert_int_equal(write(fd, text, n), n);
  assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
  return fd;
}

static void open_fd(lunado_loop *loop, int fd, int flags) {
  lunado_stream *stream;
  here = (end){.name = 'h'};
  assert_int_equal(lunado_stream_new_file(&stream, loop, fd, flags), 0);
  end_take(&here, stream);
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/* An own uv_loop_t of a closed loop goes with the last request. */
static void finish_closing(lunado_loop *loop) {
  while (here.stream != NULL && (loop->uv == loop_host() || loop->owns_uv))
    (void)uv_run(loop->uv, UV_RUN_ONCE);
  assert_null(here.stream);
}

static void close_file(lunado_loop *loop) {
  if (here.stream != NULL) lunado_stream_close(here.stream);
  finish_closing(loop);
}

static int teardown_file(void **state) {
  memory_fail_at(0);
  close_file(*state);
  return teardown_ends(state);
}

/* The file at fd holds n bytes of the text, and no more. */
static void holds_text(int fd, size_t n) {
  char *all = malloc(n + 1);
  assert_int_equal(pread(fd, all, n + 1, 0), n);
  assert_memory_equal(all, text, n);
  free(all);
}

/* --- reading ------------------------------------------------------------- */

static void read_file(lunado_loop *loop, size_t size, bool seeks) {
  open_fd(loop, make_file(size), seeks ? READS | SEEKS : READS);
  end_read(&here, size % 3);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
  assert_int_equal(here.got, size);
  close_file(loop);
}

static void is_read_as_a_whole(void **state) {
  static const size_t sizes[] = {0, 1, 4095, 65535, 65536, 65537, 3000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    read_file(*state, sizes[i], false);
    read_file(*state, sizes[i], true);
  }
}

static void is_read_from_the_systems_position_or_its_own(void **state) {
  lunado_loop *loop = *state;
  for (int seeks = 0; seeks < 2; seeks++) {
    int fd = make_file(1000);
    assert_int_equal(lseek(fd, 100, SEEK_SET), 100);
    open_fd(loop, fd, seeks ? READS | SEEKS : READS);
    here.got = seeks ? 0 : 100;
    end_read(&here, 0);
    turn_until(loop, here.ended != 0);
    assert_int_equal(here.got, 1000);
    close_file(loop);
  }
}

static void stop_at_the_third(end *self, char event) {
  if (event == 'a' && self->arrived == 3) lunado_stream_read_stop(self->stream);
}

static void nothing_arrives_when_reading_was_stopped(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, make_file(1000000), READS | SEEKS);
  here.act = stop_at_the_third;
  end_read(&here, 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(here.arrived, 3);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, 1000000);
}

static void but_what_is_under_way(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, make_file(1000000), READS | SEEKS);
  end_read(&here, 0);
  lunado_stream_read_stop(here.stream);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(here.arrived, 1);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, 1000000);
}

static void parts_may_be_left(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, make_file(1000000), READS);
  here.nibbles = true;
  end_read(&here, 500000);
  turn_until(loop, here.ended != 0);
  end_skip(&here, end_waiting(&here));
  assert_int_equal(here.got, 1000000);
}

static void what_is_added_is_read_when_read_again(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(10), other = dup(fd);
  open_fd(loop, fd, READS | SEEKS);
  for (int i = 1; i < 5; i++) {
    end_read(&here, 0);
    turn_until(loop, here.ended != 0);
    assert_int_equal(here.got, i * 10);
    here.ended = 0;
    assert_int_equal(pwrite(other, text + i * 10, 10, i * 10), 10);
  }
  close(other);
}

/* --- writing ------------------------------------------------------------- */

static void write_all(lunado_loop *loop, int flags) {
  int fd = make_file(0), other = dup(fd);
  open_fd(loop, fd, WRITES | flags);
  for (int i = 0; i < SOME; i++) {
    end_write(&here, i % 7 == 0 ? 0 : random_below(i % 5 == 0 ? 90000 : 50));
    if (random_below(4) == 0) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    lunado__check(loop);
  }
  end_write_end(&here);
  turn_until(loop, here.written == SOME + 1);
  assert_int_equal(here.failed, 0);
  holds_text(other, here.sent);
  close_file(loop);
  close(other);
}

static void is_written_in_order(void **state) {
  write_all(*state, 0);
  write_all(*state, SEEKS);
}

static void in_several_buffers(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(0), other = dup(fd);
  uv_buf_t bufs[20];
  size_t sent = 0;
  open_fd(loop, fd, WRITES | SEEKS);
  for (unsigned i = 0; i < 20; i++) {
    bufs[i] = uv_buf_init(text + sent, i % 3 == 0 ? 0 : i * 1000);
    sent += bufs[i].len;
  }
  for (unsigned i = 0; i < 3; i++) {
    lunado_write *write = lunado_write_new(bufs, 20 - i, 0);
    write->number = here.writes++;
    lunado_stream_write(here.stream, write);
    if (i == 0) here.sent = sent;
    turn_until(loop, here.written == here.writes);
    assert_int_equal(here.error, 0);
    if (i == 0) holds_text(other, sent);
  }
  close(other);
}

static void append(lunado_loop *loop, int flags) {
  int fd = make_file(1000), other = dup(fd);
  assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
  open_fd(loop, fd, WRITES | LUNADO_FILE_APPENDS | flags);
  here.sent = 1000;
  for (int i = 0; i < 20; i++) end_write(&here, random_below(5000));
  turn_until(loop, here.written == 20);
  holds_text(other, here.sent);
  close_file(loop);
  close(other);
}

static void is_written_at_its_end(void **state) {
  append(*state, SEEKS);
  append(*state, 0);
}

static void unsent_is_what_has_not_left(void **state) {
  lunado_loop *loop = *state;
  uv_buf_t buf = uv_buf_init(text, 10);
  open_fd(loop, make_file(0), WRITES | SEEKS);
  assert_int_equal(lunado_stream_try_write(here.stream, &buf, 1), 0);
  end_write(&here, 1000);
  end_write(&here, 10);
  end_write_end(&here);
  assert_int_equal(lunado_stream_unsent(here.stream), 1010);
  turn_until(loop, here.written >= 1);
  assert_true(lunado_stream_unsent(here.stream) <= 10);
  turn_until(loop, here.written == 3);
  assert_int_equal(lunado_stream_unsent(here.stream), 0);
}

static void tells_what_it_was_opened_for(void **state) {
  lunado_loop *loop = *state;
  for (int flags = 0; flags < 4; flags++) {
    open_fd(loop, make_file(0),
            (flags & 1 ? READS : 0) | (flags & 2 ? WRITES : 0));
    assert_int_equal(lunado_stream_is_readable(here.stream), flags & 1);
    assert_int_equal(lunado_stream_is_writable(here.stream), flags >> 1);
    assert_true(lunado_stream_can_half_close(here.stream));
    assert_int_equal(lunado_stream_reset_error(here.stream), 0);
    assert_false(lunado_stream_seek_back(here.stream, 0));
    close_file(loop);
  }
}

/* --- reading and writing ------------------------------------------------- */

static char model[MODEL];
static size_t position, length;
static int ended;

/* Takes n bytes, which are those of the model. */
static void take(size_t n) {
  assert_memory_equal(lunado_bytes_at(here.stream->in), model + position, n);
  lunado_bytes_skip(here.stream->in, n);
  position += n;
}

static void read_some(lunado_loop *loop) {
  size_t n = random_below(100000);
  end_read(&here, n);
  if (random_below(2) == 0)
    (void)uv_run(loop->uv, UV_RUN_NOWAIT); /* or else one is under way */
  else
    turn_until(loop, end_waiting(&here) > n || here.ended != 0);
  if (n > end_waiting(&here)) n = end_waiting(&here);
  if (n > 0) take(n);
  if (here.ended == UV_EOF) ended++;
  here.ended = 0;
}

/* As streams of Lua do it: what was read ahead is read again. */
static void write_some(void) {
  size_t ahead = end_waiting(&here);
  size_t n = random_below(random_below(10) == 0 ? 30000 : 100);
  if (n > MODEL - position) n = MODEL - position;
  here.sent = random_below(1000000);
  memcpy(model + position, text + here.sent, n);
  assert_true(lunado_stream_seek_back(here.stream, ahead));
  if (ahead > 0) lunado_bytes_skip(here.stream->in, ahead);
  end_write(&here, n);
  position += n;
  if (position > length) length = position;
}

static void start_again(lunado_loop *loop) {
  turn_until(loop, here.written == here.writes);
  lunado_stream_read_stop(here.stream);
  assert_true(
      lunado_stream_seek_back(here.stream, position + end_waiting(&here)));
  if (end_waiting(&here) > 0)
    lunado_bytes_skip(here.stream->in, end_waiting(&here));
  position = 0;
}

static void reads_and_writes_share_a_position(void **state) {
  lunado_loop *loop = *state;
  char *all = malloc(MODEL);
  int fd = make_file(200000), other = dup(fd);
  memcpy(model, text, 200000);
  length = 200000;
  position = 0;
  open_fd(loop, fd, READS | WRITES | SEEKS);
  here.keeps = true;
  ended = 0;
  for (int i = 0; i < 10 * SOME; i++) {
    if (random_below(3) == 0)
      write_some();
    else
      read_some(loop);
    if (position == length && random_below(3) == 0) start_again(loop);
    lunado__check(loop);
  }
  turn_until(loop, here.written == here.writes);
  assert_true(ended > 3);
  assert_int_equal(here.failed, 0);
  assert_int_equal(pread(other, all, MODEL, 0), length);
  assert_memory_equal(all, model, length);
  free(all);
  close(other);
}

static void what_is_read_when_it_seeks_is_read_again(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(100000), other = dup(fd);
  open_fd(loop, fd, READS | WRITES | SEEKS);
  here.keeps = true;
  end_read(&here, 0);
  turn_until(loop, end_waiting(&here) > 0);
  assert_int_equal(end_waiting(&here), 65536); /* the next is under way */
  end_skip(&here, 1000);
  assert_true(lunado_stream_seek_back(here.stream, 64536));
  lunado_bytes_skip(here.stream->in, 64536);
  here.sent = 500;
  end_write(&here, 1000);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.written, 1);
  here.got = 2000;
  assert_int_equal(end_waiting(&here), 98000);
  end_skip(&here, 98000);
  assert_int_equal(pread(other, model, 3000, 0), 3000);
  assert_memory_equal(model, text, 1000);
  assert_memory_equal(model + 1000, text + 500, 1000);
  assert_memory_equal(model + 2000, text + 2000, 1000);
  close(other);
}

static void what_is_no_file_has_no_position(void **state) {
  lunado_loop *loop = *state;
  ends_open(loop, LOCAL, false);
  assert_false(lunado_stream_seek_back(here.stream, 0));
  ends_close(loop);
}

/* --- errors -------------------------------------------------------------- */

static void what_is_not_open_is_refused(void **state) {
  lunado_stream *stream;
  assert_int_equal(lunado_stream_new_file(&stream, *state, -1, READS),
                   UV_EBADF);
  assert_null(stream);
}

static void what_is_closed_cannot_be_read(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(0);
  open_fd(loop, fd, READS | LUNADO_FILE_BORROWED);
  assert_int_equal(close(fd), 0);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EBADF);
}

static void nor_can_a_directory(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, open("/", O_RDONLY), READS | SEEKS);
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EISDIR);
}

/* What is behind one that fails stays, until it is dropped. */
static void what_was_opened_for_reading_cannot_be_written(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, open("/dev/null", O_RDONLY), WRITES);
  end_write(&here, 10);
  end_write(&here, 10);
  turn_until(loop, here.written == 1);
  assert_int_equal(here.error, UV_EBADF);
  turn(loop);
  assert_int_equal(here.written, 1);
  assert_int_equal(lunado__stream_first(here.stream)->number, 1);
  lunado_stream_drop_writes(here.stream);
  assert_int_equal(lunado_stream_unsent(here.stream), 0);
}

static void one_under_way_may_be_dropped(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(0), other = dup(fd);
  open_fd(loop, fd, WRITES);
  end_write(&here, 100000);
  end_write(&here, 10);
  lunado_stream_drop_writes(here.stream);
  assert_int_equal(lunado_stream_unsent(here.stream), 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(here.written, 0);
  holds_text(other, 100000);
  close(other);
}

/* --- pipes --------------------------------------------------------------- */

static void a_pipe_is_read_as_a_file(void **state) {
  lunado_loop *loop = *state;
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  open_fd(loop, fds[0], READS);
  end_read(&here, 0);
  for (int i = 1; i < 5; i++) {
    assert_int_equal(write(fds[1], text + here.got, 1000), 1000);
    turn_until(loop, here.got == (size_t)i * 1000);
  }
  close(fds[1]);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_EOF);
}

static void and_written(void **state) {
  lunado_loop *loop = *state;
  int fds[2];
  size_t got = 0;
  assert_int_equal(pipe(fds), 0);
  open_fd(loop, fds[1], WRITES);
  end_write(&here, 300000); /* its writes block */
  while (got < 300000) {
    ssize_t n = read(fds[0], model, 1000);
    assert_true(n > 0);
    assert_memory_equal(model, text + got, (size_t)n);
    got += (size_t)n;
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  }
  turn_until(loop, here.written == 1);
  close(fds[0]);
  end_write(&here, 10);
  turn_until(loop, here.written == 2);
  assert_int_equal(here.error, UV_EPIPE);
}

/* --- closing ------------------------------------------------------------- */

static void closes_its_descriptor_unless_borrowed(void **state) {
  lunado_loop *loop = *state;
  for (int borrowed = 0; borrowed < 2; borrowed++) {
    int fd = make_file(10);
    open_fd(loop, fd, READS | (borrowed ? LUNADO_FILE_BORROWED : 0));
    end_read(&here, 0);
    turn_until(loop, here.ended != 0);
    close_file(loop);
    assert_int_equal(is_open(fd), borrowed);
    if (borrowed) close(fd);
  }
}

static void close_while(lunado_loop *loop, int what, int flags) {
  int fd = make_file(100000);
  open_fd(loop, fd, READS | WRITES | flags);
  if (what & 1) end_read(&here, 0);
  if (what & 2) end_write(&here, 100000);
  if (what & 2) end_write(&here, 10);
  if (what & 4) end_write_end(&here);
  lunado_stream_close(here.stream);
  lunado__check(loop);
  finish_closing(loop);
  assert_int_equal(here.arrived, 0);
  assert_int_equal(here.written, what == 4 || what == 5);
  assert_int_equal(is_open(fd), flags & LUNADO_FILE_BORROWED ? 1 : 0);
  if (is_open(fd)) close(fd);
}

/* Only an end of writing that nothing is before is told at once. */
static void is_closed_after_the_operation_under_way(void **state) {
  for (int what = 0; what < 8; what++) {
    close_while(*state, what, SEEKS);
    close_while(*state, what, LUNADO_FILE_BORROWED);
  }
}

static char when;
static bool with_loop, done;

static void close_it(end *self, char event) {
  if (event != when || done) return;
  done = true;
  if (with_loop)
    lunado_loop_close(self->stream->loop);
  else
    lunado_stream_close(self->stream);
}

static void close_in_event(bool borrowed, int flags) {
  void *state;
  int fd;
  if (borrowed)
    setup_ends_on_borrowed(&state);
  else
    setup_ends_on_own(&state);
  done = false;
  fd = make_file(100000);
  open_fd(state, fd, READS | WRITES | SEEKS | flags);
  here.act = close_it;
  here.got = 20; /* it is read behind what was written */
  end_write(&here, 10);
  end_write(&here, 10);
  end_read(&here, 0);
  (void)lunado_loop_run(state, false);
  close_file(state);
  assert_true(done);
  assert_int_equal(is_open(fd), flags & LUNADO_FILE_BORROWED ? 1 : 0);
  if (is_open(fd)) close(fd);
  teardown_ends(&state);
}

static void an_event_may_close_it(void **state) {
  (void)state;
  with_loop = false;
  for (const char *event = "aewx"; *event != '\0'; event++) {
    when = *event;
    close_in_event(false, 0);
    close_in_event(true, 0);
    close_in_event(false, LUNADO_FILE_BORROWED);
  }
}

static void or_the_loop(void **state) {
  (void)state;
  with_loop = true;
  for (const char *event = "aewx"; *event != '\0'; event++) {
    when = *event;
    close_in_event(false, 0);
    close_in_event(true, 0);
    close_in_event(false, LUNADO_FILE_BORROWED);
  }
}

/* Nobody drives an own uv_loop_t any more: what is not busy is closed with it.
 */
static void one_at_rest_is_closed_with_its_loop(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(10);
  bool own = loop->owns_uv;
  open_fd(loop, fd, READS);
  lunado_loop_close(loop);
  if (own) {
    assert_null(here.stream);
    assert_false(is_open(fd));
    assert_false(loop->owns_uv);
  }
  finish_closing(loop);
  assert_false(is_open(fd));
}

static void one_that_is_busy_soon_is(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(10);
  bool own = loop->owns_uv;
  open_fd(loop, fd, READS | WRITES | SEEKS);
  end_read(&here, 0);
  end_write(&here, 10);
  lunado_loop_close(loop);
  assert_int_equal(here.stream == NULL, own);
  assert_int_equal(is_open(fd), !own);
  finish_closing(loop);
  assert_false(is_open(fd));
  assert_int_equal(here.arrived, 0);
}

static void one_that_is_being_closed_is_so_before_its_loop(void **state) {
  lunado_loop *loop = *state;
  int fd = make_file(10);
  open_fd(loop, fd, READS);
  lunado_stream_close(here.stream);
  lunado_loop_close(loop);
  finish_closing(loop);
  assert_false(is_open(fd));
}

/* What may take for ever is not waited for. */
static void a_pipe_that_is_read_is_closed_later(void **state) {
  lunado_loop *loop = *state;
  int fds[2], fd;
  assert_int_equal(pipe(fds), 0);
  fd = fds[0];
  open_fd(loop, fd, READS);
  end_read(&here, 0);
  lunado_loop_close(loop);
  assert_non_null(here.stream);
  assert_true(is_open(fd));
  close(fds[1]);
  finish_closing(loop);
  assert_false(is_open(fd));
  assert_int_equal(here.arrived, 0);
}

/* --- being alive, and memory --------------------------------------------- */

static void keeps_a_run_alive_while_it_is_busy(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, make_file(300000), READS | WRITES | SEEKS);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  end_read(&here, 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(here.ended, UV_EOF);
  end_write(&here, 300000);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(here.written, 1);
}

static void without_memory_reading_ends(void **state) {
  lunado_loop *loop = *state;
  open_fd(loop, make_file(10), READS | SEEKS);
  memory_fail_at(1);
  assert_int_equal(lunado_stream_read(here.stream, 0), 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.ended, UV_ENOMEM);
  here.ended = 0;
  end_read(&here, 0);
  turn_until(loop, here.ended != 0);
  assert_int_equal(here.got, 10);
}

static void exchange(lunado_loop *loop) {
  here.nibbles = true;
  for (int i = 0; i < 3; i++) {
    uv_buf_t buf = uv_buf_init(text + here.got, 100);
    lunado_write *write = lunado_write_new(&buf, 1, 0);
    if (write == NULL) continue;
    here.got += 100;
    write->number = here.writes++;
    lunado_stream_write(here.stream, write);
  }
  (void)lunado_stream_read(here.stream, 0);
  turn_until(loop, here.ended != 0 && here.written == here.writes);
  end_skip(&here, end_waiting(&here));
  assert_true(memory_failed() || here.got == 200000);
}

static void memory_may_be_missing_everywhere(void **state) {
  for (unsigned n = 1;; n++) {
    lunado_stream *stream;
    int fd = make_file(200000);
    memory_fail_at(n);
    here = (end){.name = 'h'};
    if (lunado_stream_new_file(&stream, *state, fd, READS | WRITES | SEEKS) ==
        0) {
      end_take(&here, stream);
      exchange(*state);
      close_file(*state);
    } else {
      assert_null(stream);
      assert_true(is_open(fd));
      close(fd);
    }
    lunado__check(*state);
    if (!memory_failed()) break;
  }
}

static void none_is_made_on_a_closed_loop(void **state) {
  lunado_stream *stream;
  int fd = make_file(0);
  lunado_loop_close(*state);
  assert_int_equal(lunado_stream_new_file(&stream, *state, fd, READS),
                   UV_ECANCELED);
  assert_null(stream);
  assert_int_equal(close(fd), 0);
}

#define unit(test) \
  { #test, test, setup_ends_on_own, teardown_file, NULL }
#define units(test) \
  unit(test), { \
#test " (borrowed)", test, setup_ends_on_borrowed, teardown_file, NULL \
  }

int main(void) {
  const struct CMUnitTest tests[] = {
      units(is_read_as_a_whole),
      unit(is_read_from_the_systems_position_or_its_own),
      unit(nothing_arrives_when_reading_was_stopped),
      unit(but_what_is_under_way),
      unit(parts_may_be_left),
      unit(what_is_added_is_read_when_read_again),
      units(is_written_in_order),
      unit(in_several_buffers),
      unit(is_written_at_its_end),
      unit(unsent_is_what_has_not_left),
      unit(tells_what_it_was_opened_for),
      units(reads_and_writes_share_a_position),
      unit(what_is_read_when_it_seeks_is_read_again),
      unit(what_is_no_file_has_no_position),
      unit(what_is_not_open_is_refused),
      unit(what_is_closed_cannot_be_read),
      unit(nor_can_a_directory),
      unit(what_was_opened_for_reading_cannot_be_written),
      unit(one_under_way_may_be_dropped),
      unit(a_pipe_is_read_as_a_file),
      unit(and_written),
      unit(closes_its_descriptor_unless_borrowed),
      units(is_closed_after_the_operation_under_way),
      cmocka_unit_test(an_event_may_close_it),
      cmocka_unit_test(or_the_loop),
      units(one_at_rest_is_closed_with_its_loop),
      units(one_that_is_busy_soon_is),
      units(one_that_is_being_closed_is_so_before_its_loop),
      units(a_pipe_that_is_read_is_closed_later),
      units(keeps_a_run_alive_while_it_is_busy),
      unit(without_memory_reading_ends),
      units(memory_may_be_missing_everywhere),
      units(none_is_made_on_a_closed_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
