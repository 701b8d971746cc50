/* SPDX-License-Identifier: MIT */
/* bytes_test.c - bytes in pieces of every size, against a plain text. */
#include "core/bytes.h"

#include <string.h>

#include "support.h"

enum { TEXT = 400, ROUNDS = 1500, MANY = 100000 };

/* What `bytes` should have: text[head] up to, and without, text[tail]. */
static lunado_bytes bytes;
static char text[TEXT];
static size_t head, tail;

/* Few letters, so that delimiters nearly come. */
static void fill(char *to, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = "ab\0"[random_below(3)];
}

static int setup(void **state) {
  (void)state;
  memory_watch();
  lunado_bytes_init(&bytes);
  fill(text, TEXT);
  head = tail = 0;
  return 0;
}

static int teardown_bytes(void **state) {
  (void)state;
  memory_fail_at(0);
  lunado_bytes_fini(&bytes);
  assert_int_equal(memory_out(), 0);
  return 0;
}

static bool is_lent(void) { return bytes.data != NULL && bytes.capacity == 0; }

static void check(void) {
  size_t size = lunado_bytes_size(&bytes);
  assert_int_equal(size, tail - head);
  assert_true(bytes.searched <= size);
  assert_true(bytes.capacity == 0 || bytes.end <= bytes.capacity);
  assert_int_equal(memory_out(), bytes.capacity > 0);
  if (size > 0) assert_memory_equal(lunado_bytes_at(&bytes), text + head, size);
}

/* n bytes come, for which up to `more` bytes too much room was asked. */
static void add(size_t n, size_t more) {
  char *room = lunado_bytes_reserve(&bytes, n + more);
  assert_non_null(room);
  memset(room, 0x55, n + more);
  memcpy(room, text + tail, n);
  lunado_bytes_commit(&bytes, n);
  tail += n;
  check();
}

static void lend(size_t n) {
  lunado_bytes_lend(&bytes, text + tail, n);
  tail += n;
  check();
  assert_true(is_lent());
  assert_ptr_equal(lunado_bytes_at(&bytes), text + head);
}

static void own(void) {
  assert_true(lunado_bytes_copy_lent(&bytes));
  assert_false(is_lent());
  check();
}

static void skip_bytes(size_t n) {
  lunado_bytes_skip(&bytes, n);
  head += n;
  check();
}

static size_t up_to(size_t most) { return random_below((uint32_t)most + 1); }

static size_t less(size_t a, size_t b) { return a < b ? a : b; }

/* --- order --------------------------------------------------------------- */

static void an_empty_one_has_nothing(void **state) {
  (void)state;
  check();
  assert_int_equal(memory_out(), 0);
  assert_int_equal(lunado_bytes_find(&bytes, "a", 1), 0);
  own();
}

/* What comes in pieces of up to 40 bytes and goes in others. */
static void come_and_go_in_order(size_t most_in, size_t most_out) {
  lunado_bytes_fini(&bytes);
  head = tail = 0;
  while (head < TEXT) {
    size_t n = less(up_to(most_in), TEXT - tail);
    if (lunado_bytes_size(&bytes) == 0 && n > 0 && random_below(2) == 0)
      lend(n);
    else if (!is_lent())
      add(n, up_to(20));
    skip_bytes(less(up_to(most_out), tail - head));
    if (random_below(2) == 0) own();
  }
  check();
}

static void keep_their_order_in_pieces_of_every_size(void **state) {
  (void)state;
  for (int i = 0; i < ROUNDS; i++)
    come_and_go_in_order(1 + up_to(40), 1 + up_to(40));
}

static void nothing_is_kept_when_all_were_taken(void **state) {
  (void)state;
  add(100, 0);
  assert_int_equal(memory_out(), 1);
  skip_bytes(99);
  assert_int_equal(memory_out(), 1);
  skip_bytes(1);
  assert_int_equal(memory_out(), 0);
}

