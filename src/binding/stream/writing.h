/* SPDX-License-Identifier: MIT */
/* writing.h - the writes of a stream. */
#ifndef LUNADO_BINDING_STREAM_WRITING_H
#define LUNADO_BINDING_STREAM_WRITING_H

#include "binding/stream/iostream.h"

/* Drops the queued writes.  Their Futures fail with an error that is not
 * logged, because the close callback and the next call report it.  [-0, +0, -]
 */
void lunado__writing_fail_all(lua_State *L, int idx, lunado_iostream *self);

/* The core's event. */
void lunado__writing_written(lunado_stream *core, lunado_write *write,
                             int error);

void lunado__writing_functions(lua_State *L);

#endif
