/* SPDX-License-Identifier: MIT */
/* decode.h - making the values that a parcel tells of. */
#ifndef LUNADO_BINDING_THREAD_DECODE_H
#define LUNADO_BINDING_THREAD_DECODE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Pushes copies of what was packed; the parcel stays as it is, and may be
 * unpacked again.  [-0, +parcel->count, m] */
void lunado__decode(lua_State *L, const lunado__parcel *parcel);

#endif
