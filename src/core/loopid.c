/* SPDX-License-Identifier: MIT */
/*
 * loopid.c - a static table of slots, each taken by one loop after another.
 *
 * Invariants: a reader increments `readers` before it loads `id`; the
 * closing thread clears `id` before it waits for `readers` to reach 0.  So
 * once that wait is over, no reader has a pointer to the loop.  The slots are
 * static, so any thread may read one at any time.
 */
#include "core/loopid.h"

#include <stdatomic.h>
#include <uv.h>

#include "core/loop.h"

typedef struct {
  atomic_bool taken;   /* by an open loop, or by a closing loop with readers */
  atomic_uint id;      /* the id of the open loop; 0: none */
  atomic_uint readers; /* readers between enter and leave */
  unsigned generation; /* how often the slot was taken; only the taker accesses
                     this */
  lunado_loop *loop;   /* written by the taker, read by readers */
} loopid_slot;

static loopid_slot slots[LUNADO_LOOPID_MAX];

/* Where the next search for a free slot begins.  The searches go round the
 * table, so a released slot is reused as late as possible. */
static atomic_uint next_slot;

static loopid_slot *slot_of(lunado_loopid id) {
  return &slots[id % LUNADO_LOOPID_MAX];
}

static loopid_slot *take_slot(void) {
  for (unsigned i = 0; i < LUNADO_LOOPID_MAX; i++) {
    loopid_slot *self = slot_of(atomic_fetch_add(&next_slot, 1));
    bool taken = false;
    if (atomic_compare_exchange_strong(&self->taken, &taken, true)) return self;
  }
  return NULL;
}

/* Returns an id that the slot has not had recently; never 0. */
static lunado_loopid next_id(loopid_slot *self) {
  lunado_loopid id;
  do {
    uint64_t count = (uint64_t)self->generation++ * LUNADO_LOOPID_MAX;
    id = (lunado_loopid)(count % ((uint64_t)1 << LUNADO_LOOPID_BITS)) +
         (lunado_loopid)(self - slots);
  } while (id == 0);
  return id;
}

int lunado_loopid_get(lunado_loop *loop, lunado_loopid *id) {
  loopid_slot *self;
  *id = loop->id;
  if (loop->closed) return UV_ECANCELED;
  if (loop->id != 0) return 0;
  self = take_slot();
  if (self == NULL) return UV_ENFILE;
  self->loop = loop;
  *id = loop->id = next_id(self);
  atomic_store(&self->id, loop->id);
  return 0;
}

lunado_loop *lunado_loopid_enter(lunado_loopid id) {
  loopid_slot *self = slot_of(id);
  atomic_fetch_add(&self->readers, 1);
  if (id != 0 && atomic_load(&self->id) == id) return self->loop;
  atomic_fetch_sub(&self->readers, 1);
  return NULL;
}

void lunado_loopid_leave(lunado_loopid id) {
  atomic_fetch_sub(&slot_of(id)->readers, 1);
}

void lunado__loopid_close(lunado_loop *loop) {
  loopid_slot *self = slot_of(loop->id);
  if (loop->id == 0) return;
  loop->id = 0;
  atomic_store(&self->id, 0);
  while (atomic_load(&self->readers) > 0) continue;
  atomic_store(&self->taken, false);
}
