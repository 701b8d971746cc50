/* SPDX-License-Identifier: MIT */
/* threadpool_test.c - jobs run on threads and return to their loop. */
#include "core/threadpool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "support.h"

enum { MANY = 5000 };

/* A job that records its fate; the test owns the storage. */
typedef struct sample sample;
struct sample {
  lunado_job job;
  char name;                  /* noted when done; 0: not noted */
  void (*act)(sample *self);  /* on the thread */
  void (*then)(sample *self); /* when done */
  int input, output;
  bool done, freed;
};

static lunado_loop *the_loop;
static lunado_threadpool *the_pool;
static uv_sem_t gate;             /* the gate at which jobs wait */
static atomic_int threads;        /* started and not ended */
static atomic_int ever;           /* started */
static atomic_int without;        /* jobs run without a state */
static atomic_bool out_of_memory; /* start returns NULL */
static int endings;               /* calls of `ended` */
static bool free_at_end;

static void *on_start(lunado_threadpool *pool) {
  assert_ptr_equal(lunado_threadpool_data(pool), &gate);
  if (atomic_load(&out_of_memory)) return NULL;
  atomic_fetch_add(&threads, 1);
  atomic_fetch_add(&ever, 1);
  return &threads;
}

static void on_run(lunado_threadpool *pool, void *state, lunado_job *job) {
  sample *self = lunado_container_of(job, sample, job);
  (void)pool;
  if (state == NULL) atomic_fetch_add(&without, 1);
  if (self->act != NULL) self->act(self);
  self->output = 2 * self->input;
}

static atomic_bool finish_waits; /* at the gate */

static void on_finish(lunado_threadpool *pool, void *state) {
  (void)pool;
  if (atomic_load(&finish_waits)) uv_sem_wait(&gate);
  assert_ptr_equal(state, &threads);
  atomic_fetch_sub(&threads, 1);
}

static void on_done(lunado_threadpool *pool, lunado_job *job) {
  sample *self = lunado_container_of(job, sample, job);
  assert_ptr_equal(pool, the_pool);
  assert_false(self->done);
  assert_int_equal(self->output, job->dropped ? 0 : 2 * self->input);
  self->done = true;
  if (self->name != '\0') note(self->name);
  if (self->then != NULL) self->then(self);
}

static void on_free(lunado_job *job) {
  sample *self = lunado_container_of(job, sample, job);
  assert_true(self->done);
  assert_false(self->freed);
  self->freed = true;
}

static void on_ended(lunado_threadpool *pool) {
  assert_ptr_equal(pool, the_pool);
  lunado_threadpool_join(pool);
  assert_int_equal(atomic_load(&threads), 0);
  endings++;
  lunado_loop_stop(the_loop);
  if (!free_at_end) return;
  lunado_threadpool_free(pool);
  the_pool = NULL;
}

static atomic_int rests; /* calls of `rest` */

static void on_rest(lunado_threadpool *pool, void *state) {
  (void)pool;
  assert_ptr_equal(state, &threads);
  atomic_fetch_add(&rests, 1);
}

static const lunado_threadpool_ops ops = {on_start, on_run,  on_rest, on_finish,
                                          on_done,  on_free, on_ended};

static void open_pool(unsigned max_threads, size_t max_queue) {
  assert_int_equal(
      lunado_threadpool_new(&the_pool, max_threads, max_queue, &ops, &gate), 0);
}

/* Jobs whose storage lasts as long as the test. */
static sample samples[MANY];

static sample *prepare(int i, char name) {
  samples[i] = (sample){.name = name, .input = i};
  return &samples[i];
}

static int try_submit(sample *self) {
  return lunado_threadpool_submit(the_pool, the_loop, &self->job);
}

static sample *submit(int i, char name, void (*act)(sample *self)) {
  sample *self = prepare(i, name);
  self->act = act;
  assert_int_equal(try_submit(self), 0);
  return self;
}

static void run_until_empty(void) {
  assert_int_equal(lunado_loop_run(the_loop, false), LUNADO_RUN_EMPTY);
}

static void pass(sample *self) {
  (void)self;
  uv_sem_wait(&gate);
}

static void open_gate(sample *self) {
  (void)self;
  uv_sem_post(&gate);
}

