/* SPDX-License-Identifier: MIT */
/*
 * handle.c - a set of addresses: a hash table with linear probing.
 *
 * Invariants: at least a third of the slots are free, where reserved slots
 * count as taken; no slot between an address and its home, the slot it hashes
 * to, is free.  An empty set has no table.
 */
#include "core/handle.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/alloc.h"
#include "core/loop.h"
#include "core/spinlock.h"
#include "core/stream.h"

/* The address of an object of lunado's; that of a stream, plus 1: the handle
 * that the stream has adopted; 0: the slot is free. */
typedef uintptr_t slot;

static slot *table;
static size_t capacity; /* a power of two, or 0 */
static size_t taken;    /* slots with an address, and reserved ones */
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void) { lunado__spin_lock(&busy); }

static void unlock(void) { lunado__spin_unlock(&busy); }

/* Addresses are multiples of 8, so the low bits of a product are poorly mixed;
 * the upper half is well mixed. */
static size_t home(const void *object) {
  uint64_t mixed = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
  return (size_t)(mixed >> 32) & (capacity - 1);
}

static size_t next(size_t at) { return (at + 1) & (capacity - 1); }

/* The stream in the slot, which is not free; NULL: an object of lunado's is. */
static lunado_stream *adopter_in(slot entry) {
  return entry & 1 ? (lunado_stream *)(entry - 1) : NULL;
}

/* The address by which the slot is found; NULL: it is free. */
static const void *key(slot entry) {
  const lunado_stream *adopter = adopter_in(entry);
  return adopter != NULL ? adopter->uv : (const void *)entry;
}

/* The slot of the object, or the free slot where it would be put. */
static size_t find(const void *object) {
  size_t at = home(object);
  while (table[at] != 0 && key(table[at]) != object) at = next(at);
  return at;
}

static bool grow(void) {
  slot *old = table;
  size_t old_capacity = capacity;
  size_t wanted = capacity > 0 ? capacity * 2 : 16;
  slot *larger = lunado__alloc(wanted * sizeof *larger);
  if (larger == NULL) return false;
  table = larger;
  capacity = wanted;
  for (size_t i = 0; i < old_capacity; i++)
    if (old[i] != 0) table[find(key(old[i]))] = old[i];
  lunado__free(old);
  return true;
}

static void give_slot(void) {
  if (--taken > 0) return;
  lunado__free(table);
  table = NULL;
  capacity = 0;
}

/* Frees the slot `hole`.  An address behind it moves into it if the hole is
 * between the address and its home. */
static void clear(size_t hole) {
  for (size_t at = next(hole); table[at] != 0; at = next(at)) {
    size_t from_home = (at - home(key(table[at]))) & (capacity - 1);
    if (from_home < ((at - hole) & (capacity - 1))) continue;
    table[hole] = table[at];
    hole = at;
  }
  table[hole] = 0;
}

int lunado__handle_reserve(void) {
  bool enough;
  lock();
  enough = (taken + 1) * 3 <= capacity * 2 || grow();
  if (enough) taken++;
  unlock();
  return enough ? 0 : UV_ENOMEM;
}

void lunado__handle_unreserve(void) {
  lock();
  give_slot();
  unlock();
}

void lunado__handle_mark(const void *object) {
  lock();
  table[find(object)] = (slot)object;
  unlock();
}

void lunado__handle_adopt(const lunado_stream *adopter) {
  slot *found;
  lock();
  found = &table[find(adopter->uv)];
  if (*found != 0) give_slot();
  *found = (slot)adopter + 1;
  unlock();
}

lunado_stream *lunado__handle_adopter(const void *handle) {
  lunado_stream *adopter;
  lock();
  adopter = capacity > 0 ? adopter_in(table[find(handle)]) : NULL;
  unlock();
  return adopter;
}

void lunado__handle_unadopt(const void *handle) {
  lunado__handle_unmark(handle);
}

void lunado__handle_unmark(const void *object) {
  lock();
  clear(find(object));
  give_slot();
  unlock();
}

/* The close callback that another party passed to uv_close for one of lunado's
 * handles, while lunado's callback replaces it in the handle.  It is stored in
 * a word of the handle that libuv reserves and does not use. */
static void **stranger_of(uv_handle_t *handle) {
  return &handle->u.reserved[2];
}

void lunado__handle_closed(uv_handle_t *handle) {
  void **stranger = stranger_of(handle);
  uv_close_cb cb;
  if (*stranger == NULL) return;
  memcpy(&cb, stranger, sizeof cb);
  *stranger = NULL;
  cb(handle);
}

/* In all versions of libuv. */
#define CLOSED 0x02

void lunado__handle_close(void *object, uv_close_cb cb) {
  uv_handle_t *handle = object;
  if (!uv_is_closing(handle)) {
    uv_close(handle, cb);
  } else if (handle->flags & CLOSED) {
    cb(handle);
  } else {
    memcpy(stranger_of(handle), &handle->close_cb, sizeof cb);
    handle->close_cb = cb;
  }
}

static bool is_marked(const void *object) {
  slot found = capacity > 0 ? table[find(object)] : 0;
  return found != 0 && adopter_in(found) == NULL;
}

/* True if the handle is the field `member` of a loop of lunado's. */
#define IS_MEMBER(handle, member) \
  is_marked((const char *)(handle)-offsetof(lunado_loop, member))

bool lunado__handle_is_ours(const uv_handle_t *handle) {
  bool ours;
  lock();
  ours = is_marked(handle) || IS_MEMBER(handle, timer) ||
         IS_MEMBER(handle, idle) || IS_MEMBER(handle, prepare) ||
         IS_MEMBER(handle, async) || IS_MEMBER(handle, check) ||
         IS_MEMBER(handle, limit);
  unlock();
  return ours;
}
