/* SPDX-License-Identifier: MIT */
/* check_test.c - the checks notice each broken invariant and print it. */
#include "core/check.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/poll.h"
#include "core/stream.h"
#include "core/write.h"
#include "support.h"

enum { TIMERS = 8 };

static lunado_callback task;
static lunado_timer timers[TIMERS];
static lunado_watcher *watchers[2];
static lunado_stream *stream;
static lunado_bytes in;
static int pipe_end; /* from which the stream's writes are not read */
static char much[1000000];
static lunado_future future;
static lunado_waiter waiters[2];

static void on_task(lunado_loop *loop, lunado_callback *self) {
  (void)loop;
  (void)self;
}

static void on_timer(lunado_loop *loop, lunado_timer *timer) {
  (void)loop;
  (void)timer;
}

static void on_watcher(lunado_watcher *watcher, int events) {
  (void)watcher;
  (void)events;
}

static void on_waiter(lunado_settler *settler, lunado_waiter *waiter,
                      lunado_future *self) {
  (void)settler;
  (void)waiter;
  (void)self;
}

/* --- one way to break each thing ------------------------------------------ */

static void unlink_half(lunado_loop *loop) { loop->ready.next = &loop->ready; }

static void lose_callback(lunado_loop *loop) {
  (void)loop;
  task.cb = NULL;
}

static void stop_idle(lunado_loop *loop) { uv_idle_stop(&loop->idle); }

static void swap_deadlines(lunado_loop *loop) {
  loop->heap.sorted = false;
  loop->heap.entries[5].key = lunado__heap_key(-1);
}

static void swap_ages(lunado_loop *loop) {
  loop->heap.sorted = false;
  loop->heap.entries[0].age = 100;
}

static void take_for_sorted(lunado_loop *loop) {
  loop->heap.sorted = true;
  loop->heap.entries[6].age = loop->heap.entries[4].age;
}

static void spend_unsorted(lunado_loop *loop) {
  loop->heap.sorted = false;
  loop->heap.spent = 1;
}

static void misnumber(lunado_loop *loop) {
  (void)loop;
  timers[3].number++;
}

static void misplace(lunado_loop *loop) { loop->heap.timers[3].of.when = 1; }

static void lose_number(lunado_loop *loop) { loop->heap.numbers++; }

static void free_what_is_in_use(lunado_loop *loop) { loop->heap.free = 1; }

static void number_beyond(lunado_loop *loop) {
  loop->heap.entries[2].number = loop->heap.numbers;
}

static void spoil_deadline(lunado_loop *loop) {
  loop->heap.entries[7].key = lunado__heap_key(NAN);
}

static void overfill(lunado_loop *loop) {
  loop->heap.capacity = loop->heap.count - 1;
}

static void lose_deadline(lunado_loop *loop) {
  uv_idle_stop(&loop->idle);
  lunado_link_init(&loop->ready);
  uv_timer_stop(&loop->timer);
}

static void arm_too_late(lunado_loop *loop) {
  uv_idle_stop(&loop->idle);
  lunado_link_init(&loop->ready);
  loop->armed = INFINITY;
}

static void unref_timer(lunado_loop *loop) {
  uv_unref((uv_handle_t *)&loop->timer);
}

static void keep_for_nothing(lunado_loop *loop) {
  loop->heap.count = loop->heap.numbers = loop->heap.finite = 0;
}

static void miscount_removed(lunado_loop *loop) { loop->heap.removed++; }

static void take_all_out(lunado_loop *loop) {
  lunado_heap *heap = &loop->heap;
  for (uint32_t i = 0; i < heap->count; i++) heap->timers[i].timer = NULL;
  heap->removed = heap->count;
}

static void miscount_deadlines(lunado_loop *loop) { loop->heap.finite++; }

static void miscount_kept_alive(lunado_loop *loop) { loop->kept_alive++; }

static void miscount_refs(lunado_loop *loop) { loop->refs = 1; }

static void lend_what_is_gone(lunado_loop *loop) {
  loop->owns_uv = false;
  loop->lent = true;
}

static void stay_due(lunado_loop *loop) { loop->due = 1; }

static void close_handle(lunado_loop *loop) {
  uv_close((uv_handle_t *)&loop->idle, NULL);
}

static void set_data(lunado_loop *loop) { loop->async.data = loop; }

static void refuse_messages(lunado_loop *loop) { loop->mail.closed = true; }

static void close_halfway(lunado_loop *loop) {
  loop->closed = true;
  loop->mail.closed = true;
}

