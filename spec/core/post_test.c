/* SPDX-License-Identifier: MIT */
/* post_test.c - messages and posts from threads and from signal handlers. */
#include "core/post.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { THREADS = 8, EACH = 2000, ROUNDS = 60 };

typedef struct named named;
struct named {
  lunado_message message;
  char name;
  void (*act)(lunado_loop *loop, named *self);
};

static named messages[8];

static void on_named(lunado_loop *loop, lunado_message *message) {
  named *self = lunado_container_of(message, named, message);
  note(self->name);
  if (self->act != NULL) self->act(loop, self);
}

static named *make(int i, char name) {
  messages[i] = (named){.name = name};
  return &messages[i];
}

static int mail(lunado_loop *loop, named *self) {
  return lunado_loop_send(loop, &self->message, on_named);
}

/* Runs one turn, with a slice that does not expire. */
static void turn(lunado_loop *loop) {
  lunado_loop_set_slice(loop, 60 * 1000000000ull);
  lunado_loop_keep_alive(loop);
  (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  lunado_loop_release(loop);
  lunado__check(loop);
}

/* --- messages ------------------------------------------------------------ */

static void messages_come_in_order(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 5; i++)
    assert_int_equal(mail(loop, make(i, (char)('a' + i))), 0);
  assert_string_equal(noted(), "");
  turn(loop);
  assert_string_equal(noted(), "abcde");
  turn(loop);
  assert_string_equal(noted(), "");
}

static void send_again(lunado_loop *loop, named *self) {
  assert_int_equal(mail(loop, self), 0);
}

static void one_can_be_sent_again_from_its_callback(void **state) {
  lunado_loop *loop = *state;
  make(0, 'a')->act = send_again;
  assert_int_equal(mail(loop, &messages[0]), 0);
  assert_int_equal(mail(loop, make(1, 'b')), 0);
  turn(loop);
  assert_string_equal(noted(), "ab");
  turn(loop);
  assert_string_equal(noted(), "a");
  messages[0].act = NULL;
  turn(loop);
  assert_string_equal(noted(), "a");
}

static void forget(lunado_loop *loop, named *self) {
  (void)loop;
  memset(self, 0xee, sizeof *self);
}

static void its_storage_is_free_in_its_callback(void **state) {
  lunado_loop *loop = *state;
  make(0, 'a')->act = forget;
  make(1, 'b');
  (void)mail(loop, &messages[0]);
  (void)mail(loop, &messages[1]);
  turn(loop);
  assert_string_equal(noted(), "ab");
}

static void a_message_alone_keeps_nothing_alive(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(mail(loop, make(0, 'a')), 0);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  turn(loop);
  assert_string_equal(noted(), "a");
}

/* --- closing ------------------------------------------------------------- */

static void expect_closed(lunado_loop *loop, named *self) {
  (void)self;
  assert_true(loop->closed);
  lunado__check(loop);
}

static void closing_handles_what_was_accepted(void **state) {
  lunado_loop *loop = *state;
  for (int i = 0; i < 3; i++) {
    make(i, (char)('a' + i))->act = expect_closed;
    assert_int_equal(mail(loop, &messages[i]), 0);
  }
  lunado_loop_close(loop);
  assert_string_equal(noted(), "abc");
  assert_int_equal(mail(loop, make(3, 'x')), UV_ECANCELED);
  assert_int_equal(lunado_loop_open_posts(loop), 0);
  assert_int_equal(lunado_loop_post(loop, NULL, NULL), UV_ECANCELED);
}

static void send_one_and_close(lunado_loop *loop, named *self) {
  (void)self;
  make(5, 'z')->act = expect_closed;
  assert_int_equal(mail(loop, &messages[5]), 0);
  lunado_loop_close(loop);
  note('.');
}

/* Messages that arrived earlier are handled earlier, and all of them before
 * lunado_loop_close returns. */
static void a_message_that_closes_keeps_the_order(void **state) {
  lunado_loop *loop = *state;
  make(0, 'a')->act = send_one_and_close;
  make(1, 'b')->act = expect_closed;
  make(2, 'c')->act = expect_closed;
  for (int i = 0; i < 3; i++) assert_int_equal(mail(loop, &messages[i]), 0);
  turn(loop);
  assert_string_equal(noted(), "abcz.");
}

static void send_in_vain_and_close(lunado_loop *loop, named *self) {
  assert_true(loop->closed);
  assert_int_equal(mail(loop, self), UV_ECANCELED);
  lunado_loop_close(loop);
}

