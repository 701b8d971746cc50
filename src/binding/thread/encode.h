/* SPDX-License-Identifier: MIT */
/* encode.h - encoding values into a parcel. */
#ifndef LUNADO_BINDING_THREAD_ENCODE_H
#define LUNADO_BINDING_THREAD_ENCODE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Encodes `count` values, from stack index `first` on.  Pushes a userdata that
 * owns the parcel until lunado__parcel_move moves it out, and returns the
 * parcel.  Raises if a value cannot be sent or memory is short.  [-0, +1, e] */
lunado__parcel *lunado__encode(lua_State *L, int first, int count,
                               const lunado__route *route);

#endif
