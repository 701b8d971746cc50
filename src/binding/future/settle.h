/* SPDX-License-Identifier: MIT */
/* settle.h - giving Futures their outcomes. */
#ifndef LUNADO_BINDING_FUTURE_SETTLE_H
#define LUNADO_BINDING_FUTURE_SETTLE_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* Settles the pending Future at idx with the value on top, in the form of user
 * value 1.  The caller sets future->count before.  Raises only before anything
 * has changed.  [-1, +0, m] */
void lunado__settle(lua_State *L, lunado_realm *realm, int idx, int state);

/* As lunado__settle, for a Future with waiters whose address the caller
 * knows. */
void lunado__settle_waiters(lua_State *L, lunado_realm *realm, int idx,
                            lunado_future *future, int state);

/* As lunado__settle, for a caller that knows the Future's address.
 * [-1, +0, m] */
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

/* Settles the Future at idx as failed with the Failure on top.  If the Future
 * is done already, only pops the Failure, which is logged when it is collected
 * unless it was observed.  Producers of errors call this function if other code
 * may settle their Future first.  [-1, +0, m] */
void lunado__settle_failed(lua_State *L, lunado_realm *realm, int idx);

/* Settles the Future at idx with the outcome of the Future at `from`, which is
 * done.  If the Future at idx is done already, changes nothing: an error of
 * `from` then stays unobserved if it was.  [-0, +0, m] */
void lunado__settle_copy(lua_State *L, lunado_realm *realm, int from, int idx);

/* The realm that contains the settler. */
static inline lunado_realm *lunado__settle_realm(lunado_settler *settler) {
  return lunado_container_of(settler, lunado_realm, futures.settler);
}

#endif
