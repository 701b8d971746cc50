/* SPDX-License-Identifier: MIT */
/* multi_test.c - a callback for the last of many futures, in any order. */
#include "core/multi.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { COUNT = 4, MANY = 100000 };

static lunado_settler settler;
static lunado_future futures[COUNT];
static lunado_multi_node nodes[COUNT];
static lunado_multi multi;
static unsigned finished;

static void on_finished(lunado_settler *s, lunado_multi *self) {
  assert_ptr_equal(s, &settler);
  assert_ptr_equal(self, &multi);
  assert_int_equal(self->pending, 0);
  finished++;
}

static int setup(void **state) {
  (void)state;
  lunado_settler_init(&settler);
  lunado_multi_init(&multi, on_finished);
  memset(nodes, 0xaa, sizeof nodes);
  for (int i = 0; i < COUNT; i++) lunado_future_init(&futures[i]);
  finished = 0;
  return 0;
}

static void settle(lunado_future *future) {
  (void)lunado_future_settle(&settler, future, LUNADO_DONE);
}

static void add_all(void) {
  for (int i = 0; i < COUNT; i++)
    lunado_multi_add(&multi, &nodes[i], &futures[i]);
}

static void of_none_is_finished_already(void **state) {
  (void)state;
  assert_int_equal(multi.pending, 0);
  assert_int_equal(finished, 0);
}

static void of_settled_ones_is_finished_already(void **state) {
  (void)state;
  for (int i = 0; i < COUNT; i++) settle(&futures[i]);
  add_all();
  assert_int_equal(multi.pending, 0);
  assert_int_equal(finished, 0);
}

static void tells_whether_any_failed(void **state) {
  (void)state;
  settle(&futures[0]);
  lunado_multi_add(&multi, &nodes[0], &futures[0]);
  lunado_multi_add(&multi, &nodes[1], &futures[1]);
  assert_false(multi.failed);
  (void)lunado_future_settle(&settler, &futures[1], LUNADO_FAILED);
  assert_true(multi.failed);
  lunado_multi_init(&multi, on_finished);
  lunado_multi_add(&multi, &nodes[2], &futures[1]);
  assert_true(multi.failed);
}

static void finishes_with_the_last_in_each_order(void **state) {
  (void)state;
  for (int first = 0; first < COUNT; first++) {
    for (int stride = 1; stride < COUNT; stride += 2) {
      setup(NULL);
      add_all();
      for (int n = 0; n < COUNT; n++) {
        assert_int_equal(multi.pending, (size_t)(COUNT - n));
        assert_int_equal(finished, 0);
        settle(&futures[(first + n * stride) % COUNT]);
      }
      assert_int_equal(finished, 1);
    }
  }
}

static void settled_and_pending_ones_mix(void **state) {
  (void)state;
  settle(&futures[0]);
  (void)lunado_future_settle(&settler, &futures[2], LUNADO_FAILED);
  add_all();
  assert_int_equal(multi.pending, 2);
  settle(&futures[3]);
  assert_int_equal(finished, 0);
  (void)lunado_future_settle(&settler, &futures[1], LUNADO_FAILED);
  assert_int_equal(finished, 1);
}

static void one_future_counts_for_each_of_its_nodes(void **state) {
  (void)state;
  lunado_multi_add(&multi, &nodes[0], &futures[0]);
  lunado_multi_add(&multi, &nodes[1], &futures[1]);
  lunado_multi_add(&multi, &nodes[2], &futures[0]);
  lunado__check_future(&futures[0]);
  assert_int_equal(multi.pending, 3);
  settle(&futures[0]);
  assert_int_equal(multi.pending, 1);
  settle(&futures[1]);
  assert_int_equal(finished, 1);
}

static void nodes_of_a_dropped_multi_can_be_forgotten(void **state) {
  (void)state;
  settle(&futures[1]);
  add_all();
  for (int i = 0; i < COUNT; i++) lunado_waiter_forget(&nodes[i].waiter);
  for (int i = 0; i < COUNT; i++) settle(&futures[i]);
  assert_int_equal(finished, 0);
}

