/* SPDX-License-Identifier: MIT */
/*
 * heap.c - sifting entries up and down.
 *
 * An entry has four children instead of two: so the heap has half as many
 * levels, and the children of an entry are adjacent in memory.
 *
 * Invariant: entries[i] is not later than its children 4i+1 to 4i+4, even if
 * their timers were removed. entries[i].of.timer->position is i + 1 unless the
 * timer was removed; a timer outside the heap has position 0.
 */
#include "core/heap.h"

#include <assert.h>
#include <math.h>
#include <uv.h>

#include "core/alloc.h"
#include "core/timer.h"

#define HEAP_MIN_CAPACITY 16u

#define CHILDREN 4u

void lunado_heap_init(lunado_heap *self) { *self = (lunado_heap){.count = 0}; }

void lunado_heap_fini(lunado_heap *self) {
  lunado__free(self->entries);
  lunado_heap_init(self);
}

static uint32_t age(const lunado_heap_entry *entry) {
  if (lunado__heap_removed(entry)) return (uint32_t)(entry->of.removed >> 1);
  return entry->of.timer->age;
}

/* Orders by deadline, then by age.  Only 31 bits of an age count, because
 * `removed` has only 32 bits on some platforms and uses one as its mark.  The
 * difference of two ages is right even after the counter has wrapped. */
bool lunado__heap_earlier(const lunado_heap_entry *a,
                          const lunado_heap_entry *b) {
  if (a->when < b->when) return true;
  if (a->when > b->when) return false;
  return (int32_t)((age(a) - age(b)) << 1) < 0;
}

/* --- sifting -------------------------------------------------------------- */

static void put(lunado_heap *self, uint32_t index, lunado_heap_entry entry) {
  self->entries[index] = entry;
  if (!lunado__heap_removed(&entry)) entry.of.timer->position = index + 1;
}

static void sift_up(lunado_heap *self, uint32_t index,
                    lunado_heap_entry entry) {
  while (index > 0) {
    uint32_t parent = (index - 1) / CHILDREN;
    if (!lunado__heap_earlier(&entry, &self->entries[parent])) break;
    put(self, index, self->entries[parent]);
    index = parent;
  }
  put(self, index, entry);
}

/* Returns the earliest of up to four children, which begin at index `first`.
 * At least one child exists. */
static uint32_t earliest_child(const lunado_heap *self, uint32_t first) {
  const lunado_heap_entry *entries = self->entries;
  uint32_t end = first + CHILDREN;
  uint32_t best = first;
  if (end > self->count) end = self->count;
  for (uint32_t child = first + 1; child < end; child++)
    if (lunado__heap_earlier(&entries[child], &entries[best])) best = child;
  return best;
}

static void sift_down(lunado_heap *self, uint32_t index,
                      lunado_heap_entry entry) {
  for (;;) {
    uint32_t child = CHILDREN * index + 1;
    if (child >= self->count) break;
    child = earliest_child(self, child);
    if (!lunado__heap_earlier(&self->entries[child], &entry)) break;
    put(self, index, self->entries[child]);
    index = child;
  }
  put(self, index, entry);
}

/* --- memory --------------------------------------------------------------- */

static int resize(lunado_heap *self, uint32_t capacity) {
  lunado_heap_entry *entries =
      lunado__realloc(self->entries, capacity * sizeof *entries);
  if (entries == NULL) return UV_ENOMEM;
  self->entries = entries;
  self->capacity = capacity;
  return 0;
}

/* Returns memory once more than three quarters of the entries are unused.  If
 * the allocator cannot shrink the block, the heap keeps it, which does no
 * harm. */
static void shrink(lunado_heap *self) {
  uint32_t capacity = self->capacity;
  while (capacity > HEAP_MIN_CAPACITY && self->count < capacity / 4)
    capacity /= 2;
  if (capacity < self->capacity) (void)resize(self, capacity);
}

/* --- adding and removing -------------------------------------------------- */

int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer) {
  lunado_heap_entry entry = {when, {timer}};
  assert(timer->position == 0 && "a timer is in one heap, once");
  if (self->count == self->capacity) {
    uint32_t wanted =
        self->capacity > 0 ? 2 * self->capacity : HEAP_MIN_CAPACITY;
    int rc = resize(self, wanted);
    if (rc < 0) return rc;
  }
  if (when < INFINITY) self->finite++;
  sift_up(self, self->count++, entry);
  return 0;
}

static void drop_first(lunado_heap *self) {
  lunado_heap_entry last = self->entries[--self->count];
  if (self->count > 0) sift_down(self, 0, last);
}

const lunado_heap_entry *lunado_heap_min(lunado_heap *self) {
  while (self->count > 0 && lunado__heap_removed(&self->entries[0])) {
    drop_first(self);
    self->removed--;
  }
  return self->count > 0 ? &self->entries[0] : NULL;
}

/* Detaches the timer of the entry, which is about to be dropped or marked. */
static void leave(lunado_heap *self, const lunado_heap_entry *entry) {
  if (entry->when < INFINITY) self->finite--;
  entry->of.timer->position = 0;
}

/* Drops the entries of removed timers and restores the heap order. */
static void compact(lunado_heap *self) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < self->count; i++)
    if (!lunado__heap_removed(&self->entries[i]))
      put(self, kept++, self->entries[i]);
  self->count = kept;
  self->removed = 0;
  for (uint32_t i = kept / CHILDREN + 1; i-- > 0;)
    if (i < kept) sift_down(self, i, self->entries[i]);
}

/* Called after a timer was removed. */
static void tidy(lunado_heap *self) {
  if (self->removed > self->count / 2) compact(self);
  shrink(self);
}

struct lunado_timer *lunado_heap_pop(lunado_heap *self) {
  struct lunado_timer *timer = self->entries[0].of.timer;
  leave(self, &self->entries[0]);
  drop_first(self);
  tidy(self);
  return timer;
}

void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer) {
  uint32_t index = timer->position - 1;
  lunado_heap_entry *entry = &self->entries[index];
  assert(index < self->count && entry->of.timer == timer);
  leave(self, entry);
  if (index == self->count - 1) {
    self->count--;
  } else {
    entry->of.removed = (uintptr_t)timer->age * 2 + 1;
    self->removed++;
  }
  tidy(self);
}
