/* SPDX-License-Identifier: MIT */
/*
 * loopid.c - a static table of places, each taken by one loop after another.
 *
 * Invariants: a reader increments `readers` before it loads `address`; the
 * closing thread clears `address` before it waits for `readers` to reach 0.  So
 * once that wait is over, no reader has a pointer to the loop.  The places are
 * static, so any thread may read one at any time.
 */
#include "core/loopid.h"

#include <stdatomic.h>
#include <uv.h>

#include "core/loop.h"

typedef struct {
  atomic_bool taken;   /* by an open loop, or by a closing loop with readers */
  atomic_uint address; /* the id of the open loop; 0: none */
  atomic_uint readers; /* readers between enter and leave */
  unsigned round;      /* how often the place was taken; only the taker accesses
                          this */
  lunado_loop *loop;   /* written by the taker, read by readers */
} place;

static place places[LUNADO_ADDRESSES];

/* Where the next search for a free place begins.  The searches go round the
 * table, so a released place is reused as late as possible. */
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

/* Returns an id that the place has not had recently; never 0. */
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
