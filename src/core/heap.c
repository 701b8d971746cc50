/* SPDX-License-Identifier: MIT */
/*
 * heap.c - sifting entries up and down.
 *
 * Invariant: entries[i] is not later than its children 2i+1 and 2i+2, and
 * entries[i].timer->place == i + 1; a timer outside the heap has place 0.
 */
#include "core/heap.h"

#include <assert.h>
#include <stdbool.h>
#include <uv.h>

#include "core/alloc.h"
#include "core/timer.h"

#define HEAP_MIN_CAPACITY 16u

void lunado_heap_init(lunado_heap *self) {
  self->entries = NULL;
  self->count = 0;
  self->capacity = 0;
}

void lunado_heap_fini(lunado_heap *self) {
  lunado__free(self->entries);
  lunado_heap_init(self);
}

/* Orders by deadline, then by age; the difference of two ages is right even
 * where the counter has wrapped. */
static bool earlier(const lunado_heap_entry *a, const lunado_heap_entry *b) {
  if (a->when != b->when) return a->when < b->when;
  return (int32_t)(a->timer->age - b->timer->age) < 0;
}

static void put(lunado_heap *self, uint32_t place, lunado_heap_entry entry) {
  self->entries[place] = entry;
  entry.timer->place = place + 1;
}

static void sift_up(lunado_heap *self, uint32_t place,
                    lunado_heap_entry entry) {
  while (place > 0) {
    uint32_t parent = (place - 1) / 2;
    if (!earlier(&entry, &self->entries[parent])) break;
    put(self, place, self->entries[parent]);
    place = parent;
  }
  put(self, place, entry);
}

static void sift_down(lunado_heap *self, uint32_t place,
                      lunado_heap_entry entry) {
  for (;;) {
    uint32_t child = 2 * place + 1;
    if (child >= self->count) break;
    if (child + 1 < self->count &&
        earlier(&self->entries[child + 1], &self->entries[child]))
      child++;
    if (!earlier(&self->entries[child], &entry)) break;
    put(self, place, self->entries[child]);
    place = child;
  }
  put(self, place, entry);
}

static int resize(lunado_heap *self, uint32_t capacity) {
  lunado_heap_entry *entries =
      lunado__realloc(self->entries, capacity * sizeof *entries);
  if (entries == NULL) return UV_ENOMEM;
  self->entries = entries;
  self->capacity = capacity;
  return 0;
}

int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer) {
  lunado_heap_entry entry = {when, timer};
  assert(timer->place == 0 && "a timer is in one heap, once");
  if (self->count == self->capacity) {
    uint32_t wanted =
        self->capacity > 0 ? 2 * self->capacity : HEAP_MIN_CAPACITY;
    int rc = resize(self, wanted);
    if (rc < 0) return rc;
  }
  sift_up(self, self->count++, entry);
  return 0;
}

/* Gives memory back once three quarters of it are unused.  That fails only
 * where there is less memory than before, which costs nothing. */
static void shrink(lunado_heap *self) {
  if (self->capacity <= HEAP_MIN_CAPACITY) return;
  if (self->count < self->capacity / 4) (void)resize(self, self->capacity / 2);
}

void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer) {
  uint32_t place = timer->place - 1;
  lunado_heap_entry last;
  assert(place < self->count && self->entries[place].timer == timer);
  timer->place = 0;
  last = self->entries[--self->count];
  if (place != self->count) {
    if (place > 0 && earlier(&last, &self->entries[(place - 1) / 2]))
      sift_up(self, place, last);
    else
      sift_down(self, place, last);
  }
  shrink(self);
}
