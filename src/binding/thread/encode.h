/* SPDX-License-Identifier: MIT */
/* encode.h - writing values down in a parcel. */
#ifndef LUNADO_BINDING_THREAD_ENCODE_H
#define LUNADO_BINDING_THREAD_ENCODE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Packs the `count` values from stack index `first` on.  Pushes a userdata
 * that owns the parcel until it is moved out of it, and returns that parcel.
 * Raises where a value cannot be sent, or memory is short.  [-0, +1, e] */
lunado__parcel *lunado__encode(lua_State *L, int first, int count,
                               const lunado__route *route);

#endif