static int setup(void **state) {
  (void)state;
  the_loop = loop_open(false);
  the_pool = NULL;
  endings = 0;
  free_at_end = false;
  atomic_store(&threads, 0);
  atomic_store(&ever, 0);
  atomic_store(&without, 0);
  atomic_store(&out_of_memory, false);
  atomic_store(&finish_waits, false);
  atomic_store(&rests, 0);
  return uv_sem_init(&gate, 0);
}

static int finish(void **state) {
  (void)state;
  memory_fail_at(0);
  if (the_pool != NULL) {
    for (int i = 0; i < 8; i++) uv_sem_post(&gate); /* after a failure */
    (void)lunado_threadpool_shut_down(the_pool);
    lunado_threadpool_join(the_pool);
    lunado_threadpool_settle(the_pool);
    lunado_threadpool_free(the_pool);
  }
  assert_int_equal(atomic_load(&threads), 0);
  loop_drop(the_loop);
  uv_sem_destroy(&gate);
  return 0;
}

/* --- jobs ----------------------------------------------------------------- */

static void runs_every_job_once(void **state) {
  (void)state;
  open_pool(4, SIZE_MAX);
  for (int i = 0; i < MANY; i++) submit(i, '\0', NULL);
  run_until_empty();
  for (int i = 0; i < MANY; i++) assert_true(samples[i].freed);
}

static void starts_no_thread_before_a_job(void **state) {
  (void)state;
  open_pool(4, SIZE_MAX);
  assert_false(lunado_threadpool_shut_down(the_pool));
  assert_int_equal(atomic_load(&ever), 0);
}

static void one_thread_runs_jobs_in_order(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 5; i++) submit(i, (char)('a' + i), NULL);
  run_until_empty();
  assert_string_equal(noted(), "abcde");
}

/* The first ends only after the third has run. */
static void no_job_waits_while_a_thread_can_be_had(void **state) {
  (void)state;
  open_pool(3, SIZE_MAX);
  submit(0, '\0', pass);
  submit(1, '\0', pass);
  submit(2, '\0', open_gate)->then = open_gate;
  run_until_empty();
  assert_int_equal(atomic_load(&ever), 3);
}

static uv_barrier_t together;

static void meet(sample *self) {
  (void)self;
  (void)uv_barrier_wait(&together);
}

/* Each round needs all threads at the same time, however they sleep. */
static void each_job_wakes_a_thread(void **state) {
  (void)state;
  assert_int_equal(uv_barrier_init(&together, 3), 0);
  open_pool(3, SIZE_MAX);
  for (int round = 0; round < 1000; round++) {
    for (int i = 0; i < 3; i++) {
      submit(i, '\0', meet);
      if (round % 7 == i) lunado_threadpool_wake(the_pool);
    }
    if (round % 5 == 0) uv_sleep(1);
    run_until_empty();
    uv_mutex_lock(&the_pool->mutex);
    assert_true(the_pool->asleep + the_pool->woken <= 3);
    uv_mutex_unlock(&the_pool->mutex);
  }
  uv_barrier_destroy(&together);
}

static void an_idle_thread_serves_again(void **state) {
  (void)state;
  open_pool(8, SIZE_MAX);
  for (int i = 0; i < 20; i++) {
    submit(i, '\0', NULL);
    run_until_empty();
  }
  assert_int_equal(atomic_load(&ever), 1);
}

static void submit_next(sample *self) {
  if (self->input < 9) submit(self->input + 1, 'x', NULL)->then = submit_next;
}

static void done_may_submit(void **state) {
  (void)state;
  open_pool(2, SIZE_MAX);
  submit(0, 'x', NULL)->then = submit_next;
  run_until_empty();
  assert_string_equal(noted(), "xxxxxxxxxx");
}

static void a_queue_can_be_full(void **state) {
  (void)state;
  open_pool(2, 3);
  assert_int_equal(lunado_threadpool_room(the_pool), 5);
  for (int i = 0; i < 5; i++) submit(i, '\0', pass);
  assert_int_equal(lunado_threadpool_room(the_pool), 0);
  assert_int_equal(try_submit(prepare(5, '\0')), UV_ENOBUFS);
  for (int i = 0; i < 5; i++) uv_sem_post(&gate);
  run_until_empty();
  assert_int_equal(lunado_threadpool_room(the_pool), 5);
  submit(5, 'x', NULL);
  run_until_empty();
  assert_string_equal(noted(), "x");
}

