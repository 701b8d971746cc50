/* SPDX-License-Identifier: MIT */
/* slab_test.c - numbers, constant addresses, and memory. */
#include "core/slab.h"

#include <uv.h>

#include "support.h"

enum { MANY = 10000 };

typedef struct {
  lunado_slot slot;
  uint64_t content;
} item;

static lunado_slab slab;

static int setup(void **state) {
  (void)state;
  memory_watch();
  lunado_slab_init(&slab, sizeof(item));
  return 0;
}

static int finish(void **state) {
  (void)state;
  memory_fail_at(0);
  lunado_slab_fini(&slab);
  assert_int_equal(memory_out(), 0);
  return 0;
}

static item *take(void) {
  item *self;
  assert_int_equal(lunado_slab_reserve(&slab, LUNADO_SLAB_MAX), 0);
  self = lunado_slab_take(&slab);
  assert_true(self->slot.number < slab.count);
  return self;
}

static void an_empty_slab_has_no_memory(void **state) {
  (void)state;
  lunado_slab_trim(&slab);
  assert_int_equal(memory_out(), 0);
}

static void items_have_numbers_and_stay_where_they_are(void **state) {
  static item *items[MANY];
  (void)state;
  for (uint32_t i = 0; i < MANY; i++) {
    items[i] = take();
    assert_int_equal(items[i]->content, 0);
    assert_int_equal(items[i]->slot.number, i);
    items[i]->content = i + 1;
  }
  assert_int_equal(slab.taken, MANY);
  for (uint32_t i = 0; i < MANY; i++) {
    assert_ptr_equal(lunado_slab_at(&slab, i), items[i]);
    assert_int_equal(items[i]->content, i + 1);
  }
}

static void what_is_given_back_is_taken_again(void **state) {
  item *a, *b;
  uint32_t count;
  (void)state;
  a = take();
  b = take();
  count = slab.count;
  a->content = 7;
  lunado_slab_give(&slab, a);
  lunado_slab_give(&slab, b);
  assert_int_equal(slab.taken, 0);
  assert_ptr_equal(take(), b);
  assert_ptr_equal(take(), a);
  assert_int_equal(a->content, 7);
  assert_int_equal(slab.count, count);
}

static void there_are_no_more_than_the_limit(void **state) {
  (void)state;
  for (int i = 0; i < 128; i++) {
    assert_int_equal(lunado_slab_reserve(&slab, 128), 0);
    (void)lunado_slab_take(&slab);
  }
  assert_int_equal(lunado_slab_reserve(&slab, 128), UV_ENOSPC);
  lunado_slab_give(&slab, lunado_slab_at(&slab, 5));
  assert_int_equal(lunado_slab_reserve(&slab, 128), 0);
}

static void without_memory_nothing_changes(void **state) {
  (void)state;
  for (uint32_t i = 0; i < 1000; i++) {
    lunado_slab before = slab;
    memory_fail_at(1);
    if (lunado_slab_reserve(&slab, LUNADO_SLAB_MAX) < 0) {
      assert_memory_equal(&slab, &before, sizeof slab);
      assert_true(memory_failed());
    }
    memory_fail_at(0);
    assert_int_equal(take()->slot.number, i);
  }
}

static void trimming_frees_what_is_at_the_end(void **state) {
  (void)state;
  for (int i = 0; i < MANY; i++) (void)take();
  for (uint32_t i = MANY; i-- > 1;) {
    lunado_slab_give(&slab, lunado_slab_at(&slab, i));
    lunado_slab_trim(&slab);
    assert_true(slab.count > i);
    assert_true(slab.count <= 8 * i || slab.count == LUNADO_SLAB_FIRST);
  }
  assert_int_equal(slab.count, LUNADO_SLAB_FIRST);
  assert_int_equal(memory_out(), 1);
  lunado_slab_give(&slab, lunado_slab_at(&slab, 0));
  lunado_slab_trim(&slab);
  assert_int_equal(slab.count, LUNADO_SLAB_FIRST);
  for (uint32_t i = 0; i < 1000; i++) assert_int_equal(take()->slot.number, i);
}

static void what_is_kept_does_not_keep_the_others(void **state) {
  (void)state;
  for (int i = 0; i < 1000; i++) (void)take();
  for (uint32_t i = 0; i < 1000; i++)
    if (i != 70) lunado_slab_give(&slab, lunado_slab_at(&slab, i));
  lunado_slab_trim(&slab);
  assert_int_equal(slab.count, 2 * LUNADO_SLAB_FIRST);
  assert_int_equal(slab.taken, 1);
  for (uint32_t i = 0; i < LUNADO_SLAB_FIRST; i++)
    assert_true(take()->slot.number < LUNADO_SLAB_FIRST);
}

static void a_new_block_is_of_zeros_again(void **state) {
  (void)state;
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 1000; i++) {
      item *self = take();
      if (i >= (int)LUNADO_SLAB_FIRST) assert_int_equal(self->content, 0);
      self->content = 5;
    }
    for (uint32_t i = 0; i < 1000; i++)
      lunado_slab_give(&slab, lunado_slab_at(&slab, i));
    lunado_slab_trim(&slab);
  }
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, finish)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(an_empty_slab_has_no_memory),
      unit(items_have_numbers_and_stay_where_they_are),
      unit(what_is_given_back_is_taken_again),
      unit(there_are_no_more_than_the_limit),
      unit(without_memory_nothing_changes),
      unit(trimming_frees_what_is_at_the_end),
      unit(what_is_kept_does_not_keep_the_others),
      unit(a_new_block_is_of_zeros_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
