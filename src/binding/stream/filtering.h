/* SPDX-License-Identifier: MIT */
/*
 * filtering.h - streams with a filter (core/filter.h), such as TLS.
 *
 * A filter comes with an object, a userdata of the library that made it; the
 * stream holds the object.  It has two methods: started(stream), called when
 * the handshake has ended well; failure(), which returns the filter's error, or
 * nil.
 */
#ifndef LUNADO_BINDING_STREAM_FILTERING_H
#define LUNADO_BINDING_STREAM_FILTERING_H

#include "binding/stream/iostream.h"

/* Pushes the error for a status of the core's, which may be that of the filter.
 * During a handshake, also sets the message of the StreamClosedErrors.
 * [-0, +1, e] */
void lunado__filtering_pushcause(lua_State *L, int idx, lunado_iostream *self,
                                 int status);

/* Fails the Future of the handshake, if that has not ended.  [-0, +0, -] */
void lunado__filtering_fail(lua_State *L, int idx, lunado_iostream *self);

/* The core's event. */
void lunado__filtering_started(lunado_stream *core);

void lunado__filtering_functions(lua_State *L);

#endif