static void without_a_queue_only_threads_take_jobs(void **state) {
  (void)state;
  open_pool(1, 0);
  submit(0, '\0', pass);
  assert_int_equal(try_submit(prepare(1, '\0')), UV_ENOBUFS);
  uv_sem_post(&gate);
  run_until_empty();
  submit(1, 'x', NULL);
  run_until_empty();
  assert_string_equal(noted(), "x");
}

/* --- the end -------------------------------------------------------------- */

static void a_shut_down_runs_what_is_queued(void **state) {
  (void)state;
  free_at_end = true;
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 3; i++) submit(i, (char)('a' + i), pass);
  assert_true(lunado_threadpool_shut_down(the_pool));
  assert_int_equal(try_submit(prepare(3, '\0')), UV_ECANCELED);
  for (int i = 0; i < 3; i++) uv_sem_post(&gate);
  assert_int_equal(lunado_loop_run(the_loop, true), LUNADO_RUN_STOPPED);
  assert_int_equal(endings, 1);
  assert_string_equal(noted(), "abc");
}

static void settle_needs_no_turn(void **state) {
  (void)state;
  open_pool(2, SIZE_MAX);
  for (int i = 0; i < 9; i++) submit(i, 'x', NULL);
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_join(the_pool);
  assert_string_equal(noted(), "");
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "xxxxxxxxx");
  lunado_loop_keep_alive(
      the_loop); /* else the run would not deliver messages */
  lunado_loop_stop(the_loop);
  assert_int_equal(lunado_loop_run(the_loop, false), LUNADO_RUN_STOPPED);
  lunado_loop_release(the_loop);
  for (int i = 0; i < 9; i++) assert_true(samples[i].freed);
  assert_int_equal(endings, 0);
}

static void a_thread_may_wait_for_done_before_it_ends(void **state) {
  (void)state;
  open_pool(2, SIZE_MAX);
  atomic_store(&finish_waits, true);
  for (int i = 0; i < 3; i++) submit(i, 'x', NULL)->then = open_gate;
  (void)lunado_threadpool_shut_down(the_pool);
  assert_int_equal(lunado_loop_run(the_loop, true), LUNADO_RUN_STOPPED);
  assert_int_equal(endings, 1);
  assert_string_equal(noted(), "xxx");
  lunado_threadpool_free(the_pool);

  open_pool(2, SIZE_MAX);
  for (int i = 0; i < 3; i++) submit(i, 'y', NULL)->then = open_gate;
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_drain(the_pool);
  assert_string_equal(noted(), "");
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "yyy");
  lunado_threadpool_join(the_pool);
}

static void idle_threads_can_be_woken(void **state) {
  (void)state;
  open_pool(2, SIZE_MAX);
  submit(0, '\0', open_gate);
  submit(1, '\0', pass);
  run_until_empty();
  while (atomic_load(&rests) < 2) {
    lunado_threadpool_wake(the_pool);
    uv_sleep(1);
  }
  submit(0, 'x', NULL);
  run_until_empty();
  assert_string_equal(noted(), "x");
}

static void turn_the_loop(sample *self) {
  (void)self;
  lunado_loop_keep_alive(the_loop);
  lunado_loop_stop(the_loop);
  (void)lunado_loop_run(the_loop, false);
  lunado_loop_release(the_loop);
}

static void the_loop_may_turn_while_settling(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 3; i++) submit(i, 'x', NULL)->then = turn_the_loop;
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_join(the_pool);
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "xxx");
  for (int i = 0; i < 3; i++) assert_true(samples[i].freed);
}

static void pool_can_be_freed_before_their_last_message(void **state) {
  (void)state;
  open_pool(2, SIZE_MAX);
  submit(0, 'x', NULL);
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_join(the_pool);
  lunado_threadpool_settle(the_pool);
  lunado_threadpool_free(the_pool);
  the_pool = NULL;
  assert_string_equal(noted(), "x");
}

static void what_was_not_begun_can_be_dropped(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  submit(0, 'a', open_gate);
  uv_sem_wait(&gate);
  run_until_empty();
  submit(1, 'b', pass);
  for (int i = 2; i < 5; i++) submit(i, 'c', pass);
  (void)lunado_threadpool_shut_down(the_pool);
  size_t dropped = lunado_threadpool_drop(the_pool);
  for (int i = 1; i < 5; i++) uv_sem_post(&gate);
  lunado_threadpool_join(the_pool);
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "abccc");
  assert_true(dropped == 3 || dropped == 4);
  for (int i = 2; i < 5; i++) assert_true(samples[i].job.dropped);
}

