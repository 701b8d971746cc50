/* SPDX-License-Identifier: MIT */
/* loop_test.c - turns, and how a run ends. */
#include "core/loop.h"

#include <stdlib.h>

#include "core/poll.h"
#include "../support/posix.h"
#include "support.h"

enum { MANY = 100000 };

typedef struct named named;
struct named {
  lunado_callback task;
  char name;
  void (*act)(lunado_loop *loop, named *self);
  named *other; /* the callback that `act` acts on */
};

static named tasks[8];
static unsigned count;

static void on_named(lunado_loop *loop, lunado_callback *task) {
  named *self = lunado_container_of(task, named, task);
  assert_true(lunado_list_empty(&task->link));
  assert_true(lunado_loop_running(loop));
  note(self->name);
  if (self->act != NULL) self->act(loop, self);
  lunado__check(loop);
}

static named *make(int i, char name) {
  tasks[i] = (named){.name = name, .other = &tasks[i + 1]};
  lunado_callback_init(&tasks[i].task, on_named);
  return &tasks[i];
}

static named *ready(lunado_loop *loop, int i, char name) {
  named *self = make(i, name);
  lunado_loop_ready(loop, &self->task);
  lunado__check(loop);
  return self;
}

static void ready_other(lunado_loop *loop, named *self) {
  lunado_loop_ready(loop, &self->other->task);
}

static void stop_loop(lunado_loop *loop, named *self) {
  (void)self;
  lunado_loop_stop(loop);
}

static void run(lunado_loop *loop) {
  assert_false(lunado_loop_running(loop));
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_false(lunado_loop_running(loop));
  lunado__check(loop);
}

/* Runs one turn: the run of a loop that was stopped beforehand. */
static void turn(lunado_loop *loop) {
  lunado_loop_stop(loop);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  lunado__check(loop);
}

/* --- tasks --------------------------------------------------------------- */

static void tasks_run_in_order_and_once(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 5; i++) ready(loop, i, (char)('a' + i));
  lunado_loop_ready(loop, &tasks[0].task);
  lunado_loop_ready(loop, &tasks[3].task);
  run(loop);
  assert_string_equal(noted(), "abcde");
  run(loop);
  assert_string_equal(noted(), "");
}

static void a_cancelled_task_does_not_run(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 4; i++) ready(loop, i, (char)('a' + i));
  lunado_callback_cancel(&tasks[0].task);
  lunado_callback_cancel(&tasks[0].task);
  lunado_callback_cancel(&tasks[2].task);
  run(loop);
  assert_string_equal(noted(), "bd");
  lunado_callback_cancel(&tasks[1].task); /* after it ran */
}

static void the_only_task_that_is_cancelled_leaves_nothing(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a');
  lunado_callback_cancel(&tasks[0].task);
  run(loop);
  assert_string_equal(noted(), "");
}

static void cancel_other(lunado_loop *loop, named *self) {
  (void)loop;
  lunado_callback_cancel(&self->task);
  lunado_callback_cancel(&self->other->task);
}

static void a_task_cancels_the_next_of_its_turn(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = cancel_other;
  ready(loop, 1, 'b');
  ready(loop, 2, 'c');
  run(loop);
  assert_string_equal(noted(), "ac");
}

static void move_other(lunado_loop *loop, named *self) {
  lunado_callback_cancel(&self->other->task);
  lunado_loop_ready(loop, &self->other->task);
}

static void a_task_puts_the_next_behind_the_others(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = move_other;
  ready(loop, 1, 'b');
  ready(loop, 2, 'c');
  run(loop);
  assert_string_equal(noted(), "acb");
}

static void what_a_turn_makes_ready_is_for_the_next(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = ready_other;
  tasks[0].other = make(4, 'x');
  ready(loop, 1, 'b');
  turn(loop);
  assert_string_equal(noted(), "ab");
  turn(loop);
  assert_string_equal(noted(), "x");
}

static void ready_self(lunado_loop *loop, named *self) {
  lunado_loop_ready(loop, &self->task);
}

static void tasks_that_ready_themselves_take_turns(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 3; i++) ready(loop, i, (char)('a' + i))->act = ready_self;
  for (int i = 0; i < 4; i++) turn(loop);
  assert_string_equal(noted(), "abcabcabcabc");
  for (int i = 0; i < 3; i++) lunado_callback_cancel(&tasks[i].task);
}

static void on_timer(lunado_loop *loop, lunado_timer *timer) {
  (void)loop;
  (void)timer;
  note('t');
}

static void on_readable(lunado_watcher *watcher, int events) {
  assert_int_equal(events, LUNADO_READ);
  note('d');
  lunado_watcher_close(watcher);
}

