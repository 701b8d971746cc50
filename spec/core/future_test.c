/* SPDX-License-Identifier: MIT */
/* future_test.c - settling once, the order of waiters, and the stack's
 * depth. */
#include "core/future.h"

#include <stdlib.h>

#include "support.h"

enum { MANY = 100000 };

static lunado_settler settler;

/* A waiter that notes its name when it runs, and then calls `act`. */
typedef struct named named;
struct named {
  lunado_waiter waiter;
  char name;
  void (*act)(named *self);
  lunado_future *future; /* the argument of `act` */
  named *other;          /* the other argument of `act` */
};

static void on_named(lunado_settler *s, lunado_waiter *waiter,
                     lunado_future *future) {
  named *self = lunado_container_of(waiter, named, waiter);
  assert_ptr_equal(s, &settler);
  assert_ptr_equal(future, waiter->future);
  assert_false(lunado_future_pending(future));
  assert_null(waiter->list);
  note(self->name);
  if (self->act != NULL) self->act(self);
}

static named *waits(lunado_future *future, named *self, char name) {
  *self = (named){.name = name};
  lunado_future_wait(future, &self->waiter, on_named);
  lunado__check_future(future);
  return self;
}

static void settle(lunado_future *future) {
  assert_int_equal(lunado_future_settle(&settler, future, LUNADO_DONE), 0);
  assert_null(future->waiters);
}

static int setup(void **state) {
  (void)state;
  (void)noted();
  lunado_settler_init(&settler);
  return 0;
}

static int finish(void **state) {
  (void)state;
  assert_int_equal(settler.depth, 0);
  assert_null(settler.deferred);
  return 0;
}

/* --- one future ---------------------------------------------------------- */

static void is_settled_once(void **state) {
  lunado_future future;
  (void)state;
  lunado_future_init(&future);
  assert_true(lunado_future_pending(&future));
  assert_int_equal(lunado_future_settle(&settler, &future, LUNADO_FAILED), 0);
  assert_false(lunado_future_pending(&future));
  assert_int_equal(lunado_future_settle(&settler, &future, LUNADO_DONE),
                   UV_EALREADY);
  assert_int_equal(future.state, LUNADO_FAILED);
}

static void leaves_the_owners_fields_alone(void **state) {
  lunado_future future;
  named a;
  (void)state;
  lunado_future_init(&future);
  future.kind = 7;
  future.flags = 0x8001;
  future.count = UINT32_MAX;
  waits(&future, &a, 'a');
  settle(&future);
  assert_int_equal(future.kind, 7);
  assert_int_equal(future.flags, 0x8001);
  assert_int_equal(future.count, UINT32_MAX);
}

static void runs_waiters_in_the_order_of_adding(void **state) {
  lunado_future future;
  named all[5];
  (void)state;
  lunado_future_init(&future);
  for (int i = 0; i < 5; i++) waits(&future, &all[i], (char)('a' + i));
  settle(&future);
  assert_string_equal(noted(), "abcde");
}

static void forgets_first_middle_last_and_only(void **state) {
  lunado_future future;
  named all[5];
  (void)state;
  lunado_future_init(&future);
  for (int i = 0; i < 5; i++) waits(&future, &all[i], (char)('a' + i));
  lunado_waiter_forget(&all[0].waiter);
  lunado__check_future(&future);
  lunado_waiter_forget(&all[2].waiter);
  lunado_waiter_forget(&all[2].waiter);
  lunado__check_future(&future);
  lunado_waiter_forget(&all[4].waiter);
  lunado__check_future(&future);
  waits(&future, &all[0], 'f');
  settle(&future);
  assert_string_equal(noted(), "bdf");
  lunado_waiter_forget(&all[1].waiter); /* after it ran */

  lunado_future_init(&future);
  lunado_waiter_forget(&waits(&future, &all[0], 'x')->waiter);
  settle(&future);
  assert_string_equal(noted(), "");
}

