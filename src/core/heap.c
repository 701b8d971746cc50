/* SPDX-License-Identifier: MIT */
/*
 * heap.c - sorting entries, and numbering timers.
 *
 * An entry has four children instead of two: so the heap has half as many
 * levels, and the children of an entry are in one cache line.
 *
 * Invariants: entries[i] is not later than its children 4i+1 to 4i+4, even if
 * their timers were removed.  timers[number] of each entry is its timer, whose
 * `number` is number + 1, or has NULL if the timer was removed; a timer outside
 * the heap has number 0.  Each number below `numbers` is that of one entry, or
 * is in the list of free numbers.
 */
#include "core/heap.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <uv.h>

#include "core/alloc.h"
#include "core/prefetch.h"
#include "core/timer.h"

#define HEAP_MIN_CAPACITY 16u

#define CHILDREN 4u

/* The entries of the first three levels. */
#define UPPER (1 + CHILDREN + CHILDREN * CHILDREN)

/* The usual size of a cache line.  Another size only costs time. */
#define LINE (CHILDREN * sizeof(lunado_heap_entry))

/* How much larger than the entries their block is: what aligns them to a line,
 * and lines behind them that are prefetched. */
#define BEYOND (CHILDREN * LINE)

void lunado_heap_init(lunado_heap *self) {
  *self = (lunado_heap){.sorted = true};
}

void lunado_heap_fini(lunado_heap *self) {
  lunado__free(self->block);
  lunado__free(self->timers);
  lunado_heap_init(self);
}

/* --- sifting -------------------------------------------------------------- */

static void sift_up(lunado_heap *self, uint32_t index,
                    lunado_heap_entry entry) {
  while (index > 0) {
    uint32_t parent = (index - 1) / CHILDREN;
    if (!lunado__heap_earlier(&entry, &self->entries[parent])) break;
    self->entries[index] = self->entries[parent];
    index = parent;
  }
  self->entries[index] = entry;
}

/* Returns the index of the earlier one of two entries.  It is computed, because
 * a branch could not be predicted. */
static inline size_t earlier(const lunado_heap_entry *entries, size_t a,
                             size_t b) {
  return a + (b - a) * lunado__heap_earlier(&entries[b], &entries[a]);
}

/* Returns the earliest of the children that begin at index `first`, which is
 * less than `count`.  Meanwhile the next level is loaded: four lines, of which
 * one will be read.  (They are in the block even where the entries end.) */
static size_t earliest_child(const lunado_heap_entry *entries, size_t first,
                             size_t count) {
  size_t best = first, next = CHILDREN * first + 1;
  if (next < count) {
    lunado__prefetch(&entries[next]);
    lunado__prefetch(&entries[next + CHILDREN]);
    lunado__prefetch(&entries[next + 2 * CHILDREN]);
    lunado__prefetch(&entries[next + 3 * CHILDREN]);
  }
  if (first + CHILDREN <= count)
    return earlier(entries, earlier(entries, first, first + 1),
                   earlier(entries, first + 2, first + 3));
  for (size_t child = first + 1; child < count; child++)
    best = earlier(entries, best, child);
  return best;
}

/* Places of timers are loaded while their entries are among the first. */
static void sift_down(lunado_heap *self, size_t index,
                      lunado_heap_entry entry) {
  lunado_heap_entry *entries = self->entries;
  for (;;) {
    size_t child = CHILDREN * index + 1;
    if (child >= self->count) break;
    child = earliest_child(entries, child, self->count);
    if (!lunado__heap_earlier(&entries[child], &entry)) break;
    entries[index] = entries[child];
    if (index < UPPER) lunado__prefetch(&self->timers[entries[child].number]);
    index = child;
  }
  entries[index] = entry;
}

/* --- numbers -------------------------------------------------------------- */

/* Gives the timer a number; the heap has room for one more entry. */
static uint32_t take_number(lunado_heap *self, double when,
                            struct lunado_timer *timer) {
  uint32_t number = self->numbers;
  if (self->free != 0) {
    number = self->free - 1;
    self->free = self->timers[number].of.next;
  } else {
    self->numbers++;
  }
  self->timers[number].timer = timer;
  self->timers[number].of.when = when;
  timer->number = number + 1;
  return number;
}