static void a_turn_is_tasks_timers_and_descriptors(void **state) {
  lunado_loop *loop = *state;
  lunado_timer timer;
  lunado_watcher *watcher;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  assert_int_equal(
      lunado_watcher_new(&watcher, loop, ends[0], LUNADO_READ, on_readable), 0);
  lunado_timer_init(&timer, on_timer);
  (void)lunado_timer_start(loop, &timer, -1);
  ready(loop, 0, 'a')->act = ready_other;
  make(1, 'b');
  turn(loop);
  assert_string_equal(noted(), "atd");
  run(loop);
  assert_string_equal(noted(), "b");
  close(ends[0]);
  close(ends[1]);
}

static void start_timer_now(lunado_loop *loop, named *self) {
  static lunado_timer timer;
  (void)self;
  lunado_timer_init(&timer, on_timer);
  (void)lunado_timer_start(loop, &timer,
                           lunado_loop_time(loop) + time_grain(loop));
}

static void a_timer_that_a_task_starts_is_for_the_next_turn(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = start_timer_now;
  turn(loop);
  assert_string_equal(noted(), "a");
  run(loop);
  assert_string_equal(noted(), "t");
}

/* --- how a run ends ------------------------------------------------------ */

static void an_empty_loop_ends_at_once(void **state) {
  lunado_loop *loop = *state;
  run(loop);
}

static void a_stopped_run_leaves_the_rest_for_the_next(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = ready_other;
  make(1, 'x');
  ready(loop, 2, 'b')->act = stop_loop;
  ready(loop, 3, 'c');
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  assert_string_equal(noted(), "abc");
  run(loop);
  assert_string_equal(noted(), "x");
}

static void the_last_task_can_stop(void **state) {
  lunado_loop *loop = *state;
  for (int forever = 0; forever < 2; forever++) {
    ready(loop, 0, 'a')->act = stop_loop;
    assert_int_equal(lunado_loop_run(loop, forever), LUNADO_RUN_STOPPED);
  }
  assert_string_equal(noted(), "aa");
}

static void stopped_beforehand_it_runs_one_turn(void **state) {
  lunado_loop *loop = *state;
  for (int forever = 0; forever < 2; forever++) {
    ready(loop, 0, 'a')->act = ready_other;
    make(1, 'b')->act = ready_other;
    make(2, 'c');
    lunado_loop_stop(loop);
    assert_int_equal(lunado_loop_run(loop, forever), LUNADO_RUN_STOPPED);
    assert_string_equal(noted(), "a");
    run(loop); /* the loop is no longer stopped */
    assert_string_equal(noted(), "bc");
  }
}

static void stopped_beforehand_with_nothing_to_do_it_ends(void **state) {
  turn(*state);
}

static void on_stopper(uv_timer_t *timer) {
  uv_stop(timer->loop);
  uv_close((uv_handle_t *)timer, NULL);
}

static void uv_stop_stops_too(void **state) {
  lunado_loop *loop = *state;
  uv_timer_t timer;
  uv_timer_init(loop->uv, &timer);
  uv_timer_start(&timer, on_stopper, 1, 0);
  lunado_loop_keep_alive(loop);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  lunado_loop_release(loop);
  run(loop);
}

static void on_later(lunado_loop *loop, lunado_timer *timer) {
  (void)timer;
  note('t');
  lunado_loop_stop(loop);
}

static void forever_waits_though_nothing_is_left(void **state) {
  lunado_loop *loop = *state;
  lunado_timer timer;
  lunado_timer_init(&timer, on_later);
  (void)lunado_timer_start(loop, &timer, lunado_loop_time(loop) + 0.002);
  lunado_loop_keep_alive(loop); /* stands for a pending event */
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  lunado_loop_release(loop);
  assert_string_equal(noted(), "t");
  assert_int_equal(loop->kept_alive, 0);
}

static void on_wake(lunado_loop *loop, lunado_message *message) {
  (void)message;
  note('m');
  lunado_loop_stop(loop);
}

static void send_later(void *arg) {
  static lunado_message message;
  usleep(5000);
  assert_int_equal(lunado_loop_send(arg, &message, on_wake), 0);
}

static void forever_waits_for_other_threads(void **state) {
  lunado_loop *loop = *state;
  uv_thread_t thread;
  assert_int_equal(uv_thread_create(&thread, send_later, loop), 0);
  assert_int_equal(lunado_loop_run(loop, true), LUNADO_RUN_STOPPED);
  uv_thread_join(&thread);
  assert_string_equal(noted(), "m");
}

static void release_last(lunado_loop *loop, named *self) {
  (void)self;
  lunado_loop_release(loop);
}

static void holds_count(void **state) {
  lunado_loop *loop = *state;
  lunado_loop_keep_alive(loop);
  lunado_loop_keep_alive(loop);
  lunado__check(loop);
  lunado_loop_release(loop);
  lunado__check(loop);
  ready(loop, 0, 'a')->act = release_last;
  run(loop);
  assert_string_equal(noted(), "a");
}

static void run_again(lunado_loop *loop, named *self) {
  (void)self;
  assert_int_equal(lunado_loop_run(loop, false), UV_EALREADY);
  assert_int_equal(lunado_loop_run(loop, true), UV_EALREADY);
}