static void a_sole_waiter_can_be_taken(void **state) {
  lunado_future future;
  named a, b;
  (void)state;
  lunado_future_init(&future);
  assert_null(lunado_future_take_sole(&future, on_named));
  waits(&future, &a, 'a');
  assert_null(lunado_future_take_sole(&future, NULL));
  waits(&future, &b, 'b');
  assert_null(lunado_future_take_sole(&future, on_named));
  lunado_waiter_forget(&a.waiter);
  assert_ptr_equal(lunado_future_take_sole(&future, on_named), &b.waiter);
  lunado_waiter_forget(&b.waiter);
  waits(&future, &b, 'B');
  settle(&future);
  assert_string_equal(noted(), "B");
}

/* --- from within a callback ---------------------------------------------- */

static void forget_other(named *self) {
  lunado_waiter_forget(&self->waiter);
  lunado_waiter_forget(&self->other->waiter);
}

static void a_callback_forgets_itself_and_the_next(void **state) {
  lunado_future future;
  named a, b, c;
  (void)state;
  lunado_future_init(&future);
  waits(&future, &a, 'a')->act = forget_other;
  a.other = waits(&future, &b, 'b');
  waits(&future, &c, 'c');
  settle(&future);
  assert_string_equal(noted(), "ac");
}

static void a_callback_forgets_the_last(void **state) {
  lunado_future future;
  named a, b;
  (void)state;
  lunado_future_init(&future);
  waits(&future, &a, 'a')->act = forget_other;
  a.other = waits(&future, &b, 'b');
  settle(&future);
  assert_string_equal(noted(), "a");
}

static void settle_again(named *self) {
  assert_int_equal(
      lunado_future_settle(&settler, self->waiter.future, LUNADO_FAILED),
      UV_EALREADY);
}

static void a_callback_cannot_settle_its_future_again(void **state) {
  lunado_future future;
  named a, b;
  (void)state;
  lunado_future_init(&future);
  waits(&future, &a, 'a')->act = settle_again;
  waits(&future, &b, 'b');
  settle(&future);
  assert_string_equal(noted(), "ab");
  assert_int_equal(future.state, LUNADO_DONE);
}

static void wait_again(named *self) {
  lunado_future *next = self->future;
  waits(next, self, 'A');
}

static void a_callback_waits_with_the_same_waiter(void **state) {
  lunado_future first, second;
  named a, b;
  (void)state;
  lunado_future_init(&first);
  lunado_future_init(&second);
  waits(&first, &a, 'a')->act = wait_again;
  a.future = &second;
  waits(&first, &b, 'b');
  settle(&first);
  settle(&second);
  assert_string_equal(noted(), "abA");
}

static void settle_other(named *self) {
  note('(');
  (void)lunado_future_settle(&settler, self->future, LUNADO_DONE);
  note(')');
}

static void a_callback_settles_another_future_at_once(void **state) {
  lunado_future first, second;
  named a, b, c;
  (void)state;
  lunado_future_init(&first);
  lunado_future_init(&second);
  waits(&first, &a, 'a')->act = settle_other;
  a.future = &second;
  waits(&first, &b, 'b');
  waits(&second, &c, 'c');
  settle(&first);
  assert_string_equal(noted(), "a(c)b");
}

static void free_future(named *self) {
  free(self->future);
  self->future = NULL;
}

static void a_future_may_be_dropped_while_pending(void **state) {
  lunado_future first, *second = malloc(sizeof *second);
  named a;
  (void)state;
  lunado_future_init(&first);
  lunado_future_init(second);
  waits(&first, &a, 'a')->act = free_future;
  a.future = second;
  settle(&first);
  assert_null(a.future);
}

/* --- depth --------------------------------------------------------------- */

typedef struct {
  lunado_future future;
  lunado_waiter waiter; /* waits for the previous future of the chain */
} chained;

static chained *chain;
static uintptr_t stack_low, stack_high;
static size_t ran;

