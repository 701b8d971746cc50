/* SPDX-License-Identifier: MIT */
/*
 * dependent.h - Futures that get their outcome from others.
 *
 * A dependent is a Future that gets its outcome from other Futures, its
 * sources: the target of chain_future, a multi, or the Future that a
 * WaitIterator's next has returned.  A bond is a userdata that waits for the
 * sources on behalf of the dependent; the sources hold the bond.
 *
 * A bond holds its dependent exactly while the dependent has a waiter, which
 * must get the outcome.  A dependent without waiters lives as long as the
 * program can reach it.  When a dependent is collected or settled, its bonds
 * forget their sources, so that the sources keep nothing of, for example, a
 * multi that has lost a race.
 *
 * A pending dependent holds a witness in its table of owners.  The witness is
 * finalized when the dependent was collected, or was settled and so has
 * replaced the table by its outcome.
 */
#ifndef LUNADO_BINDING_FUTURE_DEPENDENT_H
#define LUNADO_BINDING_FUTURE_DEPENDENT_H

#include "binding/state/realm.h"

typedef struct lunado_bond lunado_bond;

/* Removes the waiters of the bond at `bond` from its sources; the dependent is
 * at `dependent`.  Raises nothing.  [-0, +0, -] */
typedef void lunado_forget_fn(lua_State *L, lunado_realm *realm, int bond,
                              int dependent);

/* The beginning of a bond's userdata.  User value 1 is the dependent while the
 * dependent has a waiter, and otherwise a list of weak references whose first
 * element is the dependent; nil before the bond is bound and after it has
 * forgotten its sources. */
struct lunado_bond {
  lunado_forget_fn *forget;
};

enum { LUNADO_BOND_DEPENDENT = 1 };

/* Makes the pending Future at `dependent` a dependent of the bond at `bond`.
 * With `hold_bond` true the dependent holds the bond; otherwise only the
 * sources hold it.  After the call the dependent may be done, since finalizers
 * may have run.
 * [-0, +0, m] */
void lunado__dependent_bind(lua_State *L, lunado_realm *realm, int dependent,
                            int bond, bool hold_bond);

/* As lunado__dependent_bind, for a ticket at `dependent`.  The wait queue of
 * the ticket holds it while it has a waiter; the caller must ensure that the
 * bond holds the wait queue.  [-0, +0, m] */
void lunado__dependent_bind_ticket(lua_State *L, lunado_realm *realm,
                                   int dependent, int bond);

/* Pushes the dependent of the bond at idx; nil if it was collected.
 * [-0, +1, -] */
void lunado__dependent_push(lua_State *L, int idx);

/* Makes the bonds of the pending dependent at idx hold it, or stop holding it.
 * [-0, +0, -] */
void lunado__dependent_hold(lua_State *L, int idx, bool hold);

/* Copies the witness, if there is one, from one table of owners to another that
 * has room for it.  [-0, +0, -] */
void lunado__dependent_move(lua_State *L, int from, int to);

/* Adds the functions for bonds to the table on top. */
void lunado__dependent_functions(lua_State *L);

/* Makes the classes of witnesses and bonds, once per state.  [-0, +0, m] */
void lunado__dependent_open(lua_State *L, lunado_realm *realm);

#endif
