/* SPDX-License-Identifier: MIT */
/*
 * loopid.c - places that loops take one after the other.
 *
 * Invariants: a reader announces itself before it looks at the id, and
 * who closes takes the id down before it looks for readers; so once it
 * has found none, none is left that saw its loop.  The places are static, so
 * that any thread may read one at any time.
 */
#include "core/loopid.h"

#include <stdatomic.h>
#include <uv.h>

#include "core/loop.h"

typedef struct {
  atomic_bool taken;   /* by a loop that is open, or still has readers */
  atomic_uint address; /* of the open loop; 0: there is none */
  atomic_uint readers; /* between enter and leave */
  unsigned round;      /* how often it was taken; the taker's */
  lunado_loop *loop;   /* the taker's; to be read by readers */
} place;

static place places[LUNADO_ADDRESSES];

/* Where the search for a free place begins: each rests as long as it can. */
static atomic_uint next_place;

static place *place_of(lunado_loopid address) {
  return &places[address % LUNADO_ADDRESSES];
}

static place *take_place(void) {
  for (unsigned i = 0; i < LUNADO_ADDRESSES; i++) {
    place *self = place_of(atomic_fetch_add(&next_place, 1));
    bool taken = false;
    if (atomic_compare_exchange_strong(&self->taken, &taken, true)) return self;
  }
  return NULL;
}

/* 0 is no id. */
static lunado_loopid next_address(place *self) {
  lunado_loopid address;
  do {
    uint64_t count = (uint64_t)self->round++ * LUNADO_ADDRESSES;
    address = (lunado_loopid)(count % ((uint64_t)1 << LUNADO_LOOPID_BITS)) +
              (lunado_loopid)(self - places);
  } while (address == 0);
  return address;
}

int lunado_loop_id(lunado_loop *loop, lunado_loopid *address) {
  place *self;
  *address = loop->address;
  if (loop->closed) return UV_ECANCELED;
  if (loop->address != 0) return 0;
  self = take_place();
  if (self == NULL) return UV_ENFILE;
  self->loop = loop;
  *address = loop->address = next_address(self);
  atomic_store(&self->address, loop->address);
  return 0;
}

lunado_loop *lunado_loopid_enter(lunado_loopid address) {
  place *self = place_of(address);
  atomic_fetch_add(&self->readers, 1);
  if (address != 0 && atomic_load(&self->address) == address) return self->loop;
  atomic_fetch_sub(&self->readers, 1);
  return NULL;
}

void lunado_loopid_leave(lunado_loopid address) {
  atomic_fetch_sub(&place_of(address)->readers, 1);
}

void lunado__address_close(lunado_loop *loop) {
  place *self = place_of(loop->address);
  if (loop->address == 0) return;
  loop->address = 0;
  atomic_store(&self->address, 0);
  while (atomic_load(&self->readers) > 0) continue;
  atomic_store(&self->taken, false);
}
