/* SPDX-License-Identifier: MIT */
/* capi.h - what the functions of lunado.h have in common. */
#ifndef LUNADO_BINDING_CAPI_H
#define LUNADO_BINDING_CAPI_H

#include "binding/binding.h"

/* The Future at idx, which may be any number at all; *idx becomes absolute.
 * Raises where there is something else.  [-0, +0, v] */
lunado_future *lunado__hostfuture(lua_State *L, lunado_realm *realm, int *idx);

#endif
