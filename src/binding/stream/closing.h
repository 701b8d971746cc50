/* SPDX-License-Identifier: MIT */
/*
 * closing.h - how a stream ends, and the errors that report it.
 *
 * A closed stream keeps its handle in two cases: the peer has ended, and queued
 * data is still being sent; or a write has failed, and the data that the peer
 * has sent is still being read.
 */
#ifndef LUNADO_BINDING_STREAM_CLOSING_H
#define LUNADO_BINDING_STREAM_CLOSING_H

#include "binding/stream/iostream.h"

/* idx is the index of the userdata, and `cause` that of a value, not nil; 0: no
 * error.  Neither is relative. */

/* Pushes the StreamClosedError of what cannot be done any more: because of
 * `cause`, or of what closed the stream.  [-0, +1, m] */
void lunado__closing_pusherror(lua_State *L, int idx, lunado_iostream *self,
                               int cause);

/* Pushes a Future that has failed with the error on top, which it pops.
 * [-1, +1, m] */
void lunado__closing_pushfailed(lua_State *L, lunado_iostream *self);

/* Fails the Future on top, if it is pending, because of `cause` or of what
 * closed the stream; pops it.  With `observed` the error is not logged where
 * nothing asks for it.  [-1, +0, -] */
void lunado__closing_fail(lua_State *L, int idx, lunado_iostream *self,
                          int cause, bool observed);

/* True if nothing was lost of what the peer has sent: the stream was closed
 * without an error.  The error of a write that the peer does not read (EPIPE)
 * does not count once the peer has ended.  [-0, +0, -] */
bool lunado__closing_ended_well(lua_State *L, int idx,
                                const lunado_iostream *self);

/* Marks the stream as closed.  [-0, +0, m] */
void lunado__closing_mark(lua_State *L, int idx, lunado_iostream *self,
                          int cause);

/* Closes the stream and its handle, unless it is closed.  [-0, +0, m] */
void lunado__closing_close(lua_State *L, int idx, lunado_iostream *self,
                           int cause);

/* Closes the handle of a stream that is closed: nothing is read or written from
 * now on.  [-0, +0, m] */
void lunado__closing_handle(lua_State *L, int idx, lunado_iostream *self);

/* Closes the stream, whose peer has ended; the handle stays until all queued
 * data was sent.  [-0, +0, m] */
void lunado__closing_at_end(lua_State *L, int idx, lunado_iostream *self);

/* Closes the stream, and its handle at once in both cases, because of `cause`.
 * [-0, +0, m] */
void lunado__closing_all(lua_State *L, int idx, lunado_iostream *self,
                         int cause);

/* The same for want of memory.  Errors for which memory is short are not
 * reported.  [-0, +0, -] */
void lunado__closing_for_memory(lua_State *L, int idx, lunado_iostream *self);

/* Closes luv's handle at `handle`, with the callback on top, or nil; pops that.
 * False: it is closing already, or there is no memory.  [-1, +0, -] */
bool lunado__closing_luv(lua_State *L, int handle);

/* Queues the close callback, if there is one.  [-0, +0, -] */
void lunado__closing_callback(lua_State *L, int idx, lunado_iostream *self);

/* The core's event. */
void lunado__closing_closed(lunado_stream *core);

void lunado__closing_functions(lua_State *L);

#endif
