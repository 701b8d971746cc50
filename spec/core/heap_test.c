/* SPDX-License-Identifier: MIT */
/* heap_test.c - order, numbers and memory, compared with a model. */
#include "core/heap.h"

#include <math.h>
#include <stdlib.h>
#include <uv.h>

#include "core/timer.h"
#include "support.h"

enum { MANY = 100000, FEW = 300 };

static lunado_heap heap;

static int setup(void **state) {
  (void)state;
  memory_watch();
  lunado_heap_init(&heap);
  return 0;
}

static int finish(void **state) {
  (void)state;
  memory_fail_at(0);
  lunado_heap_fini(&heap);
  assert_int_equal(memory_out(), 0);
  return 0;
}

static void add(double when, lunado_timer *timer) {
  assert_int_equal(lunado_heap_push(&heap, when, timer), 0);
}

/* Returns the earliest timer, or NULL. */
static lunado_timer *min_timer(void) {
  const lunado_heap_entry *entry = lunado_heap_min(&heap);
  return entry != NULL ? heap.timers[entry->number].timer : NULL;
}

static lunado_timer *pop(void) {
  lunado_timer *first = min_timer();
  lunado_timer *timer = lunado_heap_pop(&heap);
  assert_ptr_equal(timer, first);
  assert_int_equal(timer->number, 0);
  return timer;
}

static lunado_timer *make_timers(size_t count) {
  lunado_timer *timers = malloc(count * sizeof *timers);
  for (size_t i = 0; i < count; i++) lunado_timer_init(&timers[i], NULL);
  return timers;
}

/* --- order --------------------------------------------------------------- */

static void an_empty_heap_has_no_memory(void **state) {
  (void)state;
  assert_null(lunado_heap_min(&heap));
  assert_int_equal(memory_out(), 0);
}

static void gives_the_earliest_first(void **state) {
  static const double when[] = {3, -INFINITY, 0.5, INFINITY, -1, 1e300, 0};
  static const int order[] = {1, 4, 6, 2, 0, 5, 3};
  lunado_timer *timers = make_timers(7);
  (void)state;
  for (int i = 0; i < 7; i++) add(when[i], &timers[i]);
  lunado__check_heap(&heap);
  for (int i = 0; i < 7; i++) assert_ptr_equal(pop(), &timers[order[i]]);
  assert_null(lunado_heap_min(&heap));
  free(timers);
}

static void equal_deadlines_stay_in_order(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) add(i % 3, &timers[i]);
  for (int when = 0; when < 3; when++)
    for (int i = when; i < FEW; i += 3) assert_ptr_equal(pop(), &timers[i]);
  free(timers);
}

static void they_do_so_where_the_count_of_ages_wraps(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  heap.ages = UINT32_MAX - FEW / 2;
  for (int i = 0; i < FEW; i++) add(i % 2 == 0 ? 0.0 : -0.0, &timers[i]);
  assert_in_range(heap.ages, 1, FEW);
  lunado__check_heap(&heap);
  for (int i = 0; i < FEW; i++) assert_ptr_equal(pop(), &timers[i]);
  free(timers);
}

static void sorts_many(void **state) {
  lunado_timer *timers = make_timers(MANY);
  const lunado_timer *before = NULL;
  double last = -INFINITY;
  (void)state;
  for (size_t i = 0; i < MANY; i++)
    add((double)random_below(MANY / 4), &timers[i]);
  lunado__check_heap(&heap);
  for (size_t i = 0; i < MANY; i++) {
    double when = lunado_heap_entry_when(lunado_heap_min(&heap));
    const lunado_timer *timer = pop();
    assert_true(last < when || (last == when && before < timer));
    before = timer;
    last = when;
  }
  free(timers);
}

static void keys_are_in_the_order_of_deadlines(void **state) {
  static const double when[] = {-INFINITY, -1e300, -2, -1,    -1e-300, 0,
                                1e-300,    1,      2,  1e300, INFINITY};
  (void)state;
  assert_true(lunado__heap_key(-0.0) == lunado__heap_key(0.0));
  for (size_t i = 0; i < sizeof when / sizeof when[0]; i++) {
    lunado_heap_entry entry = {.key = lunado__heap_key(when[i])};
    assert_true(lunado_heap_entry_when(&entry) == when[i]);
    if (i > 0) assert_true(lunado__heap_key(when[i - 1]) < entry.key);
  }
}

