/* SPDX-License-Identifier: MIT */
/* connecting.h - connecting a stream. */
#ifndef LUNADO_BINDING_STREAM_CONNECTING_H
#define LUNADO_BINDING_STREAM_CONNECTING_H

#include "binding/stream/iostream.h"

/* Fails the Future of connect, of a stream that is closed.  [-0, +0, -] */
void lunado__connecting_fail(lua_State *L, int idx, lunado_iostream *self);

/* The core's event. */
void lunado__connecting_connected(lunado_stream *core, int error);

void lunado__connecting_functions(lua_State *L);

#endif
