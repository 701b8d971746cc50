/* SPDX-License-Identifier: MIT */
/*
 * closing.h - how a stream is closed, and the errors that report it.
 *
 * A closed stream keeps its handle in two cases: the peer has ended, and queued
 * data is still being sent; or a write has failed, and the data that the peer
 * has sent is still being read.
 */
#ifndef LUNADO_BINDING_STREAM_CLOSING_H
#define LUNADO_BINDING_STREAM_CLOSING_H

#include "binding/stream/iostream.h"

/* In all functions, idx is the index of the userdata, and `cause` the index of
 * the error that closes the stream (not nil), or 0 for none.  Neither may be
 * relative. */

/* Pushes the StreamClosedError of a call on a closed stream.  `cause` 0 means
 * the error that closed the stream.  [-0, +1, m] */
void lunado__closing_pusherror(lua_State *L, int idx, lunado_iostream *self,
                               int cause);

/* Pushes a Future that has failed with the error on top, which it pops.
 * [-1, +1, m] */
void lunado__closing_pushfailed(lua_State *L, lunado_iostream *self);

/* Fails the Future on top, if it is pending, with that StreamClosedError; pops
 * the Future.  With `observed` the error is not logged if no code observes it.
 * [-1, +0, -] */
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

/* Closes the handle of a closed stream: from now on it neither reads nor
 * writes.
 * [-0, +0, m] */
void lunado__closing_handle(lua_State *L, int idx, lunado_iostream *self);

/* Closes the stream, whose peer has ended; closes the handle once all queued
 * data was sent.  [-0, +0, m] */
void lunado__closing_at_end(lua_State *L, int idx, lunado_iostream *self);

/* Closes the stream and its handle, also if the stream is closed already.
 * [-0, +0, m] */
void lunado__closing_all(lua_State *L, int idx, lunado_iostream *self,
                         int cause);

/* The same, because there is no memory.  Errors for which there is none either
 * are not reported.  [-0, +0, -] */
void lunado__closing_for_memory(lua_State *L, int idx, lunado_iostream *self);

/* Closes luv's handle at `handle`, with the callback on top, or nil, which it
 * pops.  Returns false if the handle is closing already, or there is no memory.
 * [-1, +0, -] */
bool lunado__closing_luv(lua_State *L, int handle);

/* Queues the close callback, if there is one.  [-0, +0, -] */
void lunado__closing_callback(lua_State *L, int idx, lunado_iostream *self);

/* The core's event. */
void lunado__closing_closed(lunado_stream *core);

void lunado__closing_functions(lua_State *L);

#endif