static void tells_the_deadline_of_its_own_timers(void **state) {
  lunado_timer *timers = make_timers(3);
  double when = 0;
  (void)state;
  assert_false(lunado_heap_when(&heap, &timers[0], &when));
  add(2, &timers[0]);
  add(1, &timers[1]);
  assert_true(lunado_heap_when(&heap, &timers[0], &when));
  assert_true(when == 2);
  assert_true(lunado_heap_is_first(&heap, &timers[1]));
  assert_false(lunado_heap_is_first(&heap, &timers[0]));
  timers[2].number = 1; /* as if in another heap */
  assert_false(lunado_heap_when(&heap, &timers[2], &when));
  timers[2].number = 3;
  assert_false(lunado_heap_when(&heap, &timers[2], &when));
  lunado_heap_remove(&heap, &timers[0]);
  assert_false(lunado_heap_when(&heap, &timers[0], &when));
  assert_true(when == 2);
  free(timers);
}

/* --- removing ------------------------------------------------------------- */

static void one_that_was_taken_out_does_not_come(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) add(i, &timers[i]);
  for (int i = 0; i < FEW; i += 3) {
    lunado_heap_remove(&heap, &timers[i]);
    assert_int_equal(timers[i].number, 0);
    lunado__check_heap(&heap);
  }
  for (int i = 0; i < FEW; i++)
    if (i % 3 != 0) assert_ptr_equal(pop(), &timers[i]);
  assert_null(lunado_heap_min(&heap));
  free(timers);
}

static void the_memory_of_one_that_was_taken_out_is_not_touched(void **state) {
  lunado_timer *kept = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) {
    lunado_timer *gone = make_timers(1);
    add(1, gone);
    add(1, &kept[i]);
    lunado_heap_remove(&heap, gone);
    free(gone);
  }
  lunado__check_heap(&heap);
  for (int i = 0; i < FEW; i++) assert_ptr_equal(pop(), &kept[i]);
  free(kept);
}

static void entries_of_those_are_never_more_than_the_others(void **state) {
  lunado_timer *timers = make_timers(MANY);
  (void)state;
  for (size_t i = 0; i < MANY; i++) add((double)i, &timers[i]);
  for (size_t i = 0; i < MANY; i++) {
    lunado_heap_remove(&heap, &timers[i]);
    assert_in_range(heap.count, MANY - i - 1, 2 * (MANY - i - 1) + 1);
    if (i % 1000 == 0) lunado__check_heap(&heap);
  }
  assert_int_equal(heap.count, 0);
  assert_true(heap.capacity <= 32);
  free(timers);
}

static void nor_when_the_others_come(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) add(i, &timers[i]);
  for (int i = FEW / 2; i < FEW - 1; i++) lunado_heap_remove(&heap, &timers[i]);
  for (int i = 0; i < FEW / 2; i++) {
    assert_ptr_equal(pop(), &timers[i]);
    lunado__check_heap(&heap);
  }
  assert_int_equal(heap.count, 1);
  assert_ptr_equal(pop(), &timers[FEW - 1]);
  free(timers);
}

static void counts_the_deadlines_that_come(void **state) {
  lunado_timer *timers = make_timers(3);
  (void)state;
  add(INFINITY, &timers[0]);
  assert_int_equal(heap.finite, 0);
  add(-INFINITY, &timers[1]);
  add(1, &timers[2]);
  assert_int_equal(heap.finite, 2);
  lunado_heap_remove(&heap, &timers[2]);
  assert_int_equal(heap.finite, 1);
  assert_ptr_equal(pop(), &timers[1]);
  assert_int_equal(heap.finite, 0);
  lunado_heap_remove(&heap, &timers[0]);
  assert_int_equal(heap.finite, 0);
  free(timers);
}

/* --- numbers ---------------------------------------------------------------
 */

static void numbers_are_used_again(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) add(i, &timers[i]);
  for (int round = 0; round < 10; round++)
    for (int i = 0; i < FEW; i++) {
      assert_ptr_equal(pop(), &timers[i]);
      add(i + FEW * (round + 1), &timers[i]);
      assert_in_range(timers[i].number, 1, FEW);
    }
  assert_int_equal(heap.numbers, FEW);
  lunado__check_heap(&heap);
  free(timers);
}

