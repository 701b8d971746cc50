/* SPDX-License-Identifier: MIT */
/* settle.h - giving Futures their outcomes. */
#ifndef LUNADO_BINDING_FUTURE_SETTLE_H
#define LUNADO_BINDING_FUTURE_SETTLE_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* Settles the pending Future at idx with the value on top, in the form of
 * user value 1; future->count is set by the caller.
 * [-1, +0, m] and raises only before anything has changed. */
void lunado__settle(lua_State *L, lunado_realm *realm, int idx, int state);

/* The same for a Future that has waiters, and whose address is known. */
void lunado__settle_waiters(lua_State *L, lunado_realm *realm, int idx,
                            lunado_future *future, int state);

/* lunado__settle for who knows the address.  [-1, +0, m] */
static inline void lunado__settle_known(lua_State *L, lunado_realm *realm,
                                        int idx, lunado_future *future,
                                        int state) {
  if (future->waiters != NULL) {
    lunado__settle_waiters(L, realm, idx, future, state);
    return;
  }
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado_future_set_state(future, state);
}

/* Settles the Future at idx as failed with the Failure on top.  Where the
 * Future is settled already the Failure is only popped: one that was not
 * observed is logged when it is collected.  Every producer of errors whose
 * Future somebody else may settle first ends here.  [-1, +0, m] */
void lunado__settle_failed(lua_State *L, lunado_realm *realm, int idx);

/* Settles the Future at idx as the done one at `from`.  Where it is settled
 * already nothing changes: an error remains that of `from`, unobserved if it
 * was.  [-0, +0, m] */
void lunado__settle_copy(lua_State *L, lunado_realm *realm, int from, int idx);

static inline lunado_realm *lunado__settle_realm(lunado_settler *settler) {
  return lunado_container_of(settler, lunado_realm, futures.settler);
}

#endif