static void stop_watching(lunado_loop *loop) {
  (void)loop;
  uv_poll_stop(&watchers[0]->poll);
}

static void watch_twice(lunado_loop *loop) {
  (void)loop;
  watchers[0]->fd = watchers[1]->fd;
}

static void pause_last(lunado_loop *loop) {
  lunado_link *link = &watchers[0]->link;
  (void)lunado_watcher_set(watchers[0], LUNADO_NONE);
  lunado_link_remove(link);
  lunado_list_append(&loop->watchers, link);
}

static void leave_loop(lunado_loop *loop) {
  (void)loop;
  watchers[1]->loop = NULL;
}

static void read_too_far(lunado_loop *loop) {
  (void)loop;
  stream->in->begin = stream->in->end + 1;
}

static void overflow(lunado_loop *loop) {
  (void)loop;
  stream->in->capacity = stream->in->end - 1;
}

static void search_too_far(lunado_loop *loop) {
  (void)loop;
  stream->in->searched = 100;
}

static void lend_for_good(lunado_loop *loop) {
  (void)loop;
  stream->in->capacity = 0;
}

static void stay_in_list(lunado_loop *loop) {
  (void)loop;
  stream->closed = true;
}

static void change_loops(lunado_loop *loop) {
  (void)loop;
  stream->loop = NULL;
}

static void lose_reference(lunado_loop *loop) {
  (void)loop;
  stream->refs = 1;
}

static void lose_writes(lunado_loop *loop) {
  (void)loop;
  stream->last = NULL;
}

static void lose_last_write(lunado_loop *loop) {
  (void)loop;
  stream->last->next->next = NULL;
}

static void change_streams(lunado_loop *loop) {
  (void)loop;
  stream->last->stream = NULL;
}

static void miscount_queued(lunado_loop *loop) {
  (void)loop;
  stream->queued++;
}

static void send_before_connected(lunado_loop *loop) {
  (void)loop;
  stream->refs++;
  stream->connecting = true;
}

static void miscount_requests(lunado_loop *loop) { loop->requests--; }

static void lose_handle(lunado_loop *loop) {
  (void)loop;
  stream->uv = NULL;
}

static void only_seem_to_read(lunado_loop *loop) {
  (void)loop;
  stream->reading = true;
  stream->uv->flags = 0;
}

static void mark_handle(lunado_loop *loop) {
  (void)loop;
  stream->uv->data = stream;
}

static void lose_state(lunado_loop *loop) {
  (void)loop;
  future.state = 3;
}

static void lose_list(lunado_loop *loop) {
  (void)loop;
  waiters[1].list = NULL;
}

static void lose_future(lunado_loop *loop) {
  (void)loop;
  waiters[1].future = NULL;
}

static void break_ring(lunado_loop *loop) {
  (void)loop;
  waiters[1].prev = &waiters[1];
}

typedef struct {
  void (*sabotage)(lunado_loop *loop);
  const char *sentence;
} fault;