/* Frees the number of an entry that is dropped. */
static void free_number(lunado_heap *self, uint32_t number) {
  self->timers[number].timer = NULL;
  self->timers[number].of.next = self->free;
  self->free = number + 1;
}

/* Numbers the entries by their indices and sorts `timers` accordingly.
 * `scratch` has room for them. */
static void renumber(lunado_heap *self, lunado_heap_timer *scratch) {
  for (uint32_t i = 0; i < self->count; i++) {
    lunado_heap_entry *entry = &self->entries[i];
    scratch[i] = self->timers[entry->number];
    entry->number = i;
    if (scratch[i].timer != NULL) scratch[i].timer->number = i + 1;
  }
  memcpy(self->timers, scratch, self->count * sizeof *scratch);
  self->numbers = self->count;
  self->free = 0;
}

/* --- memory --------------------------------------------------------------- */

/* Returns where in the block the entries begin.  entries[1] begins a cache
 * line, and so do all groups of children. */
static size_t entries_offset(const void *block) {
  uintptr_t second = (uintptr_t)block + sizeof(lunado_heap_entry);
  return (size_t)(-second % LINE);
}

/* Resizes the block of the entries.  Returns false, and changes nothing, if the
 * allocator fails. */
static bool resize_entries(lunado_heap *self, uint32_t capacity) {
  size_t size = sizeof *self->entries;
  size_t before = self->block != NULL ? entries_offset(self->block) : 0;
  char *block = lunado__realloc(self->block, capacity * size + BEYOND);
  size_t offset;
  if (block == NULL) return false;
  offset = entries_offset(block);
  if (offset != before)
    memmove(block + offset, block + before, self->count * size);
  self->block = block;
  self->entries = (lunado_heap_entry *)(void *)(block + offset);
  return true;
}

/* Moves the entries to the first places. */
static void reuse_spent(lunado_heap *self) {
  lunado_heap_entry *first = self->entries - self->spent;
  if (self->spent == 0) return;
  memmove(first, self->entries, self->count * sizeof *first);
  self->entries = first;
  self->spent = 0;
}

static bool resize_timers(lunado_heap *self, uint32_t capacity) {
  lunado_heap_timer *timers =
      lunado__realloc(self->timers, capacity * sizeof *timers);
  if (timers == NULL) return false;
  self->timers = timers;
  return true;
}

/* If there is memory for only one array, that is larger than the capacity. */
static int grow(lunado_heap *self) {
  uint32_t capacity =
      self->capacity > 0 ? 2 * self->capacity : HEAP_MIN_CAPACITY;
  if (!resize_timers(self, capacity) || !resize_entries(self, capacity))
    return UV_ENOMEM;
  self->capacity = capacity;
  return 0;
}

/* Called when the last place is in use.  Entries are moved only if they are
 * fewer than the spent places, so that each is moved once, on average. */
static int make_room(lunado_heap *self) {
  int rc = 0;
  reuse_spent(self);
  if (self->count >= self->capacity / 2) rc = grow(self);
  return self->count < self->capacity ? 0 : rc;
}

/* Returns memory once more than three quarters of the places are unused.  Uses
 * the entries that are given back to number the others.  If the allocator
 * cannot shrink an array, the heap keeps it, which does no harm. */
static void shrink(lunado_heap *self) {
  uint32_t capacity = self->capacity;
  while (capacity > HEAP_MIN_CAPACITY && self->count < capacity / 4)
    capacity /= 2;
  if (capacity == self->capacity) return;
  reuse_spent(self);
  renumber(self, (void *)(self->entries + capacity));
  self->capacity = capacity;
  (void)resize_entries(self, capacity);
  (void)resize_timers(self, capacity);
}

/* --- adding and removing -------------------------------------------------- */