static void a_job_that_was_not_begun_can_be_withdrawn(void **state) {
  (void)state;
  open_pool(1, 2);
  submit(0, 'a', open_gate);
  uv_sem_wait(&gate);
  run_until_empty();
  submit(1, 'b', pass);
  while (lunado_threadpool_is_queued(the_pool, &samples[1].job)) continue;
  submit(2, 'c', pass);
  submit(3, 'd', NULL);
  assert_int_equal(try_submit(prepare(4, 'e')), UV_ENOBUFS);
  assert_true(lunado_threadpool_withdraw(the_pool, &samples[2].job));
  assert_false(lunado_threadpool_withdraw(the_pool, &samples[2].job));
  assert_false(lunado_threadpool_withdraw(the_pool, &samples[1].job));
  lunado_threadpool_end_dropped(the_pool, &samples[2].job);
  assert_true(samples[2].freed && samples[2].job.dropped);
  submit(4, 'e', NULL);
  uv_sem_post(&gate);
  run_until_empty();
  assert_string_equal(noted(), "acbde");
}

static void jobs_survive_their_loop(void **state) {
  lunado_loop *loop;
  (void)state;
  assert_int_equal(lunado_loop_new(&loop, NULL), 0);
  open_pool(2, SIZE_MAX);
  sample *early = prepare(0, 'e'), *late = prepare(1, 'l');
  late->act = pass;
  assert_int_equal(lunado_threadpool_submit(the_pool, loop, &early->job), 0);
  assert_int_equal(lunado_threadpool_submit(the_pool, loop, &late->job), 0);
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  assert_int_equal(lunado_threadpool_submit(the_pool, loop, &early->job),
                   UV_ECANCELED);
  uv_sem_post(&gate);
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_join(the_pool);
  assert_string_equal(noted(), "");
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "el");
  assert_true(early->freed && late->freed);
}

/* --- several loops, and several results at once ----------------------------
 */

/* Runs the submitted jobs, but does not bring them back yet. */
static void run_jobs(void) {
  (void)lunado_threadpool_shut_down(the_pool);
  lunado_threadpool_join(the_pool);
}

static void deliver(lunado_loop *loop) {
  lunado_loop_keep_alive(loop);
  lunado_loop_stop(loop);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_STOPPED);
  lunado_loop_release(loop);
}

static void one_message_brings_all_results(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 5; i++) submit(i, (char)('a' + i), NULL);
  run_jobs();
  lunado_message *last = atomic_load(&the_loop->mail.last);
  assert_non_null(last);
  assert_null(last->next);
  deliver(the_loop);
  assert_string_equal(noted(), "abcde");
}

static void jobs_return_to_their_own_loop(void **state) {
  lunado_loop *other = NULL;
  (void)state;
  assert_int_equal(lunado_loop_new(&other, NULL), 0);
  open_pool(2, SIZE_MAX);
  for (int i = 0; i < 6; i++) {
    sample *self = prepare(i, i % 2 == 0 ? 'e' : 'o');
    assert_int_equal(lunado_threadpool_submit(
                         the_pool, i % 2 == 0 ? the_loop : other, &self->job),
                     0);
  }
  assert_int_equal(lunado_loop_run(other, false), LUNADO_RUN_EMPTY);
  assert_string_equal(noted(), "ooo");
  run_until_empty();
  assert_string_equal(noted(), "eee");
  submit(0, 'x', NULL); /* the outlet to the other loop goes */
  run_until_empty();
  assert_string_equal(noted(), "x");
  lunado_loop_close(other);
  lunado_loop_unref(other);
}

/* Of the second loop, while the third is in use. */
static void many_loops_may_come_and_go(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 20; i++) {
    lunado_loop *loop = NULL;
    assert_int_equal(lunado_loop_new(&loop, NULL), 0);
    sample *self = prepare(i, 'x');
    assert_int_equal(lunado_threadpool_submit(the_pool, loop, &self->job), 0);
    assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
    assert_string_equal(noted(), "x");
    assert_ptr_equal(the_pool->outlets.next, the_pool->outlets.prev);
    lunado_loop_close(loop);
    lunado_loop_unref(loop);
  }
}

