/* SPDX-License-Identifier: MIT */
/*
 * dependent.h - Futures that get their outcome from others.
 *
 * A dependent is a Future that others settle: the target of chain_future, a
 * multi, what a WaitIterator's next has given.  What waits for it in the lists
 * of the others is a bond, a userdata, which they hold.
 *
 * A bond holds its dependent exactly while the dependent has a waiter,
 * who must get what comes.  Otherwise a dependent lives as long as somebody can
 * reach it.  When it is collected, or settled, its bonds leave what they wait
 * for: so nothing is left there of a multi that has lost a race.
 *
 * A pending dependent holds a witness, in its table of owners: the witness is
 * finalized when the dependent is gone, or has changed that table for its
 * outcome.
 */
#ifndef LUNADO_BINDING_FUTURE_DEPENDENT_H
#define LUNADO_BINDING_FUTURE_DEPENDENT_H

#include "binding/state/realm.h"

typedef struct lunado_bond lunado_bond;

/* Takes the waiters of the bond at `bond` back from what they wait for; the
 * dependent is at `dependent`.  Raises nothing.  [-0, +0, -] */
typedef void lunado_leave_fn(lua_State *L, lunado_realm *realm, int bond,
                             int dependent);

/* What the userdata of a bond begins with.  Its user value 1 is its dependent
 * while somebody waits for that; else a list of weak references, the first of
 * which is the dependent; nil before it is bound, and after it has left. */
struct lunado_bond {
  lunado_leave_fn *leave;
};

enum { LUNADO_BOND_DEPENDENT = 1 };

/* Makes the pending Future at `dependent` one that the bond at `bond` will
 * settle. The dependent holds it with `own`; else only what it waits for does.
 * The dependent may be settled by then, for finalizers may have run.  [-0, +0,
 * m] */
void lunado__dependent_bind(lua_State *L, lunado_realm *realm, int dependent,
                            int bond, bool own);

/* The same for a ticket at `dependent`: its line holds it while somebody waits
 * for it, and the caller sees that the bond holds the line.  [-0, +0, m] */
void lunado__dependent_bind_ticket(lua_State *L, lunado_realm *realm,
                                   int dependent, int bond);

/* Pushes the dependent of the bond at idx; nil where it is gone.  [-0, +1, -]
 */
void lunado__dependent_push(lua_State *L, int idx);

/* Has the bonds of the pending dependent at idx hold it, or not any more.
 * [-0, +0, -] */
void lunado__dependent_hold(lua_State *L, int idx, bool hold);

/* Copies the witness, where there is one, from one table of owners to another,
 * which has room.  [-0, +0, -] */
void lunado__dependent_move(lua_State *L, int from, int to);

/* Pushes the functions about bonds into the table on top. */
void lunado__dependent_functions(lua_State *L);

void lunado__dependent_open(lua_State *L, lunado_realm *realm);

#endif