static void on_chained(lunado_settler *s, lunado_waiter *waiter,
                       lunado_future *future) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  chained *self = lunado_container_of(waiter, chained, waiter);
  assert_ptr_equal(future, &(self - 1)->future);
  if (here < stack_low) stack_low = here;
  if (here > stack_high) stack_high = here;
  ran++;
  assert_int_equal(lunado_future_settle(s, &self->future, LUNADO_DONE), 0);
}

static void open_chain(void) {
  chain = malloc(MANY * sizeof *chain);
  for (size_t i = 0; i < MANY; i++) {
    lunado_future_init(&chain[i].future);
    if (i > 0)
      lunado_future_wait(&chain[i - 1].future, &chain[i].waiter, on_chained);
  }
  stack_low = UINTPTR_MAX;
  stack_high = 0;
  ran = 0;
}

static void a_long_chain_takes_little_stack(void **state) {
  (void)state;
  open_chain();
  settle(&chain[0].future);
  assert_int_equal(ran, MANY - 1);
  for (size_t i = 0; i < MANY; i++)
    assert_int_equal(chain[i].future.state, LUNADO_DONE);
  assert_true(stack_high - stack_low < 64 * 1024);
  free(chain);
}

static void a_cut_chain_runs_up_to_the_cut(void **state) {
  (void)state;
  open_chain();
  lunado_waiter_forget(&chain[MANY / 2].waiter);
  settle(&chain[0].future);
  assert_int_equal(ran, MANY / 2 - 1);
  settle(&chain[MANY / 2].future);
  assert_int_equal(ran, MANY - 2);
  free(chain);
}

static void many_waiters_of_one_future_run(void **state) {
  lunado_future future;
  named *all = malloc(MANY * sizeof *all);
  (void)state;
  lunado_future_init(&future);
  for (size_t i = 0; i < MANY; i++) {
    all[i] = (named){.name = '\0'};
    lunado_future_wait(&future, &all[i].waiter, on_named);
  }
  for (size_t i = 1; i < MANY; i += 2) lunado_waiter_forget(&all[i].waiter);
  lunado__check_future(&future);
  for (size_t i = 0; i < MANY; i += 2) lunado_waiter_forget(&all[i].waiter);
  assert_null(future.waiters);
  settle(&future);
  free(all);
}

/* Futures whose settles nest to the maximum depth at which waiters run. */
typedef struct {
  lunado_future levels[LUNADO_SETTLE_DEPTH + 1];
  named steps[LUNADO_SETTLE_DEPTH];
} well;

static void dig(well *self) {
  for (int i = 0; i <= LUNADO_SETTLE_DEPTH; i++)
    lunado_future_init(&self->levels[i]);
  for (int i = 0; i < LUNADO_SETTLE_DEPTH; i++) {
    waits(&self->levels[i], &self->steps[i], '.')->act = settle_other;
    self->steps[i].future = &self->levels[i + 1];
  }
}

static void what_is_too_deep_runs_before_settle_returns(void **state) {
  well w;
  named a, b;
  (void)state;
  dig(&w);
  waits(&w.levels[LUNADO_SETTLE_DEPTH], &a, 'a');
  waits(&w.levels[LUNADO_SETTLE_DEPTH], &b, 'b');
  settle(&w.levels[0]);
  assert_string_equal(noted(),
                      ".(.(.(.(.(.(.(.(.(.(.(.(.(.(.(.()ab)))))))))))))))");
}

static void forget_deferred(named *self) {
  settle_other(self);
  assert_non_null(self->other->waiter.list);
  lunado_waiter_forget(&self->other->waiter);
}

