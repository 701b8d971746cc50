/* SPDX-License-Identifier: MIT */
/*
 * heap.h - timers by deadline: a binary min-heap that knows where each is.
 *
 * An entry carries its deadline, so that sifting touches the timers only to
 * tell them their new place.  Equal deadlines stay in the order in which they
 * were added.
 */
#ifndef LUNADO_CORE_HEAP_H
#define LUNADO_CORE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct lunado_timer;

typedef struct {
  double when;                /* the deadline, in seconds */
  struct lunado_timer *timer; /* borrowed; its place is this entry's */
} lunado_heap_entry;

typedef struct {
  lunado_heap_entry *entries; /* owned */
  uint32_t count;             /* entries in use */
  uint32_t capacity;          /* entries that have room */
} lunado_heap;

/* Makes an empty heap, which owns no memory. */
void lunado_heap_init(lunado_heap *self);

/* Frees what the heap owns; the timers are their owners'. */
void lunado_heap_fini(lunado_heap *self);

/* Adds a timer.  Returns 0, or UV_ENOMEM, and then nothing has changed. */
int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer);

/* Takes out the timer, which is in the heap.  O(log n). */
void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer);

/* The earliest entry; NULL when the heap is empty. */
static inline const lunado_heap_entry *lunado_heap_min(
    const lunado_heap *self) {
  return self->count > 0 ? &self->entries[0] : NULL;
}

#endif