static const fault faults[] = {
    {unlink_half, "neighbours in a list know each other"},
    {lose_callback, "a ready callback has a callback"},
    {stop_idle, "the idle handle is active while callbacks are ready"},
    {swap_deadlines, "an entry of the heap is not earlier than its parent"},
    {swap_ages, "an entry of the heap is not earlier than its parent"},
    {take_for_sorted, "entries that are sorted are in order"},
    {spend_unsorted, "places are spent only while entries are sorted"},
    {misnumber, "a timer knows its number in the heap"},
    {misplace, "a timer's deadline is its entry's"},
    {number_beyond, "an entry has a number in use"},
    {lose_number, "a number is that of an entry, or free"},
    {free_what_is_in_use, "a free number has no timer"},
    {spoil_deadline, "a deadline is a number"},
    {overfill, "a heap has room for its entries"},
    {lose_deadline, "something comes back for the first deadline"},
    {arm_too_late,
     "the timer handle is armed no later than the first deadline"},
    {unref_timer, "the timer handle counts as alive while there is a deadline"},
    {keep_for_nothing,
     "no timer handle keeps a loop alive that has no deadline"},
    {miscount_removed, "a heap counts the entries whose timers were taken out"},
    {take_all_out, "they are no more than the others"},
    {miscount_deadlines, "a heap counts the deadlines that come"},
    {miscount_kept_alive,
     "the async handle counts as alive while the loop is kept alive"},
    {miscount_refs, "what is open holds a reference"},
    {lend_what_is_gone, "what is lent is open, and the loop's own"},
    {stay_due, "timers run inside a callback of the loop"},
    {close_handle, "the handles of an open loop are open"},
    {set_data, "no handle of the core has data"},
    {refuse_messages, "messages are refused by closed loops"},
    {close_halfway, "a closed loop has no callbacks"},
    {stop_watching, "a watcher is active unless it is paused"},
    {watch_twice, "a descriptor has one watcher"},
    {pause_last, "paused watchers stand before the others"},
    {leave_loop, "a watcher knows its loop"},
    {read_too_far, "bytes begin before they end"},
    {overflow, "a block has room for its bytes"},
    {search_too_far, "what was searched is there"},
    {lend_for_good, "bytes are lent only during an event"},
    {stay_in_list, "a stream in the list is open"},
    {change_loops, "a stream knows its loop"},
    {lose_reference, "an open stream and its requests hold references"},
    {lose_writes, "what is being sent is the first write"},
    {lose_last_write, "the first write is behind the last one"},
    {change_streams, "a write knows its stream"},
    {miscount_queued, "a stream counts the bytes that libuv does not have"},
    {send_before_connected, "what is written waits for the connection"},
    {miscount_requests, "a loop counts its streams' requests"},
    {lose_handle, "an open stream that is no file has a handle"},
    {only_seem_to_read, "a stream that is read is active"},
    {mark_handle, "no handle of the core has data"},
    {lose_state, "a future has one of the states"},
    {lose_list, "a waiter knows the list that it is in"},
    {lose_future, "a waiter knows its future"},
    {break_ring, "neighbours in a list know each other"},
};

/* --- the checks ---------------------------------------------------------- */

/* A stream with bytes, one write under way, and one behind it. */
static void furnish_stream(lunado_loop *loop) {
  uv_buf_t buf = uv_buf_init(much, sizeof much);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pipe_end = ends[0];
  assert_int_equal(
      lunado_stream_new_open(&stream, loop, LUNADO_STREAM_PIPE, ends[1]), 0);
  lunado_stream_write(stream, lunado_write_new(&buf, 1, 0));
  lunado_stream_write(stream, lunado_write_new(&buf, 1, 0));
  stream->in = &in;
  memset(lunado_bytes_reserve(stream->in, 10), 'x', 10);
  lunado_bytes_commit(stream->in, 10);
}

/* Gives the loop and the future a few objects of each kind. */
static void furnish(lunado_loop *loop) {
  lunado_callback_init(&task, on_task);
  lunado_loop_ready(loop, &task);
  for (int i = 0; i < TIMERS; i++) {
    lunado_timer_init(&timers[i], on_timer);
    (void)lunado_timer_start(loop, &timers[i], 1e300);
  }
  for (int i = 0; i < 2; i++) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(lunado_watcher_new(&watchers[i], loop, ends[0],
                                        LUNADO_READ, on_watcher),
                     0);
    close(ends[1]);
  }
  furnish_stream(loop);
  lunado_future_init(&future);
  for (int i = 0; i < 2; i++)
    lunado_future_wait(&future, &waiters[i], on_waiter);
}

static void check_all(lunado_loop *loop) {
  lunado__check_future(&future);
  lunado__check(loop);
}

/* Runs in a child process, whose stderr goes to `out`. */
static void break_and_check(const fault *self, int out) {
  lunado_loop *loop = loop_open(false);
  furnish(loop);
  check_all(loop);
  (void)dup2(out, STDERR_FILENO);
  self->sabotage(loop);
  check_all(loop);
  _exit(0);
}

static void expect_fault(const fault *self) {
  char words[256] = "";
  int ends[2], status;
  pid_t child;
  assert_int_equal(pipe(ends), 0);
  child = fork();
  if (child == 0) break_and_check(self, ends[1]);
  close(ends[1]);
  assert_true(read(ends[0], words, sizeof words - 1) >= 0);
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (strstr(words, self->sentence) == NULL)
    fail_msg("expected \"%s\", got \"%s\"", self->sentence, words);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void each_fault_is_seen(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    expect_fault(&faults[i]);
}

static void what_is_whole_passes(void **state) {
  lunado_loop *loop = *state;
  furnish(loop);
  check_all(loop);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  check_all(loop);
  for (int i = 0; i < 2; i++) {
    int fd = watchers[i]->fd;
    lunado_watcher_close(watchers[i]);
    close(fd);
  }
  close(pipe_end);
  lunado_bytes_fini(&in);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(what_is_whole_passes),
      cmocka_unit_test(each_fault_is_seen),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
