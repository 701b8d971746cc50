/* SPDX-License-Identifier: MIT */
/*
 * heap.h - timers by deadline: a min-heap that writes to no timer while it
 * sorts.
 *
 * An entry has all that its order depends on, and a number for its timer.  The
 * number leads to the timer through a second array, so that sifting moves only
 * entries, of which one cache line has four.  Timers with equal deadlines stay
 * in the order in which they were added.
 *
 * Timers are often added in the order of their deadlines, for example if their
 * delays are equal.  While all were, the entries are sorted, and nothing is
 * sifted: the first is dropped by moving on to the second.
 *
 * Most timeouts never expire: the guarded operation ends in time.  So removing
 * a timer only clears its place in the second array.  Its entry is dropped when
 * it becomes the earliest, or when more than half of the entries are without
 * timer.
 */
#ifndef LUNADO_CORE_HEAP_H
#define LUNADO_CORE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct lunado_timer;

typedef struct {
  int64_t key;     /* the deadline, see lunado__heap_key */
  uint32_t age;    /* the number of timers added before it; wraps */
  uint32_t number; /* the number of its timer: an index of `timers` */
} lunado_heap_entry;

typedef struct {
  struct lunado_timer *timer; /* borrowed; NULL: removed, or a free number */
  union {
    double when;   /* of a number in use: the deadline */
    uint32_t next; /* of a free number: the next free number plus one */
  } of;
} lunado_heap_timer;

typedef struct {
  void *block;                /* owned: the memory of the entries */
  lunado_heap_entry *entries; /* in the block, behind the spent places */
  lunado_heap_timer *timers;  /* owned: the timers by number */
  uint32_t count;             /* entries in use, and numbers in use */
  uint32_t capacity;          /* places in each array */
  uint32_t spent;   /* places of entries that were dropped while sorted */
  bool sorted;      /* the entries are in order; if not, `spent` is 0 */
  uint32_t numbers; /* numbers used at least once */
  uint32_t free;    /* a free number below `numbers` plus one; 0: none */
  uint32_t removed; /* entries of removed timers */
  uint32_t finite;  /* other entries whose deadline is finite */
  uint32_t ages;    /* timers added so far; wraps */
} lunado_heap;

/* Makes an empty heap, which owns no memory. */
void lunado_heap_init(lunado_heap *self);

/* Frees the heap's memory, but not the timers, which belong to their owners. */
void lunado_heap_fini(lunado_heap *self);

/* Adds a timer, which must not move while it is in the heap.  Returns 0, or
 * UV_ENOMEM and changes nothing. */
int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer);

/* Removes a timer that is in the heap.  O(1) amortized. */
void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer);

/* Returns the entry of the earliest timer; NULL if the heap has no timer. */
const lunado_heap_entry *lunado_heap_min(lunado_heap *self);

/* Removes and returns the earliest timer; the heap must not be empty, and
 * lunado_heap_min must have been called since the last change. */
struct lunado_timer *lunado_heap_pop(lunado_heap *self);

/* True if the timer is in this heap; then stores its deadline in *when. */
bool lunado_heap_when(const lunado_heap *self, const struct lunado_timer *timer,
                      double *when);

/* True if the timer, which is in the heap, has the first of the entries. */
bool lunado_heap_is_first(const lunado_heap *self,
                          const struct lunado_timer *timer);

/* True if age `a` comes before age `b`, even if the count of ages has wrapped
 * between the two. */
static inline bool lunado__heap_older(uint32_t a, uint32_t b) {
  return (int32_t)(a - b) < 0;
}

/* True if `a` comes before `b`, another entry: by deadline, then by age. */
static inline bool lunado__heap_earlier(const lunado_heap_entry *a,
                                        const lunado_heap_entry *b) {
  if (a->key != b->key) return a->key < b->key;
  return lunado__heap_older(a->age, b->age);
}

/* Returns an integer for the deadline, in the order of deadlines.  The bits of
 * positive numbers are in order already, those of negative ones in reverse
 * order.  Integers are compared without a jump, other than numbers that might
 * be NaN. */
static inline int64_t lunado__heap_key(double when) {
  int64_t bits;
  when += 0.0; /* no negative zero */
  memcpy(&bits, &when, sizeof bits);
  return bits < 0 ? bits ^ INT64_MAX : bits;
}

/* Returns the deadline of the entry, in seconds. */
static inline double lunado_heap_entry_when(const lunado_heap_entry *entry) {
  int64_t bits = entry->key < 0 ? entry->key ^ INT64_MAX : entry->key;
  double when;
  memcpy(&when, &bits, sizeof when);
  return when;
}

#endif
