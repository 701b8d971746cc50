/* SPDX-License-Identifier: MIT */
/*
 * reading.h - the reads of a stream.
 *
 * The Future of a read is a ticket (ticket.h): after it has lost its last
 * waiter, bytes that arrive stay in the buffer until the program uses the
 * ticket again.
 */
#ifndef LUNADO_BINDING_STREAM_READING_H
#define LUNADO_BINDING_STREAM_READING_H

#include "binding/stream/iostream.h"

/* True if a read is pending; its Future is IOSTREAM_READ.  A withdrawn read
 * (ticket.h), which has lost its waiter, counts only if `withdrawn` is true.  A
 * read whose Future was settled by other code, or whose coroutine was closed,
 * ends here.
 * [-0, +0, m] */
bool lunado__reading_pending(lua_State *L, int idx, lunado_iostream *self,
                             bool withdrawn);

/* True if a read with a waiter is pending.  Otherwise the loop holds the stream
 * for reading no longer, and no bytes are missing.  [-0, +0, m] */
bool lunado__reading_waits(lua_State *L, int idx, lunado_iostream *self);

/* Ends the pending read, because of `cause` (0: the end of the stream).  A read
 * up to the end gets all bytes; any other fails.  [-0, +0, m] */
void lunado__reading_end(lua_State *L, int idx, lunado_iostream *self,
                         int cause, bool withdrawn);

/* Fails the read that waits, because of `cause` (closing.h).
 * [-0, +0, -] */
void lunado__reading_fail(lua_State *L, int idx, lunado_iostream *self,
                          int cause);

/* Starts reading, if the stream can be read; an error closes it.
 * [-0, +0, m] */
void lunado__reading_start(lua_State *L, int idx, lunado_iostream *self);

/* Starts reading though no read waits, to notice the end.  [-0, +0, m] */
void lunado__reading_watch(lua_State *L, int idx, lunado_iostream *self);

/* The core's events. */
void lunado__reading_arrived(lunado_stream *core);
void lunado__reading_ended(lunado_stream *core, int error);

/* The functions of lunado_ticket_owner. */
void lunado__reading_ask(lua_State *L, int idx, int ticket, bool waits);
void lunado__reading_removed(lua_State *L, int idx, int ticket);

void lunado__reading_functions(lua_State *L);

#endif
