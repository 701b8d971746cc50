/* SPDX-License-Identifier: MIT */
/*
 * reading.h - the reads of a stream.
 *
 * The Future of a read is a ticket (ticket.h): what comes while nothing waits
 * for it any more stays in the buffer, until the ticket asks.
 */
#ifndef LUNADO_BINDING_STREAM_READING_H
#define LUNADO_BINDING_STREAM_READING_H

#include "binding/stream/iostream.h"

/* True if a read waits, whose Future is then IOSTREAM_READ; with `withdrawn`
 * also one for which something waited, such as with_timeout, and nothing does
 * by now.  A read is over if other code has settled its Future, or the
 * coroutine that waited for it was closed.  [-0, +0, m] */
bool lunado__reading_pending(lua_State *L, int idx, lunado_iostream *self,
                             bool withdrawn);

/* The same for the reads that count; where none waits the stream waits for
 * nothing but its end.  [-0, +0, m] */
bool lunado__reading_waits(lua_State *L, int idx, lunado_iostream *self);

/* Fails, or ends, the read that waits.  [-0, +0, m] */
void lunado__reading_end(lua_State *L, int idx, lunado_iostream *self,
                         int cause, bool withdrawn);

/* Reads, if it can; an error closes the stream.  [-0, +0, m] */
void lunado__reading_start(lua_State *L, int idx, lunado_iostream *self);

/* Reads while no read waits, to notice the end.  [-0, +0, m] */
void lunado__reading_watch(lua_State *L, int idx, lunado_iostream *self);

/* The core's events. */
void lunado__reading_arrived(lunado_stream *core);
void lunado__reading_ended(lunado_stream *core, int error);

/* lunado_ticket_owner's. */
void lunado__reading_ask(lua_State *L, int idx, int ticket, bool waits);
void lunado__reading_left(lua_State *L, int idx, int ticket);

void lunado__reading_functions(lua_State *L);

#endif
