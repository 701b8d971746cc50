/* SPDX-License-Identifier: MIT */
/*
 * ticket.h - tickets: Futures in a wait queue, for a lock, an item or an
 * event.
 *
 * A wait queue (lua/lunado/waiters.lua) must hold the Future for which a
 * coroutine waits, because the coroutine lives only as long as that Future.  It
 * must not hold a Future that the program has dropped, because such Futures
 * would pile up.  Lua code cannot distinguish the two.  A ticket can: it
 * notices when its first waiter is added and when its last waiter is removed,
 * and the wait queue holds it in between.
 *
 * A ticket whose last waiter was removed is withdrawn: it is in no wait queue.
 * It asks its wait queue for an outcome when the program looks at it, and joins
 * the wait queue again, at the end, when the program waits for it.  If it has a
 * deadline, the timer runs only while the ticket is in the wait queue.
 *
 * A claim is a ticket that is withdrawn from the start.  The wait queue has
 * reserved its outcome, so it counts as done; the outcome is made when the
 * program takes it.
 *
 * Tickets cost other Futures nothing.  While a ticket has no other waiter, it
 * has a waiter of its own, so that adding the next one takes the path for a
 * second waiter.  Only that path, and the removal of a waiter, test for
 * tickets.
 */
#ifndef LUNADO_BINDING_FUTURE_TICKET_H
#define LUNADO_BINDING_FUTURE_TICKET_H

#include "binding/state/realm.h"

/* The owner of a single ticket, in place of a wait queue: a userdata that
 * begins with a pointer to this struct.  Both functions get the stack indices
 * of the owner and of the ticket. */
typedef struct {
  /* The program uses a withdrawn ticket; `waits`: it waits for it again.
   * [-0, +0, e] */
  void (*ask)(lua_State *L, int owner, int ticket, bool waits);
  /* The ticket has withdrawn, or was settled by other code.  [-0, +0, -] */
  void (*removed)(lua_State *L, int owner, int ticket);
} lunado_ticket_owner;

/* The state of a ticket; lua/lunado/waiters.lua has the same numbers. */
typedef enum {
  LUNADO_TICKET_SETTLED,
  LUNADO_TICKET_WAITS,     /* it has a waiter */
  LUNADO_TICKET_IDLE,      /* it has never had one */
  LUNADO_TICKET_WITHDRAWN, /* it has lost its last one */
  LUNADO_TICKET_FORSAKEN   /* all its waiters are coroutines that were closed,
                              or resumed by other code */
} lunado_ticket_standing;

lunado_ticket_standing lunado__ticket_standing(lua_State *L,
                                               lunado_realm *realm, int idx);

/* Pushes the ticket of the userdata at `owner`, which begins with a
 * pointer to a lunado_ticket_owner.  [-0, +1, m] */
lunado_future *lunado__ticket_new(lua_State *L, lunado_realm *realm, int owner);

/* Adds the functions for lunado.waiters to the table on top. */
void lunado__ticket_functions(lua_State *L);

/* As lunado__owner_hold, for a ticket that has no waiter but its own.
 * [-0, +0, e] */
bool lunado__ticket_hold(lua_State *L, int idx, lunado_future *future,
                         int owner, lunado_waiter *waiter);

/* True if the ticket has no waiter but its own. */
bool lunado__ticket_is_idle(const lunado_future *future);

/* Pushes the wait queue of the ticket at idx.  [-0, +1, -] */
void lunado__ticket_push_waitqueue(lua_State *L, int idx);

/* To be called when the last waiter of the pending ticket at idx was removed:
 * withdraws the ticket from its wait queue.  [-0, +0, -] */
void lunado__ticket_withdraw(lua_State *L, int idx, lunado_future *future);

/* To be called when code other than its wait queue has settled the ticket at
 * idx: removes the ticket from the wait queue.  [-0, +0, -] */
void lunado__ticket_settled(lua_State *L, int idx);

/* Asks the wait queue of the withdrawn ticket at idx for its outcome, and
 * settles the ticket if the outcome is available.  [-0, +0, e] */
void lunado__ticket_ask(lua_State *L, int idx);

#endif
