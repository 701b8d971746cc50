/* SPDX-License-Identifier: MIT */
/* unsendable.h - the error for a value that cannot be sent, with its path. */
#ifndef LUNADO_BINDING_THREAD_UNSENDABLE_H
#define LUNADO_BINDING_THREAD_UNSENDABLE_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Raises "cannot send a <what> <way>: <path>" for the value at `idx`, which was
 * met in object p->current.  [-0, +0, v] */
void lunado__unsendable_raise(lua_State *L, const lunado__packing *p, int idx,
                              const char *what);

#endif