/* A heap that shrinks moves its timers to lower numbers. */
static void those_that_stay_are_known_after_it_shrank(void **state) {
  lunado_timer *timers = make_timers(MANY);
  double when;
  (void)state;
  for (size_t i = 0; i < MANY; i++) add((double)(MANY - i), &timers[i]);
  for (size_t i = 0; i < MANY; i++)
    if (i % 1000 != 0) lunado_heap_remove(&heap, &timers[i]);
  lunado__check_heap(&heap);
  assert_in_range(heap.capacity, MANY / 1000, 1024);
  for (size_t i = MANY; i > 0;) {
    i -= 1000;
    assert_true(lunado_heap_when(&heap, &timers[i], &when));
    assert_true(when == (double)(MANY - i));
    assert_ptr_equal(pop(), &timers[i]);
  }
  assert_null(lunado_heap_min(&heap));
  free(timers);
}

/* --- compared with a model ------------------------------------------------ */

static double deadlines[FEW]; /* of each timer; NaN: not in the heap */
static unsigned added[FEW];   /* how many were added before it */

/* Returns the timer that should be the earliest, by linear search. */
static size_t model_min(void) {
  size_t min = FEW;
  for (size_t i = 0; i < FEW; i++) {
    if (isnan(deadlines[i])) continue;
    if (min == FEW || deadlines[i] < deadlines[min] ||
        (deadlines[i] == deadlines[min] && added[i] < added[min]))
      min = i;
  }
  return min;
}

/* In order if `ordered`, but for one in 1,000. */
static double make_deadline(unsigned adds, bool ordered) {
  if (!ordered) return random_below(50);
  return random_below(1000) == 0 ? 0 : adds / 3;
}

static void step(lunado_timer *timers, bool growing, bool ordered) {
  size_t i = random_below(FEW);
  bool pushes = random_below(100) < (growing ? 70u : 30u);
  if (!pushes && i % 4 == 0 && lunado_heap_min(&heap) != NULL) {
    deadlines[pop() - timers] = NAN;
  } else if (pushes && isnan(deadlines[i])) {
    static unsigned adds;
    deadlines[i] = make_deadline(adds, ordered);
    added[i] = adds++;
    add(deadlines[i], &timers[i]);
  } else if (!pushes && !isnan(deadlines[i])) {
    deadlines[i] = NAN;
    lunado_heap_remove(&heap, &timers[i]);
    assert_int_equal(timers[i].number, 0);
  }
}

static void compare_with_a_model(bool ordered) {
  lunado_timer *timers = make_timers(FEW);
  unsigned sorted = 0;
  heap.ages = UINT32_MAX - MANY / 4;
  for (size_t i = 0; i < FEW; i++) deadlines[i] = NAN;
  for (int i = 0; i < MANY; i++) {
    const lunado_timer *min;
    size_t expected;
    while (i % 10000 == 0 && lunado_heap_min(&heap) != NULL)
      deadlines[pop() - timers] = NAN;
    step(timers, i / 5000 % 2 == 0, ordered);
    if (heap.sorted && heap.spent > 0 && heap.count > FEW / 4) sorted++;
    min = min_timer();
    expected = model_min();
    assert_ptr_equal(min, expected < FEW ? &timers[expected] : NULL);
    if (i % 16 == 0) lunado__check_heap(&heap);
  }
  if (ordered) assert_in_range(sorted, MANY / 50, MANY / 2);
  free(timers);
}

static void random_operations_agree_with_a_model(void **state) {
  (void)state;
  compare_with_a_model(false);
}

static void ordered_operations_agree_with_a_model(void **state) {
  (void)state;
  compare_with_a_model(true);
}

/* --- sorted entries ------------------------------------------------------- */

static void a_steady_number_of_timers_needs_no_more_memory(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < MANY; i++) {
    if (i >= FEW) assert_ptr_equal(pop(), &timers[i % FEW]);
    add(i, &timers[i % FEW]);
    assert_true(heap.sorted);
    if (i % 64 == 0) lunado__check_heap(&heap);
  }
  assert_in_range(heap.capacity, FEW, 4 * FEW);
  free(timers);
}

static void an_earlier_timer_ends_the_order(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 1; i < FEW; i++) add(i, &timers[i]);
  for (int i = 1; i < FEW / 2; i++) assert_ptr_equal(pop(), &timers[i]);
  assert_int_equal(heap.spent, FEW / 2 - 1);
  add(0, &timers[0]);
  assert_false(heap.sorted);
  lunado__check_heap(&heap);
  assert_ptr_equal(pop(), &timers[0]);
  for (int i = FEW / 2; i < FEW; i++) assert_ptr_equal(pop(), &timers[i]);
  assert_true(heap.sorted);
  free(timers);
}

