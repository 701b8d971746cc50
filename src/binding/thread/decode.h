/* SPDX-License-Identifier: MIT */
/* decode.h - making values from a parcel. */
#ifndef LUNADO_BINDING_THREAD_DECODE_H
#define LUNADO_BINDING_THREAD_DECODE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Pushes copies of the encoded values; the parcel is unchanged and may be
 * decoded again.  [-0, +parcel->count, m] */
void lunado__decode(lua_State *L, const lunado__parcel *parcel);

#endif