static void room_that_is_not_used_does_no_harm(void **state) {
  (void)state;
  add(3, 5000);
  assert_non_null(lunado_bytes_reserve(&bytes, 20000));
  check();
  assert_non_null(lunado_bytes_reserve(&bytes, 0));
  check();
  add(7, 0);
}

static void too_much_room_is_refused(void **state) {
  (void)state;
  add(10, 0);
  assert_null(lunado_bytes_reserve(&bytes, SIZE_MAX - 5));
  check();
}

/* --- lending ------------------------------------------------------------- */

static void lent_bytes_are_copied_when_their_owner_needs_them(void **state) {
  static char lent[] = "abcdef";
  (void)state;
  memcpy(text, "abcdef", 6);
  lunado_bytes_lend(&bytes, lent, 6);
  tail = 6;
  check();
  assert_int_equal(memory_out(), 0);
  skip_bytes(2);
  assert_true(lunado_bytes_copy_lent(&bytes));
  memset(lent, 'x', 6);
  check();
  add(10, 0);
}

static void those_that_were_taken_are_not(void **state) {
  (void)state;
  lend(6);
  skip_bytes(6);
  own();
  assert_null(bytes.data);
}

static void to_lend_frees_the_room_that_was_not_used(void **state) {
  (void)state;
  assert_non_null(lunado_bytes_reserve(&bytes, 1000));
  assert_int_equal(memory_out(), 1);
  lend(10);
  assert_int_equal(memory_out(), 0);
}

static void a_search_goes_on_in_the_copy(void **state) {
  (void)state;
  memcpy(text, "aaab\0ba", 7);
  lend(4);
  assert_int_equal(lunado_bytes_find(&bytes, "ba", 2), 0);
  skip_bytes(1);
  own();
  assert_int_equal(bytes.searched, 2);
  add(3, 0);
  assert_int_equal(lunado_bytes_find(&bytes, "ba", 2), 6);
}

/* --- searching ----------------------------------------------------------- */

/* What find() should return. */
static size_t expected(const char *delimiter, size_t length) {
  for (size_t i = head; i + length <= tail; i++)
    if (memcmp(text + i, delimiter, length) == 0) return i + length - head;
  return 0;
}

static void search_all(const char *delimiter, size_t length, size_t most) {
  bool lends = random_below(2) == 0;
  while (tail < TEXT) {
    size_t n = 1 + up_to(less(most, TEXT - tail) - 1), found;
    if (lends && lunado_bytes_size(&bytes) == 0)
      lend(n);
    else
      add(n, 0);
    found = lunado_bytes_find(&bytes, delimiter, length);
    assert_int_equal(found, expected(delimiter, length));
    own();
    if (found > 0)
      skip_bytes(found);
    else if (random_below(20) == 0)
      skip_bytes(up_to(tail - head));
    else if (random_below(20) == 0)
      lunado_bytes_rewind(&bytes);
    check();
  }
}

static void finds_delimiters_wherever_the_pieces_end(void **state) {
  (void)state;
  for (int i = 0; i < ROUNDS; i++) {
    char delimiter[6];
    size_t length = 1 + random_below(6);
    lunado_bytes_fini(&bytes);
    fill(text, TEXT);
    fill(delimiter, length);
    head = tail = 0;
    search_all(delimiter, length, 1 + up_to(30));
  }
}

static void begins_anew_when_told(void **state) {
  (void)state;
  memcpy(text, "one\r\rtwo\r\n", 10);
  add(9, 0);
  assert_int_equal(lunado_bytes_find(&bytes, "\r\n", 2), 0);
  lunado_bytes_rewind(&bytes);
  assert_int_equal(lunado_bytes_find(&bytes, "\r", 1), 4);
  lunado_bytes_rewind(&bytes);
  assert_int_equal(lunado_bytes_find(&bytes, "\r\n", 2), 0);
  add(1, 0);
  assert_int_equal(lunado_bytes_find(&bytes, "\r\n", 2), 10);
}

