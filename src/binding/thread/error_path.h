/* SPDX-License-Identifier: MIT */
/* error_path.h - saying which value could not be sent, and where it was. */
#ifndef LUNADO_BINDING_THREAD_ERROR_PATH_H
#define LUNADO_BINDING_THREAD_ERROR_PATH_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

/* Raises "cannot send a <what> <way>: <path>" for the value at `idx`, which
 * was met in the object at work.  [-0, +0, v] */
void lunado__error_path_raise(lua_State *L, const lunado__packing *p, int idx,
                              const char *what);

#endif
