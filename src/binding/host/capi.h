/* SPDX-License-Identifier: MIT */
/* capi.h - what the functions of lunado.h have in common. */
#ifndef LUNADO_BINDING_HOST_CAPI_H
#define LUNADO_BINDING_HOST_CAPI_H

#include "binding/state/realm.h"

/* Converts idx to an absolute index or a pseudo-index; returns 0 if no value
 * can be there.  [-0, +0, -] */
int lunado__capi_index(lua_State *L, int idx);

/* Returns the Future at *idx, which may be any number, and makes *idx absolute.
 * Raises unless a Future is there.  [-0, +0, v] */
lunado_future *lunado__capi_future(lua_State *L, lunado_realm *realm, int *idx);

#endif