static void sorted_timers_are_removed(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) add(i, &timers[i]);
  for (int i = 0; i < FEW / 4; i++) assert_ptr_equal(pop(), &timers[i]);
  for (int i = FEW / 4; i < FEW; i++)
    if (i % 4 != 0) lunado_heap_remove(&heap, &timers[i]);
  lunado__check_heap(&heap);
  assert_true(heap.sorted);
  for (int i = (FEW / 4 + 3) / 4 * 4; i < FEW; i += 4)
    assert_ptr_equal(pop(), &timers[i]);
  assert_null(lunado_heap_min(&heap));
  free(timers);
}

/* --- memory -------------------------------------------------------------- */

/* Each of the two arrays fails to grow in turn. */
static void a_failed_push_changes_nothing(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) {
    for (unsigned n = 1; n <= 2; n++) {
      lunado_heap before = heap;
      if (heap.count < heap.capacity) break;
      memory_fail_at(n);
      assert_int_equal(lunado_heap_push(&heap, -i, &timers[i]), UV_ENOMEM);
      assert_true(memory_failed());
      memory_fail_at(0);
      assert_int_equal(heap.count, before.count);
      assert_int_equal(heap.capacity, before.capacity);
      assert_int_equal(heap.ages, before.ages);
      assert_int_equal(timers[i].number, 0);
      lunado__check_heap(&heap);
    }
    add(-i, &timers[i]);
  }
  for (int i = FEW; i-- > 0;) assert_ptr_equal(pop(), &timers[i]);
  free(timers);
}

static void gives_memory_back(void **state) {
  lunado_timer *timers = make_timers(MANY);
  uint32_t full;
  (void)state;
  for (size_t i = 0; i < MANY; i++) add((double)i, &timers[i]);
  full = heap.capacity;
  for (size_t i = 0; i < MANY; i++) (void)pop();
  assert_true(full >= MANY);
  assert_true(heap.capacity <= 32);
  free(timers);
}

static void goes_on_when_it_cannot_give_back(void **state) {
  lunado_timer *timers = make_timers(FEW);
  bool any = false;
  (void)state;
  for (int i = 0; i < FEW; i++) add(i, &timers[i]);
  for (int i = 0; i < FEW; i++) {
    memory_fail_at(1 + (unsigned)i % 2);
    assert_ptr_equal(pop(), &timers[i]);
    any = any || memory_failed();
    lunado__check_heap(&heap);
  }
  assert_true(any);
  free(timers);
}

static void children_share_a_cache_line(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) {
    add(-i, &timers[i]);
    assert_int_equal((uintptr_t)&heap.entries[1] % 64, 0);
  }
  for (int i = 0; i < FEW; i++) {
    (void)pop();
    assert_int_equal((uintptr_t)&heap.entries[1] % 64, 0);
  }
  free(timers);
}

/* Alternate adding and removing at a capacity's limit must not resize the heap
 * each time. */
static void does_not_resize_back_and_forth(void **state) {
  lunado_timer *timers = make_timers(FEW);
  (void)state;
  for (int i = 0; i < FEW; i++) {
    uint32_t capacity;
    unsigned resized = 0;
    add(i, &timers[i]);
    capacity = heap.capacity;
    for (int round = 0; round < 100; round++) {
      int n = round % 3 < i ? round % 3 : i;
      lunado_heap_remove(&heap, &timers[i - n]);
      add(i, &timers[i - n]);
      if (heap.capacity != capacity) resized++;
      capacity = heap.capacity;
    }
    assert_in_range(resized, 0, 1);
  }
  free(timers);
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, finish)

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(an_empty_heap_has_no_memory),
      unit(gives_the_earliest_first),
      unit(equal_deadlines_stay_in_order),
      unit(they_do_so_where_the_count_of_ages_wraps),
      unit(sorts_many),
      unit(keys_are_in_the_order_of_deadlines),
      unit(tells_the_deadline_of_its_own_timers),
      unit(one_that_was_taken_out_does_not_come),
      unit(the_memory_of_one_that_was_taken_out_is_not_touched),
      unit(entries_of_those_are_never_more_than_the_others),
      unit(nor_when_the_others_come),
      unit(counts_the_deadlines_that_come),
      unit(numbers_are_used_again),
      unit(those_that_stay_are_known_after_it_shrank),
      unit(random_operations_agree_with_a_model),
      unit(ordered_operations_agree_with_a_model),
      unit(a_steady_number_of_timers_needs_no_more_memory),
      unit(an_earlier_timer_ends_the_order),
      unit(sorted_timers_are_removed),
      unit(a_failed_push_changes_nothing),
      unit(gives_memory_back),
      unit(goes_on_when_it_cannot_give_back),
      unit(children_share_a_cache_line),
      unit(does_not_resize_back_and_forth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
