/* SPDX-License-Identifier: MIT */
/*
 * ticket.h - the Future of a wait in line: for a lock, an item, an event.
 *
 * A line (lua/lunado/waiters.lua) must hold the Future of a coroutine that
 * waits, for that lives only as long as its Future, and must not hold one that
 * the program has dropped, for that would pile up.  Lua cannot tell the two
 * apart.  A ticket can: it notices its first waiter, and that the last one has
 * withdrawn, and the line holds it meanwhile.
 *
 * A ticket that was waited for and is not any more is withdrawn: it is in no
 * line.  It asks for what it stands for when the program looks at it, and gets
 * into the line again, at the end, when the program waits for it.  The timer of
 * its deadline, where it has one, runs while it is in the line.
 *
 * A claim is a ticket that has withdrawn from the start.  What it stands for is
 * set aside, so that it passes for done, and is made when the program takes it.
 *
 * Other Futures pay nothing.  While nothing waits for a ticket it has a waiter
 * of its own, so that the next one takes the path of a second waiter, and only
 * there, and where a waiter withdraws, is asked for tickets.
 */
#ifndef LUNADO_BINDING_FUTURE_TICKET_H
#define LUNADO_BINDING_FUTURE_TICKET_H

#include "binding/state/realm.h"

/* Pushes the functions for lunado.waiters into the table on top. */
void lunado__ticket_functions(lua_State *L);

/* lunado__owner_hold for a ticket for which nothing waits.  [-0, +0, e] */
bool lunado__ticket_hold(lua_State *L, int idx, lunado_future *future,
                         int owner, lunado_waiter *waiter);

/* True if nothing but the ticket itself waits for it. */
bool lunado__ticket_is_idle(const lunado_future *future);

/* Pushes the line of the ticket at idx.  [-0, +1, -] */
void lunado__ticket_push_line(lua_State *L, int idx);

/* The last waiter of the pending ticket at idx has withdrawn.  [-0, +0, -] */
void lunado__ticket_left(lua_State *L, int idx, lunado_future *future);

/* The ticket at idx was settled by other code than its line.  [-0, +0, -] */
void lunado__ticket_settled(lua_State *L, int idx);

/* Has the withdrawn ticket at idx settled, if what it stands for can be had.
 * [-0, +0, e] */
void lunado__ticket_ask(lua_State *L, int idx);

#endif
