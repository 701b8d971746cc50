/* SPDX-License-Identifier: MIT */
/* wrapper.h - luv.run and luv.walk on a loop that is shared. */
#ifndef LUNADO_BINDING_LUV_WRAPPER_H
#define LUNADO_BINDING_LUV_WRAPPER_H

#include "binding/luv/attachment.h"
#include "binding/state/realm.h"

/* Replaces run and walk in luv's table at idx, and notes luv's own in the
 * attachment.
 * [-0, +0, m] */
void lunado__wrapper_install(lua_State *L, lunado_attachment *self, int idx);

#endif
