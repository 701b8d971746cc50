/* SPDX-License-Identifier: MIT */
/*
 * heap.h - timers by deadline: a min-heap in which each timer knows its
 * position.
 *
 * An entry has a copy of the deadline, so that sifting writes to a timer only
 * to update its position.  Timers with equal deadlines stay in the order in
 * which they were added.
 *
 * Most timeouts never expire: the guarded operation ends in time.  So removing
 * a timer only marks its entry.  A marked entry is dropped when it becomes the
 * earliest, or when more than half of the entries are marked.
 */
#ifndef LUNADO_CORE_HEAP_H
#define LUNADO_CORE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct lunado_timer;

typedef struct {
  double when; /* the deadline, in seconds */
  union {
    struct lunado_timer *timer; /* borrowed */
    uintptr_t removed;          /* age * 2 + 1 of a removed timer */
  } of;
} lunado_heap_entry;

typedef struct {
  lunado_heap_entry *entries; /* owned */
  uint32_t count;             /* entries in use */
  uint32_t capacity;          /* entries allocated */
  uint32_t removed;           /* entries of removed timers */
  uint32_t finite;            /* other entries whose deadline is finite */
} lunado_heap;

/* Makes an empty heap, which owns no memory. */
void lunado_heap_init(lunado_heap *self);

/* Frees the heap's entries, but not the timers, which belong to their
 * owners. */
void lunado_heap_fini(lunado_heap *self);

/* Adds a timer.  Returns 0, or UV_ENOMEM and changes nothing. */
int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer);

/* Removes a timer that is in the heap.  O(1) amortized. */
void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer);

/* Returns the entry of the earliest timer; NULL if the heap has no timer. */
const lunado_heap_entry *lunado_heap_min(lunado_heap *self);

/* Removes and returns the earliest timer; the heap must not be empty. */
struct lunado_timer *lunado_heap_pop(lunado_heap *self);

/* True if the timer of the entry was removed.  `of` is then odd, whereas the
 * address of a timer is even. */
static inline bool lunado__heap_removed(const lunado_heap_entry *entry) {
  return (entry->of.removed & 1) != 0;
}

/* True if `a` comes before `b`, another entry. */
bool lunado__heap_earlier(const lunado_heap_entry *a,
                          const lunado_heap_entry *b);

#endif