/* Adds the entry, for which there is a place. */
static void insert(lunado_heap *self, lunado_heap_entry entry) {
  if (self->sorted && self->count > 0 &&
      entry.key < self->entries[self->count - 1].key) {
    reuse_spent(self);
    self->sorted = false;
  }
  if (self->sorted)
    self->entries[self->count++] = entry;
  else
    sift_up(self, self->count++, entry);
}

int lunado_heap_push(lunado_heap *self, double when,
                     struct lunado_timer *timer) {
  lunado_heap_entry entry = {.key = lunado__heap_key(when), .age = self->ages};
  assert(timer->number == 0 && "a timer is in one heap, once");
  if (self->spent + self->count == self->capacity) {
    int rc = make_room(self);
    if (rc < 0) return rc;
  }
  self->ages++;
  entry.number = take_number(self, when, timer);
  if (when < INFINITY) self->finite++;
  insert(self, entry);
  return 0;
}

static struct lunado_timer *timer_of(const lunado_heap *self,
                                     const lunado_heap_entry *entry) {
  return self->timers[entry->number].timer;
}

/* Prefetches the timer that is the earliest now, and what its owner has behind
 * it: it is likely to run next. */
static void drop_first(lunado_heap *self) {
  const char *timer;
  free_number(self, self->entries[0].number);
  if (--self->count == 0) return;
  if (self->sorted) {
    self->entries++;
    self->spent++;
  } else {
    sift_down(self, 0, self->entries[self->count]);
  }
  timer = (const void *)timer_of(self, &self->entries[0]);
  if (timer == NULL) return;
  lunado__prefetch(timer);
  lunado__prefetch(timer + LINE / 2);
}

const lunado_heap_entry *lunado_heap_min(lunado_heap *self) {
  while (self->count > 0 && timer_of(self, &self->entries[0]) == NULL) {
    drop_first(self);
    self->removed--;
  }
  return self->count > 0 ? &self->entries[0] : NULL;
}

/* Drops the entries of removed timers and restores the heap order. */
static void compact(lunado_heap *self) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < self->count; i++) {
    if (timer_of(self, &self->entries[i]) != NULL)
      self->entries[kept++] = self->entries[i];
    else
      free_number(self, self->entries[i].number);
  }
  self->count = kept;
  self->removed = 0;
  for (uint32_t i = self->sorted ? 0 : kept / CHILDREN + 1; i-- > 0;)
    if (i < kept) sift_down(self, i, self->entries[i]);
}

/* Called after a timer was removed. */
static void tidy(lunado_heap *self) {
  if (self->removed > self->count / 2) compact(self);
  if (self->count <= 1) self->sorted = true;
  shrink(self);
}

struct lunado_timer *lunado_heap_pop(lunado_heap *self) {
  struct lunado_timer *timer = timer_of(self, &self->entries[0]);
  if (lunado_heap_entry_when(&self->entries[0]) < INFINITY) self->finite--;
  timer->number = 0;
  drop_first(self);
  tidy(self);
  return timer;
}

void lunado_heap_remove(lunado_heap *self, struct lunado_timer *timer) {
  uint32_t number = timer->number - 1;
  lunado_heap_timer *place = &self->timers[number];
  assert(number < self->numbers && place->timer == timer);
  if (place->of.when < INFINITY) self->finite--;
  timer->number = 0;
  if (self->entries[self->count - 1].number == number) {
    self->count--;
    free_number(self, number);
  } else {
    place->timer = NULL;
    self->removed++;
  }
  tidy(self);
}

/* --- asking --------------------------------------------------------------- */

bool lunado_heap_when(const lunado_heap *self, const struct lunado_timer *timer,
                      double *when) {
  const lunado_heap_timer *place;
  if (timer->number == 0 || timer->number > self->numbers) return false;
  place = &self->timers[timer->number - 1];
  if (place->timer != timer) return false;
  *when = place->of.when;
  return true;
}

bool lunado_heap_is_first(const lunado_heap *self,
                          const struct lunado_timer *timer) {
  return self->entries[0].number == timer->number - 1;
}
