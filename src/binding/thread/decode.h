/* SPDX-License-Identifier: MIT */
/* decode.h - decoding the values of a parcel. */
#ifndef LUNADO_BINDING_THREAD_DECODE_H
#define LUNADO_BINDING_THREAD_DECODE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Pushes copies of the values in the parcel.  The parcel does not change and
 * may be decoded again.  [-0, +parcel->count, m] */
void lunado__decode(lua_State *L, const lunado__parcel *parcel);

#endif
