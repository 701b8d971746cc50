/* SPDX-License-Identifier: MIT */
/*
 * heap.h - timers by deadline: a min-heap in which each timer knows its place.
 *
 * An entry has a copy of the deadline, so that sifting writes to a timer only
 * to update its place.  Timers with equal deadlines stay in the order in which
 * they were added.
 *
 * Most timeouts never expire: the guarded operation ends in time.  So removing
 * a timer only marks its entry.  A marked entry stays until it is the earliest,
 * or until more than half of the entries are marked.
 */
#ifndef LUNADO_CORE_HEAP_H
#define LUNADO_CORE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct lunado_timer;

typedef struct {
  double when; /* the deadline, in seconds */
  union {
    struct lunado_timer *timer; /* borrowed; its place is this entry's */
    uintptr_t removed;          /* of a timer taken out: its age * 2 + 1 */
  } of;
} lunado_heap_entry;

typedef struct {
  lunado_heap_entry *entries; /* owned */
  uint32_t count;             /* entries in use */
  uint32_t capacity;          /* entries that have room */
  uint32_t removed;           /* entries of timers that were taken out */
  uint32_t finite;            /* other entries, with a deadline that comes */
} lunado_heap;

/* Makes an empty heap, which owns no memory. */
void lunado_heap_init(lunado_heap *self);

/* Frees the heap's entries; the timers belong to their owners. */
void lunado_heap_fini(lunado_heap *self);

/* Adds a timer.  Returns 0, or UV_ENOMEM, and then nothing has changed. */
int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer);

/* Removes a timer that is in the heap.  O(1) amortized. */
void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer);

/* Returns the earliest entry that has a timer; NULL if there is none. */
const lunado_heap_entry *lunado_heap_min(lunado_heap *self);

/* Removes and returns the earliest timer; the heap must not be empty. */
struct lunado_timer *lunado_heap_pop(lunado_heap *self);

/* True for the entry of a timer that was taken out: the address of a timer is
 * even. */
static inline bool lunado__heap_removed(const lunado_heap_entry *entry) {
  return (entry->of.removed & 1) != 0;
}

/* True if `a` comes before `b`; they are different entries. */
bool lunado__heap_earlier(const lunado_heap_entry *a,
                          const lunado_heap_entry *b);

#endif