static void closing_once_more_while_closing_is_harmless(void **state) {
  lunado_loop *loop = *state;
  make(0, 'a')->act = send_in_vain_and_close;
  make(1, 'b')->act = expect_closed;
  (void)mail(loop, &messages[0]);
  (void)mail(loop, &messages[1]);
  lunado_loop_close(loop);
  assert_string_equal(noted(), "ab");
}

/* --- threads ------------------------------------------------------------- */

typedef struct {
  lunado_message message;
  unsigned sender, number;
  bool accepted; /* written by the sender, read after it is joined */
  bool handled;
} parcel;

typedef struct {
  lunado_loop *loop;
  unsigned id;
  parcel parcels[EACH];
} sender;

static sender *senders;
static unsigned next[THREADS]; /* the smallest number that may come next */
static unsigned handled;
static unsigned close_after;

static void on_parcel(lunado_loop *loop, lunado_message *message) {
  parcel *self = lunado_container_of(message, parcel, message);
  assert_false(self->handled);
  assert_true(self->number == next[self->sender]);
  self->handled = true;
  next[self->sender]++;
  handled++;
  if (handled == close_after) lunado_loop_close(loop);
}

static void send_all(void *arg) {
  sender *self = arg;
  for (unsigned i = 0; i < EACH; i++) {
    parcel *p = &self->parcels[i];
    p->sender = self->id;
    p->number = i;
    p->handled = false;
    p->accepted = lunado_loop_send(self->loop, &p->message, on_parcel) == 0;
    if (i % 64 == 0) sched_yield();
  }
  lunado_loop_unref(self->loop);
}

static void send_from_threads(lunado_loop *loop, uv_thread_t *threads) {
  memset(next, 0, sizeof next);
  handled = 0;
  for (unsigned i = 0; i < THREADS; i++) {
    senders[i].loop = loop;
    senders[i].id = i;
    lunado_loop_ref(loop);
    assert_int_equal(uv_thread_create(&threads[i], send_all, &senders[i]), 0);
  }
}

static void join(uv_thread_t *threads) {
  for (int i = 0; i < THREADS; i++) uv_thread_join(&threads[i]);
}

static void each_message_of_eight_threads_comes_once(void **state) {
  lunado_loop *loop = *state;
  uv_thread_t threads[THREADS];
  senders = malloc(THREADS * sizeof *senders);
  close_after = 0;
  lunado_loop_keep_alive(loop);
  send_from_threads(loop, threads);
  while (handled < THREADS * EACH) (void)uv_run(loop->uv, UV_RUN_ONCE);
  lunado_loop_release(loop);
  join(threads);
  free(senders);
}

/* Closes the loop in a message's callback, or between two turns, while eight
 * threads send. */
static void close_under_fire(bool from_callback) {
  uv_thread_t threads[THREADS];
  lunado_loop *loop = loop_open(from_callback);
  unsigned limit = 1 + random_below(THREADS * EACH / 8);
  close_after = from_callback ? limit : 0;
  send_from_threads(loop, threads);
  lunado_loop_keep_alive(loop);
  while (handled < limit && !loop->closed)
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
  join(threads);
  for (int i = 0; i < THREADS; i++)
    for (int n = 0; n < EACH; n++)
      assert_true(senders[i].parcels[n].accepted ==
                  senders[i].parcels[n].handled);
  loop_gone();
}

static void a_closing_loop_loses_none(void **state) {
  (void)state;
  senders = malloc(THREADS * sizeof *senders);
  for (int i = 0; i < ROUNDS; i++) close_under_fire(i % 2 == 0);
  free(senders);
}

static atomic_bool inside, left;

/* Stands for a sender inside lunado_loop_send. */
static void linger(void *arg) {
  lunado_loop *loop = arg;
  atomic_fetch_add(&loop->mail.senders, 1);
  atomic_store(&inside, true);
  for (int i = 0; i < 100; i++) sched_yield();
  atomic_store(&left, true);
  atomic_fetch_sub(&loop->mail.senders, 1);
}

static void closing_waits_for_senders(void **state) {
  lunado_loop *loop = *state;
  uv_thread_t thread;
  atomic_store(&inside, false);
  atomic_store(&left, false);
  assert_int_equal(uv_thread_create(&thread, linger, loop), 0);
  while (!atomic_load(&inside)) sched_yield();
  lunado_loop_close(loop);
  assert_true(atomic_load(&left));
  uv_thread_join(&thread);
}