static lunado_loop *closing;

static void close_loop(sample *self) {
  (void)self;
  lunado_loop_close(closing);
}

static void a_callback_may_close_the_loop(void **state) {
  (void)state;
  assert_int_equal(lunado_loop_new(&closing, NULL), 0);
  open_pool(1, SIZE_MAX);
  for (int i = 0; i < 3; i++) {
    sample *self = prepare(i, (char)('a' + i));
    if (i == 0) self->then = close_loop;
    assert_int_equal(lunado_threadpool_submit(the_pool, closing, &self->job),
                     0);
  }
  run_jobs();
  (void)lunado_loop_run(closing, false);
  assert_string_equal(noted(), "a");
  lunado_loop_unref(closing);
  lunado_threadpool_settle(the_pool);
  assert_string_equal(noted(), "bc");
  assert_int_equal(endings, 0);
}

static void free_the_pool(sample *self) {
  lunado_threadpool *pool = the_pool;
  (void)self;
  (void)lunado_threadpool_shut_down(pool);
  lunado_threadpool_join(pool);
  lunado_threadpool_settle(pool);
  lunado_threadpool_free(pool);
}

static void a_callback_may_free_the_pool(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  submit(0, 'a', NULL)->then = free_the_pool;
  submit(1, 'b', NULL);
  submit(2, 'c', pass);
  uv_sem_post(&gate);
  run_until_empty();
  the_pool = NULL;
  assert_string_equal(noted(), "abc");
  for (int i = 0; i < 3; i++) assert_true(samples[i].freed);
}

/* --- memory --------------------------------------------------------------- */

static void a_thread_without_memory_tries_again(void **state) {
  (void)state;
  open_pool(1, SIZE_MAX);
  atomic_store(&out_of_memory, true);
  submit(0, 'a', NULL);
  run_until_empty();
  assert_int_equal(atomic_load(&without), 1);
  atomic_store(&out_of_memory, false);
  submit(1, 'b', NULL);
  run_until_empty();
  assert_int_equal(atomic_load(&without), 1);
  assert_int_equal(atomic_load(&ever), 1);
  assert_string_equal(noted(), "ab");
}

static void memory_can_be_short(void **state) {
  lunado_threadpool *pool = (lunado_threadpool *)1;
  (void)state;
  memory_fail_at(1);
  assert_int_equal(lunado_threadpool_new(&pool, 1, 1, &ops, &gate), UV_ENOMEM);
  assert_null(pool);
  open_pool(2, SIZE_MAX);
  memory_fail_at(1);
  assert_int_equal(try_submit(prepare(0, '\0')), UV_ENOMEM);
  submit(0, '\0', pass);
  memory_fail_at(1); /* with a thread, the job can wait */
  submit(1, 'x', NULL);
  assert_true(memory_failed());
  uv_sem_post(&gate);
  run_until_empty();
  assert_string_equal(noted(), "x");
  assert_int_equal(atomic_load(&ever), 1);
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, finish)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(runs_every_job_once),
      unit(starts_no_thread_before_a_job),
      unit(one_thread_runs_jobs_in_order),
      unit(no_job_waits_while_a_thread_can_be_had),
      unit(each_job_wakes_a_thread),
      unit(an_idle_thread_serves_again),
      unit(done_may_submit),
      unit(a_queue_can_be_full),
      unit(without_a_queue_only_threads_take_jobs),
      unit(a_shut_down_runs_what_is_queued),
      unit(settle_needs_no_turn),
      unit(a_thread_may_wait_for_done_before_it_ends),
      unit(idle_threads_can_be_woken),
      unit(the_loop_may_turn_while_settling),
      unit(pool_can_be_freed_before_their_last_message),
      unit(what_was_not_begun_can_be_dropped),
      unit(a_job_that_was_not_begun_can_be_withdrawn),
      unit(jobs_survive_their_loop),
      unit(one_message_brings_all_results),
      unit(jobs_return_to_their_own_loop),
      unit(many_loops_may_come_and_go),
      unit(a_callback_may_close_the_loop),
      unit(a_callback_may_free_the_pool),
      unit(a_thread_without_memory_tries_again),
      unit(memory_can_be_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
