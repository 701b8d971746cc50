/* SPDX-License-Identifier: MIT */
/* capi.h - what the functions of lunado.h have in common. */
#ifndef LUNADO_BINDING_HOST_CAPI_H
#define LUNADO_BINDING_HOST_CAPI_H

#include "binding/state/realm.h"

/* An index as Lua counts from the bottom, or a pseudo-index; 0 where nothing
 * can be.  [-0, +0, -] */
int lunado__capi_index(lua_State *L, int idx);

/* The Future at idx, which may be any number at all; *idx becomes absolute.
 * Raises where there is something else.  [-0, +0, v] */
lunado_future *lunado__capi_future(lua_State *L, lunado_realm *realm, int *idx);

#endif