/* --- posts --------------------------------------------------------------- */

static void on_post(void *arg) { note(*(char *)arg); }

static char letters[] = "abcdefgh";

static void posts_come_in_order(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(lunado_loop_open_posts(loop), 0);
  assert_int_equal(lunado_loop_open_posts(loop), 0);
  for (int i = 0; i < 8; i++)
    assert_int_equal(lunado_loop_post(loop, on_post, &letters[i]), 0);
  turn(loop);
  assert_string_equal(noted(), "abcdefgh");
}

static unsigned posted;

static void on_counted(void *arg) {
  (void)arg;
  posted++;
}

static void posts_have_a_limit_and_recover(void **state) {
  lunado_loop *loop = *state;
  assert_int_equal(lunado_loop_open_posts(loop), 0);
  for (unsigned round = 1; round <= 3; round++) {
    for (unsigned i = 0; i < LUNADO_POSTS; i++)
      assert_int_equal(lunado_loop_post(loop, on_counted, NULL), 0);
    assert_int_equal(lunado_loop_post(loop, on_counted, NULL), UV_ENOBUFS);
    assert_int_equal(lunado_loop_post(loop, on_counted, NULL), UV_ENOBUFS);
    posted = 0;
    turn(loop);
    assert_int_equal(posted, LUNADO_POSTS);
  }
}

static lunado_loop *posting_to;

static void post_again(void *arg) {
  posted++;
  assert_int_equal(lunado_loop_post(posting_to, on_post, arg), 0);
}

static void a_full_house_can_post_from_its_callbacks(void **state) {
  lunado_loop *loop = posting_to = *state;
  (void)lunado_loop_open_posts(loop);
  posted = 0;
  for (unsigned i = 0; i < LUNADO_POSTS; i++) {
    char *letter = &letters[i % 8];
    assert_int_equal(
        lunado_loop_post(loop, i < 8 ? post_again : on_counted, letter), 0);
  }
  turn(loop);
  assert_int_equal(posted, LUNADO_POSTS);
  turn(loop);
  assert_string_equal(noted(), "abcdefgh");
}

static void without_memory_posts_stay_shut(void **state) {
  lunado_loop *loop = *state;
  memory_fail_at(1);
  assert_int_equal(lunado_loop_open_posts(loop), UV_ENOMEM);
  lunado__check(loop);
  assert_int_equal(lunado_loop_open_posts(loop), 0);
}

static void close_loop(void *arg) {
  note('a');
  lunado_loop_close(arg);
}

static void closing_drops_posts_on_their_way(void **state) {
  lunado_loop *loop = *state;
  (void)lunado_loop_open_posts(loop);
  (void)lunado_loop_post(loop, close_loop, loop);
  (void)lunado_loop_post(loop, on_post, &letters[1]);
  turn(loop);
  assert_string_equal(noted(), "a");
  assert_int_equal(lunado_loop_post(loop, on_post, letters), UV_ECANCELED);
}

static atomic_uint accepted;

/* Runs on a thread. */
static void post_all(void *arg) {
  for (unsigned i = 0; i < EACH; i++) {
    int rc;
    while ((rc = lunado_loop_post(arg, on_counted, NULL)) == UV_ENOBUFS)
      sched_yield();
    if (rc == 0) atomic_fetch_add(&accepted, 1);
  }
}

static void eight_threads_share_the_posts(void **state) {
  lunado_loop *loop = *state;
  uv_thread_t threads[THREADS];
  (void)lunado_loop_open_posts(loop);
  posted = 0;
  atomic_store(&accepted, 0);
  lunado_loop_keep_alive(loop);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(uv_thread_create(&threads[i], post_all, loop), 0);
  while (posted < THREADS * EACH) (void)uv_run(loop->uv, UV_RUN_ONCE);
  lunado_loop_release(loop);
  join(threads);
  assert_int_equal(atomic_load(&accepted), THREADS * EACH);
}

/* --- signals ------------------------------------------------------------- */

static void on_signal(int number) {
  (void)number;
  if (lunado_loop_post(posting_to, on_counted, NULL) == 0)
    atomic_fetch_add(&accepted, 1);
}

static void interrupt(void *arg) {
  pthread_t *victim = arg;
  for (int i = 0; i < EACH; i++) {
    pthread_kill(*victim, SIGUSR1);
    if (i % 8 == 0) sched_yield();
  }
}

