/* SPDX-License-Identifier: MIT */
/*
 * heap.h - timers by deadline: a min-heap that knows where each is.
 *
 * An entry carries its deadline, so that sifting touches the timers only to
 * tell them their new place.  Equal deadlines stay in the order in which they
 * were added.
 *
 * Most timeouts never come: what they guard is there in time.  So taking a
 * timer out only marks its entry, which stays until it is the earliest, or
 * until there are more such entries than others.
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

/* Frees what the heap owns; the timers are their owners'. */
void lunado_heap_fini(lunado_heap *self);

/* Adds a timer.  Returns 0, or UV_ENOMEM, and then nothing has changed. */
int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer);

/* Takes out the timer, which is in the heap.  O(1) amortized. */
void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer);

/* The earliest entry, of a timer; NULL when there is none. */
const lunado_heap_entry *lunado_heap_min(lunado_heap *self);

/* Takes out and returns the timer of the earliest entry, which there is. */
struct lunado_timer *lunado_heap_pop(lunado_heap *self);

/* True for the entry of a timer that was taken out: the address of a timer is
 * even. */
static inline bool lunado__heap_removed(const lunado_heap_entry *entry) {
  return (entry->of.removed & 1) != 0;
}

/* True if a is to come before b, two different entries. */
bool lunado__heap_earlier(const lunado_heap_entry *a,
                          const lunado_heap_entry *b);

#endif