static void a_failed_future_takes_the_place_of_a_pending_one(void **state) {
  lunado_future failed;
  (void)state;
  lunado_future_init(&failed);
  (void)lunado_future_settle(&settler, &failed, LUNADO_FAILED);
  lunado_multi_add(&multi, &nodes[0], &futures[0]);
  lunado_multi_add(&multi, &nodes[1], &futures[1]);
  lunado_waiter_forget(&nodes[0].waiter);
  assert_false(lunado_multi_fail(&multi, &nodes[0], &failed));
  assert_true(multi.failed);
  lunado_waiter_forget(&nodes[1].waiter);
  assert_true(lunado_multi_fail(&multi, &nodes[1], &failed));
  settle(&futures[0]);
  settle(&futures[1]);
  assert_int_equal(finished, 0);
}

static void many_children(void **state) {
  lunado_future *children = malloc(MANY * sizeof *children);
  lunado_multi_node *many = malloc(MANY * sizeof *many);
  (void)state;
  for (int i = 0; i < MANY; i++) {
    lunado_future_init(&children[i]);
    lunado_multi_add(&multi, &many[i], &children[i]);
  }
  for (int i = MANY; i-- > 0;) {
    assert_int_equal(finished, 0);
    settle(&children[i]);
  }
  assert_int_equal(finished, 1);
  free(children);
  free(many);
}

/* A chain: the only child of each multi is the future of the next multi. */
typedef struct {
  lunado_future future; /* settled by the callback of `multi` */
  lunado_multi multi;
  lunado_multi_node node;
} nested;

static void on_inner(lunado_settler *s, lunado_multi *self) {
  nested *level = lunado_container_of(self, nested, multi);
  (void)lunado_future_settle(s, &level->future, LUNADO_DONE);
}

static void multis_of_multis(void **state) {
  nested *levels = malloc(MANY * sizeof *levels);
  (void)state;
  for (int i = 0; i < MANY; i++) {
    lunado_future_init(&levels[i].future);
    lunado_multi_init(&levels[i].multi, on_inner);
    lunado_multi_add(&levels[i].multi, &levels[i].node,
                     i > 0 ? &levels[i - 1].future : &futures[0]);
  }
  lunado_multi_add(&multi, &nodes[0], &levels[MANY - 1].future);
  settle(&futures[0]);
  assert_int_equal(finished, 1);
  free(levels);
}

static void others_than_the_last_are_only_counted(void **state) {
  (void)state;
  add_all();
  for (int i = 0; i < COUNT - 1; i++) {
    assert_true(lunado_multi_settle(&futures[i], LUNADO_DONE));
    assert_int_equal(futures[i].state, LUNADO_DONE);
    assert_null(futures[i].waiters);
  }
  assert_int_equal(multi.pending, 1);
  assert_false(multi.failed);
  assert_false(lunado_multi_settle(&futures[COUNT - 1], LUNADO_DONE));
  assert_true(lunado_future_pending(&futures[COUNT - 1]));
  settle(&futures[COUNT - 1]);
  assert_int_equal(finished, 1);
}

static void one_that_is_only_counted_may_fail(void **state) {
  (void)state;
  add_all();
  assert_true(lunado_multi_settle(&futures[1], LUNADO_FAILED));
  assert_int_equal(futures[1].state, LUNADO_FAILED);
  assert_true(multi.failed);
}

static void one_with_other_waiters_is_not_only_counted(void **state) {
  lunado_multi_node second;
  (void)state;
  add_all();
  lunado_multi_add(&multi, &second, &futures[0]);
  assert_false(lunado_multi_settle(&futures[0], LUNADO_DONE));
  assert_true(lunado_future_pending(&futures[0]));
  assert_int_equal(multi.pending, COUNT + 1);
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, NULL)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(of_none_is_finished_already),
      unit(of_settled_ones_is_finished_already),
      unit(tells_whether_any_failed),
      unit(finishes_with_the_last_in_each_order),
      unit(settled_and_pending_ones_mix),
      unit(one_future_counts_for_each_of_its_nodes),
      unit(nodes_of_a_dropped_multi_can_be_forgotten),
      unit(a_failed_future_takes_the_place_of_a_pending_one),
      unit(others_than_the_last_are_only_counted),
      unit(one_that_is_only_counted_may_fail),
      unit(one_with_other_waiters_is_not_only_counted),
      unit(many_children),
      unit(multis_of_multis),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
