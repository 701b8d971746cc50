/* SPDX-License-Identifier: MIT */
/* loopid_test.c - ids of loops, used in time and too late. */
#include "core/loopid.h"

#include "support.h"

enum { THREADS = 4, ROUNDS = 300 };

static lunado_loopid id_of(lunado_loop *loop) {
  lunado_loopid id;
  assert_int_equal(lunado_loopid_get(loop, &id), 0);
  assert_true(id != 0);
  return id;
}

static lunado_loop *open_loop(void) {
  lunado_loop *loop;
  assert_int_equal(lunado_loop_new(&loop, NULL), 0);
  return loop;
}

static void close_loop(lunado_loop *loop) {
  lunado_loop_close(loop);
  lunado_loop_unref(loop);
}

static bool finds(lunado_loopid id, lunado_loop *loop) {
  lunado_loop *found = lunado_loopid_enter(id);
  if (found != NULL) lunado_loopid_leave(id);
  return found == loop;
}

static void a_loop_has_one_address(void **state) {
  lunado_loop *loop = *state;
  lunado_loopid id = id_of(loop);
  assert_int_equal(id_of(loop), id);
  assert_true(finds(id, loop));
  assert_true(finds(id, loop));
}

static void a_closed_loop_is_not_found(void **state) {
  lunado_loop *loop = *state;
  lunado_loopid id = id_of(loop), none;
  lunado_loop_close(loop);
  assert_true(finds(id, NULL));
  assert_int_equal(lunado_loopid_get(loop, &none), UV_ECANCELED);
  assert_int_equal(none, 0);
}

static void nobody_is_at_other_addresses(void **state) {
  lunado_loopid id = id_of(*state);
  assert_true(finds(0, NULL));
  assert_true(finds(id + LUNADO_LOOPID_MAX, NULL));
  assert_true(finds(id + 1, NULL));
}

/* Makes many times as many loops as there are places. */
static void an_address_is_not_given_again_soon(void **state) {
  lunado_loopid first = id_of(*state), last = first;
  lunado_loop *closed = open_loop();
  lunado_loopid gone = id_of(closed);
  close_loop(closed);
  for (unsigned i = 0; i < 3 * LUNADO_LOOPID_MAX; i++) {
    lunado_loop *loop = open_loop();
    lunado_loopid id = id_of(loop);
    assert_true(id != first && id != last && id != gone);
    close_loop(loop);
    last = id;
  }
  assert_true(finds(gone, NULL));
  assert_true(finds(first, *state));
}

/* Makes one more loop than there are places, all on one uv_loop_t. */
static void there_is_a_limit(void **state) {
  static lunado_loop *loops[LUNADO_LOOPID_MAX + 1];
  lunado_loop *loop = *state;
  lunado_loopid id;
  unsigned n = 0;
  int rc;
  do {
    assert_int_equal(lunado_loop_new(&loops[n], loop->uv), 0);
    rc = lunado_loopid_get(loops[n++], &id);
  } while (rc == 0);
  assert_int_equal(rc, UV_ENFILE);
  assert_int_equal(id, 0);
  assert_int_equal(n, LUNADO_LOOPID_MAX + 1);
  while (n > 0) close_loop(loops[--n]);
  (void)id_of(loop);
}

/* --- threads ------------------------------------------------------------- */

static _Atomic lunado_loopid current;
static atomic_bool over;
static atomic_uint sent, refused, handled;

typedef struct {
  lunado_message message;
  atomic_bool away;
} letter;

static void on_letter(lunado_loop *loop, lunado_message *message) {
  (void)loop;
  atomic_fetch_add(&handled, 1);
  atomic_store(&lunado_container_of(message, letter, message)->away, false);
}

/* An entered loop is open, so it accepts the message. */
static void send_letter(letter *self) {
  lunado_loopid id = atomic_load(&current);
  lunado_loop *loop = lunado_loopid_enter(id);
  if (loop == NULL) return;
  atomic_store(&self->away, true);
  atomic_fetch_add(&sent, 1);
  if (lunado_loop_send(loop, &self->message, on_letter) < 0)
    atomic_fetch_add(&refused, 1);
  lunado_loopid_leave(id);
}

static void keep_sending(void *arg) {
  letter self = {.away = false};
  (void)arg;
  while (!atomic_load(&over)) {
    if (!atomic_load(&self.away)) send_letter(&self);
    uv_sleep(0);
  }
}

static void who_has_entered_finds_the_loop_open(void **state) {
  uv_thread_t threads[THREADS];
  (void)state;
  atomic_store(&over, false);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(uv_thread_create(&threads[i], keep_sending, NULL), 0);
  for (int i = 0; i < ROUNDS || atomic_load(&sent) < ROUNDS; i++) {
    lunado_loop *loop = open_loop();
    atomic_store(&current, id_of(loop));
    lunado_loop_keep_alive(loop);
    for (int n = 0; n < 3; n++) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    close_loop(loop);
  }
  atomic_store(&over, true);
  for (int i = 0; i < THREADS; i++) (void)uv_thread_join(&threads[i]);
  assert_int_equal(atomic_load(&refused), 0);
  assert_int_equal(atomic_load(&sent), atomic_load(&handled));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(a_loop_has_one_address),
      on_both(a_closed_loop_is_not_found),
      on_own(nobody_is_at_other_addresses),
      on_own(an_address_is_not_given_again_soon),
      on_own(there_is_a_limit),
      on_own(who_has_entered_finds_the_loop_open),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
