/* SPDX-License-Identifier: MIT */
/* waititer_test.c - futures in the order in which they are settled. */
#include "core/waititer.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { COUNT = 5, MANY = 100000 };

static lunado_settler settler;
static lunado_future futures[COUNT];
static lunado_waititer_node nodes[COUNT];
static lunado_waititer iter;
static unsigned told;

static void on_one(lunado_settler *s, lunado_waititer *self) {
  assert_ptr_equal(s, &settler);
  assert_ptr_equal(self, &iter);
  assert_non_null(self->first);
  told++;
}

static int setup(void **state) {
  (void)state;
  (void)noted();
  lunado_settler_init(&settler);
  lunado_waititer_init(&iter, on_one);
  iter.wanted = true;
  memset(nodes, 0xaa, sizeof nodes);
  for (int i = 0; i < COUNT; i++) lunado_future_init(&futures[i]);
  told = 0;
  return 0;
}

static void settle(int i) {
  assert_int_equal(lunado_future_settle(&settler, &futures[i], LUNADO_DONE), 0);
}

static void add_all(void) {
  for (int i = 0; i < COUNT; i++)
    lunado_waititer_add(&iter, &nodes[i], &futures[i]);
}

/* Takes the next future and notes its number; notes '-' if there is none. */
static void take(void) {
  lunado_waititer_node *node = lunado_waititer_take(&iter);
  note(node != NULL ? (char)('0' + (node - nodes)) : '-');
}

static void take_all(void) {
  while (iter.first != NULL) take();
}

static void over_nothing_is_done(void **state) {
  (void)state;
  assert_true(lunado_waititer_done(&iter));
  assert_null(lunado_waititer_take(&iter));
}

static void gives_the_order_of_settling(void **state) {
  (void)state;
  add_all();
  take();
  settle(3);
  settle(0);
  take();
  settle(4);
  take();
  take();
  take();
  settle(2);
  settle(1);
  assert_false(lunado_waititer_done(&iter));
  take_all();
  assert_string_equal(noted(), "-304-21");
  assert_true(lunado_waititer_done(&iter));
  assert_int_equal(told, COUNT);
}

static void settled_ones_come_first_in_the_order_of_adding(void **state) {
  (void)state;
  settle(4);
  settle(2);
  add_all();
  assert_int_equal(told, 0);
  settle(0);
  take_all();
  assert_string_equal(noted(), "240");
  assert_int_equal(told, 1);
  assert_int_equal(iter.remaining, 2);
}

static void one_future_comes_once_for_each_node(void **state) {
  (void)state;
  lunado_waititer_add(&iter, &nodes[0], &futures[0]);
  lunado_waititer_add(&iter, &nodes[1], &futures[1]);
  lunado_waititer_add(&iter, &nodes[2], &futures[0]);
  settle(0);
  settle(1);
  take_all();
  assert_string_equal(noted(), "021");
}

static void futures_can_be_added_on_the_way(void **state) {
  (void)state;
  lunado_waititer_add(&iter, &nodes[0], &futures[0]);
  settle(0);
  take();
  assert_true(lunado_waititer_done(&iter));
  lunado_waititer_add(&iter, &nodes[1], &futures[0]);
  lunado_waititer_add(&iter, &nodes[2], &futures[2]);
  assert_int_equal(iter.remaining, 2);
  settle(2);
  take_all();
  assert_string_equal(noted(), "012");
}

static void on_take(lunado_settler *s, lunado_waititer *self) {
  (void)s;
  assert_ptr_equal(self, &iter);
  take();
}

static void the_callback_may_take(void **state) {
  (void)state;
  iter.cb = on_take;
  add_all();
  settle(1);
  settle(4);
  settle(0);
  assert_string_equal(noted(), "140");
  assert_null(iter.first);
  assert_int_equal(iter.remaining, 2);
}

static void on_settle_next(lunado_settler *s, lunado_waititer *self) {
  (void)s;
  (void)self;
  for (int i = 0; i < COUNT; i++) {
    if (!lunado_future_pending(&futures[i])) continue;
    settle(i);
    return;
  }
}

static void the_callback_may_settle_the_next(void **state) {
  (void)state;
  iter.cb = on_settle_next;
  add_all();
  settle(2);
  take_all();
  assert_string_equal(noted(), "20134");
}

static void nodes_of_a_dropped_iterator_can_be_forgotten(void **state) {
  (void)state;
  settle(1);
  add_all();
  settle(2);
  for (int i = 0; i < COUNT; i++) lunado_waiter_forget(&nodes[i].waiter);
  settle(0);
  assert_int_equal(told, 1);
}

static void many_futures(void **state) {
  lunado_future *all = malloc(MANY * sizeof *all);
  lunado_waititer_node *many = malloc(MANY * sizeof *many);
  (void)state;
  for (int i = 0; i < MANY; i++) {
    lunado_future_init(&all[i]);
    lunado_waititer_add(&iter, &many[i], &all[i]);
  }
  for (int i = 0; i < MANY; i++)
    (void)lunado_future_settle(&settler, &all[(i * 7) % MANY], LUNADO_DONE);
  for (int i = 0; i < MANY; i++)
    assert_ptr_equal(lunado_waititer_take(&iter), &many[(i * 7) % MANY]);
  assert_true(lunado_waititer_done(&iter));
  assert_int_equal(told, MANY);
  free(all);
  free(many);
}

static void is_not_told_of_what_it_does_not_want(void **state) {
  (void)state;
  iter.wanted = false;
  add_all();
  settle(1);
  assert_int_equal(told, 0);
  take_all();
  assert_string_equal(noted(), "1");
}

static void one_that_nobody_has_to_be_told_of_is_only_queued(void **state) {
  (void)state;
  iter.wanted = false;
  add_all();
  assert_true(lunado_waititer_settle(&futures[2], LUNADO_FAILED));
  assert_int_equal(futures[2].state, LUNADO_FAILED);
  assert_null(futures[2].waiters);
  settle(0);
  assert_true(lunado_waititer_settle(&futures[1], LUNADO_DONE));
  take_all();
  assert_string_equal(noted(), "201");
}

static void whoever_has_to_be_told_is(void **state) {
  lunado_waititer_node second;
  (void)state;
  add_all();
  assert_false(lunado_waititer_settle(&futures[0], LUNADO_DONE));
  iter.wanted = false;
  lunado_waititer_add(&iter, &second, &futures[1]);
  assert_false(lunado_waititer_settle(&futures[1], LUNADO_DONE));
  assert_true(lunado_future_pending(&futures[0]));
  assert_true(lunado_future_pending(&futures[1]));
  assert_null(iter.first);
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, NULL)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(over_nothing_is_done),
      unit(gives_the_order_of_settling),
      unit(settled_ones_come_first_in_the_order_of_adding),
      unit(one_future_comes_once_for_each_node),
      unit(futures_can_be_added_on_the_way),
      unit(the_callback_may_take),
      unit(the_callback_may_settle_the_next),
      unit(nodes_of_a_dropped_iterator_can_be_forgotten),
      unit(is_not_told_of_what_it_does_not_want),
      unit(one_that_nobody_has_to_be_told_of_is_only_queued),
      unit(whoever_has_to_be_told_is),
      unit(many_futures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