static void one_that_was_put_off_can_be_forgotten(void **state) {
  well w;
  named a, b, c;
  (void)state;
  dig(&w);
  waits(&w.levels[LUNADO_SETTLE_DEPTH], &a, 'a');
  waits(&w.levels[LUNADO_SETTLE_DEPTH], &b, 'b');
  waits(&w.levels[LUNADO_SETTLE_DEPTH], &c, 'c');
  w.steps[LUNADO_SETTLE_DEPTH - 1].act = forget_deferred;
  w.steps[LUNADO_SETTLE_DEPTH - 1].other = &a;
  settle(&w.levels[0]);
  assert_string_equal(noted(),
                      ".(.(.(.(.(.(.(.(.(.(.(.(.(.(.(.()bc)))))))))))))))");
}

static void flush_runs_what_was_put_off(void **state) {
  lunado_future future;
  named a, b;
  (void)state;
  lunado_future_init(&future);
  waits(&future, &a, 'a');
  waits(&future, &b, 'b');
  settler.depth = LUNADO_SETTLE_DEPTH;
  settle(&future);
  assert_string_equal(noted(), "");
  settler.depth = 0;
  lunado_settler_flush(&settler);
  assert_string_equal(noted(), "ab");
  lunado_settler_flush(&settler);
  assert_string_equal(noted(), "");
}

/* --- compared with a model ------------------------------------------------ */

enum { FUTURES = 64, WAITERS = 256, ROUNDS = 2000 };

typedef struct {
  lunado_waiter waiter;
  bool expected; /* linked, and neither run nor forgotten */
} chance;

static lunado_future futures[FUTURES];
static chance chances[WAITERS];

static void on_chance(lunado_settler *s, lunado_waiter *waiter,
                      lunado_future *future);

static void act_at_random(void) {
  lunado_future *future = &futures[random_below(FUTURES)];
  chance *one = &chances[random_below(WAITERS)];
  switch (random_below(4)) {
  case 0:
    (void)lunado_future_settle(&settler, future, LUNADO_DONE);
    break;
  case 1:
    lunado_waiter_forget(&one->waiter);
    one->expected = false;
    break;
  default:
    if (one->expected || !lunado_future_pending(future)) return;
    lunado_future_wait(future, &one->waiter, on_chance);
    one->expected = true;
  }
}

static void on_chance(lunado_settler *s, lunado_waiter *waiter,
                      lunado_future *future) {
  chance *one = lunado_container_of(waiter, chance, waiter);
  assert_ptr_equal(s, &settler);
  assert_false(lunado_future_pending(future));
  assert_true(one->expected);
  one->expected = false;
  for (uint32_t n = random_below(3); n > 0; n--) act_at_random();
}

static void anything_from_anywhere(void **state) {
  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < FUTURES; i++) lunado_future_init(&futures[i]);
    for (int i = 0; i < WAITERS; i++) chances[i] = (chance){{0}, false};
    for (int i = 0; i < WAITERS; i++) act_at_random();
    for (int i = 0; i < FUTURES; i++) lunado__check_future(&futures[i]);
    for (int i = 0; i < FUTURES; i++)
      (void)lunado_future_settle(&settler, &futures[i], LUNADO_FAILED);
    for (int i = 0; i < WAITERS; i++) assert_false(chances[i].expected);
  }
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, finish)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(is_settled_once),
      unit(leaves_the_owners_fields_alone),
      unit(runs_waiters_in_the_order_of_adding),
      unit(forgets_first_middle_last_and_only),
      unit(a_sole_waiter_can_be_taken),
      unit(a_callback_forgets_itself_and_the_next),
      unit(a_callback_forgets_the_last),
      unit(a_callback_cannot_settle_its_future_again),
      unit(a_callback_waits_with_the_same_waiter),
      unit(a_callback_settles_another_future_at_once),
      unit(a_future_may_be_dropped_while_pending),
      unit(a_long_chain_takes_little_stack),
      unit(a_cut_chain_runs_up_to_the_cut),
      unit(many_waiters_of_one_future_run),
      unit(what_is_too_deep_runs_before_settle_returns),
      unit(one_that_was_put_off_can_be_forgotten),
      unit(flush_runs_what_was_put_off),
      unit(anything_from_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