/* The handler may interrupt its thread at any place: while it sends, takes a
 * post or handles messages. */
static void a_signal_handler_may_post(void **state) {
  lunado_loop *loop = posting_to = *state;
  struct sigaction action, before;
  pthread_t self = pthread_self();
  uv_thread_t thread;
  (void)lunado_loop_open_posts(loop);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, &before);
  posted = 0;
  atomic_store(&accepted, 0);
  assert_int_equal(uv_thread_create(&thread, interrupt, &self), 0);
  for (int i = 0; i < EACH; i++) {
    if (lunado_loop_post(loop, on_counted, NULL) == 0)
      atomic_fetch_add(&accepted, 1);
    if (i % 4 == 0) turn(loop);
  }
  uv_thread_join(&thread);
  sigaction(SIGUSR1, &before, NULL);
  turn(loop);
  assert_int_equal(posted, atomic_load(&accepted));
}

/* --- a thread that pauses ------------------------------------------------- */

static atomic_bool goes, ends;
static atomic_uint stopped, gone; /* pauses that began, and that ended */

/* The pause has a limit, because libuv waits for a thread that is paused inside
 * of libuv. */
static void on_pause(int number) {
  (void)number;
  atomic_fetch_add(&stopped, 1);
  for (int i = 0; i < 100000 && !atomic_load(&goes); i++) continue;
  atomic_fetch_add(&gone, 1);
}

static void post_on_and_on(void *arg) {
  while (!atomic_load(&ends))
    if (lunado_loop_post(arg, on_counted, NULL) == 0)
      atomic_fetch_add(&accepted, 1);
}

/* Called when the thread's own post is free again and the next one is still in
 * use: lets the thread go on from where it paused. */
static void let_go_on(void *arg) {
  unsigned before = atomic_load(&accepted);
  (void)arg;
  posted++;
  atomic_store(&goes, true);
  for (int i = 0; i < 1000 && atomic_load(&accepted) < before + 2; i++)
    sched_yield();
}

static void stop_anywhere(lunado_loop *loop, pthread_t thread) {
  unsigned before = atomic_load(&stopped);
  turn(loop); /* now posts are free */
  atomic_store(&goes, false);
  pthread_kill(thread, SIGUSR2);
  while (atomic_load(&stopped) == before) continue;
  for (int i = 0; i < 2; i++)
    if (lunado_loop_post(loop, i == 0 ? let_go_on : on_counted, NULL) == 0)
      atomic_fetch_add(&accepted, 1);
  turn(loop);
  atomic_store(&goes, true);
  while (atomic_load(&gone) == before) sched_yield();
}

/* A thread that pauses while it takes a post must not be confused by what other
 * threads do meanwhile. */
static void a_thread_may_stand_still_anywhere(void **state) {
  lunado_loop *loop = *state;
  struct sigaction action, before;
  uv_thread_t thread;
  (void)lunado_loop_open_posts(loop);
  memset(&action, 0, sizeof action);
  action.sa_handler = on_pause;
  sigaction(SIGUSR2, &action, &before);
  atomic_store(&ends, false);
  atomic_store(&accepted, 0);
  posted = 0;
  assert_int_equal(uv_thread_create(&thread, post_on_and_on, loop), 0);
  for (int i = 0; i < 5 * ROUNDS; i++) stop_anywhere(loop, thread);
  atomic_store(&ends, true);
  uv_thread_join(&thread);
  turn(loop);
  sigaction(SIGUSR2, &before, NULL);
  assert_int_equal(posted, atomic_load(&accepted));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(messages_come_in_order),
      on_own(one_can_be_sent_again_from_its_callback),
      on_own(its_storage_is_free_in_its_callback),
      on_both(a_message_alone_keeps_nothing_alive),
      on_both(closing_handles_what_was_accepted),
      on_both(a_message_that_closes_keeps_the_order),
      on_both(closing_once_more_while_closing_is_harmless),
      on_both(each_message_of_eight_threads_comes_once),
      cmocka_unit_test(a_closing_loop_loses_none),
      on_both(closing_waits_for_senders),
      on_both(posts_come_in_order),
      on_own(posts_have_a_limit_and_recover),
      on_own(a_full_house_can_post_from_its_callbacks),
      on_own(without_memory_posts_stay_shut),
      on_both(closing_drops_posts_on_their_way),
      on_own(eight_threads_share_the_posts),
      on_both(a_signal_handler_may_post),
      on_own(a_thread_may_stand_still_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