static void what_was_found_is_found_again(void **state) {
  (void)state;
  memcpy(text, "..ab..ab", 8);
  add(8, 0);
  assert_int_equal(lunado_bytes_find(&bytes, "ab", 2), 4);
  assert_int_equal(lunado_bytes_find(&bytes, "ab", 2), 4);
  skip_bytes(3);
  assert_int_equal(lunado_bytes_find(&bytes, "ab", 2), 5);
}

/* --- memory -------------------------------------------------------------- */

static void without_memory_nothing_changes(void **state) {
  (void)state;
  for (size_t size = 0; size < TEXT; size += 50) {
    for (size_t taken = 0; taken < size; taken += 10) {
      lunado_bytes_fini(&bytes);
      head = tail = 0;
      if (size > 0) add(size, 0);
      skip_bytes(taken);
      memory_fail_at(1);
      assert_null(lunado_bytes_reserve(&bytes, 5000));
      assert_true(memory_failed());
      check();
      add(TEXT - tail, 0);
    }
  }
}

static void bytes_that_cannot_be_copied_are_dropped(void **state) {
  (void)state;
  lend(10);
  assert_int_equal(lunado_bytes_find(&bytes, "x", 1), 0);
  memory_fail_at(1);
  assert_false(lunado_bytes_copy_lent(&bytes));
  head = tail;
  check();
  assert_null(bytes.data);
  assert_true(lunado_bytes_copy_lent(&bytes));
  add(10, 0);
}

/* --- how much is done ---------------------------------------------------- */

static size_t moved; /* bytes that were copied to make room */

static void add_byte(char c) {
  const char *data = bytes.data;
  size_t begin = bytes.begin, size = lunado_bytes_size(&bytes);
  char *room = lunado_bytes_reserve(&bytes, 1);
  if (bytes.data != data || bytes.begin != begin) moved += size;
  *room = c;
  lunado_bytes_commit(&bytes, 1);
}

/* The next search looks at the last byte of these and what comes then. */
static void small_pieces_are_looked_at_once(void **state) {
  (void)state;
  moved = 0;
  for (size_t i = 1; i <= MANY; i++) {
    add_byte('x');
    assert_int_equal(lunado_bytes_find(&bytes, "\r\n", 2), 0);
    assert_int_equal(bytes.searched, i - 1);
  }
  add_byte('\r');
  add_byte('\n');
  assert_int_equal(lunado_bytes_find(&bytes, "\r\n", 2), MANY + 2);
  assert_true(moved < 2 * MANY);
}

static void so_many_wait_that_come_and_go(size_t waiting) {
  lunado_bytes_fini(&bytes);
  for (size_t i = 0; i < waiting; i++) add_byte('x');
  moved = 0;
  for (size_t i = 0; i < MANY; i++) {
    add_byte('x');
    lunado_bytes_skip(&bytes, 1);
  }
  assert_true(moved <= 2 * MANY + waiting);
  assert_true(bytes.capacity <= 4 * (waiting + 1) + 512);
}

static void what_waits_is_seldom_moved(void **state) {
  (void)state;
  for (size_t waiting = 1; waiting < 40000; waiting = waiting * 3 + 1)
    so_many_wait_that_come_and_go(waiting);
}

#define unit(test) \
  { #test, test, setup, teardown_bytes, NULL }

int main(void) {
  const struct CMUnitTest tests[] = {
      unit(an_empty_one_has_nothing),
      unit(keep_their_order_in_pieces_of_every_size),
      unit(nothing_is_kept_when_all_were_taken),
      unit(room_that_is_not_used_does_no_harm),
      unit(too_much_room_is_refused),
      unit(lent_bytes_are_copied_when_their_owner_needs_them),
      unit(those_that_were_taken_are_not),
      unit(to_lend_frees_the_room_that_was_not_used),
      unit(a_search_goes_on_in_the_copy),
      unit(finds_delimiters_wherever_the_pieces_end),
      unit(begins_anew_when_told),
      unit(what_was_found_is_found_again),
      unit(without_memory_nothing_changes),
      unit(bytes_that_cannot_be_copied_are_dropped),
      unit(small_pieces_are_looked_at_once),
      unit(what_waits_is_seldom_moved),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