static void a_running_loop_cannot_be_run(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = run_again;
  run(loop);
  ready(loop, 0, 'a')->act = run_again;
  assert_int_equal(uv_run(loop->uv, UV_RUN_DEFAULT), 0);
  assert_string_equal(noted(), "aa");
}

static void on_foreign(uv_timer_t *timer) {
  lunado_loop *loop = timer->data;
  assert_true(lunado_loop_running(loop));
  assert_int_equal(lunado_loop_run(loop, false), UV_EALREADY);
  note('f');
  uv_close((uv_handle_t *)timer, NULL);
}

static void nor_by_what_others_put_on_its_uv_loop(void **state) {
  lunado_loop *loop = *state;
  uv_timer_t timer;
  uv_timer_init(loop->uv, &timer);
  timer.data = loop;
  uv_timer_start(&timer, on_foreign, 0, 0);
  run(loop);
  assert_string_equal(noted(), "f");
}

static void on_entered(uv_timer_t *timer) {
  lunado_loop *loop = timer->data;
  assert_false(lunado_loop_running(loop));
  lunado__loop_enter(loop);
  assert_true(lunado_loop_running(loop));
  assert_int_equal(lunado_loop_run(loop, false), UV_EALREADY);
  lunado__loop_leave(loop);
  uv_close((uv_handle_t *)timer, NULL);
}

static void enter_marks_what_the_host_calls(void **state) {
  lunado_loop *loop = *state;
  uv_timer_t timer;
  uv_timer_init(loop->uv, &timer);
  timer.data = loop;
  uv_timer_start(&timer, on_entered, 0, 0);
  assert_int_equal(uv_run(loop->uv, UV_RUN_DEFAULT), 0);
}

/* --- driving -------------------------------------------------------------- */

static void the_host_drives(void **state) {
  lunado_loop *loop = *state;
  ready(loop, 0, 'a')->act = ready_other;
  make(1, 'b')->act = ready_other;
  make(2, 'c');
  assert_int_equal(uv_run(loop->uv, UV_RUN_DEFAULT), 0);
  assert_string_equal(noted(), "abc");
  lunado__check(loop);
}

static int count_drives(lunado_loop *loop, uv_run_mode mode) {
  count++;
  return uv_run(loop->uv, mode);
}

static void runs_can_be_driven_otherwise(void **state) {
  lunado_loop *loop = *state;
  count = 0;
  lunado_loop_set_drive(loop, count_drives);
  ready(loop, 0, 'a');
  run(loop);
  assert_int_equal(count, 1);
  turn(loop);
  assert_int_equal(count, 2);
  lunado_loop_set_drive(loop, NULL);
  run(loop);
  assert_int_equal(count, 2);
}

static void other_libraries_see_no_data(void **state) {
  lunado_loop *loop = *state;
  lunado__check(loop);
  assert_null(loop->uv->data);
}

/* --- many ---------------------------------------------------------------- */

static void on_count(lunado_loop *loop, lunado_callback *task) {
  (void)loop;
  (void)task;
  count++;
}

static void many_tasks(void **state) {
  lunado_loop *loop = *state;
  lunado_callback *many = malloc(MANY * sizeof *many);
  count = 0;
  for (int i = 0; i < MANY; i++) {
    lunado_callback_init(&many[i], on_count);
    lunado_loop_ready(loop, &many[i]);
  }
  for (int i = 0; i < MANY; i += 2) lunado_callback_cancel(&many[i]);
  run(loop);
  assert_int_equal(count, MANY / 2);
  free(many);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(tasks_run_in_order_and_once),
      on_own(a_cancelled_task_does_not_run),
      on_own(the_only_task_that_is_cancelled_leaves_nothing),
      on_own(a_task_cancels_the_next_of_its_turn),
      on_own(a_task_puts_the_next_behind_the_others),
      on_own(what_a_turn_makes_ready_is_for_the_next),
      on_own(tasks_that_ready_themselves_take_turns),
      on_both(a_turn_is_tasks_timers_and_descriptors),
      on_own(a_timer_that_a_task_starts_is_for_the_next_turn),
      on_both(an_empty_loop_ends_at_once),
      on_both(a_stopped_run_leaves_the_rest_for_the_next),
      on_both(the_last_task_can_stop),
      on_both(stopped_beforehand_it_runs_one_turn),
      on_both(stopped_beforehand_with_nothing_to_do_it_ends),
      on_both(uv_stop_stops_too),
      on_both(forever_waits_though_nothing_is_left),
      on_both(forever_waits_for_other_threads),
      on_both(holds_count),
      on_both(a_running_loop_cannot_be_run),
      on_both(nor_by_what_others_put_on_its_uv_loop),
      on_both(enter_marks_what_the_host_calls),
      on_both(the_host_drives),
      on_own(runs_can_be_driven_otherwise),
      on_own(other_libraries_see_no_data),
      on_own(many_tasks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
