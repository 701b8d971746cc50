/* SPDX-License-Identifier: MIT */
/* finding.h - what a read wants, looked for in the bytes that have come. */
#ifndef LUNADO_BINDING_STREAM_FINDING_H
#define LUNADO_BINDING_STREAM_FINDING_H

#include "binding/stream/iostream.h"

/* What lunado__finding_find returns beside a number of bytes. */
enum { LUNADO_FIND_NOT_YET = -1, LUNADO_FIND_NEVER = -2 };

/* Returns how many bytes the read gets; LUNADO_FIND_NOT_YET; or
 * LUNADO_FIND_NEVER, with the error on top.  Takes nothing.
 * [-0, +(0|1), e] */
ptrdiff_t lunado__finding_find(lua_State *L, int idx, lunado_iostream *self);

/* For a read that has not found what it wants.  Returns true, with the error on
 * top, if the buffer is full, so that it never will.  [-0, +(0|1), m] */
bool lunado__finding_is_hopeless(lua_State *L, int idx, lunado_iostream *self);

#endif
