/* SPDX-License-Identifier: MIT */
/* wrapper.h - replacements of luv.run and luv.walk for a shared loop. */
#ifndef LUNADO_BINDING_LUV_WRAPPER_H
#define LUNADO_BINDING_LUV_WRAPPER_H

#include "binding/luv/attachment.h"
#include "binding/state/realm.h"

/* Replaces run and walk in luv's table at idx, and stores luv's own functions
 * in the attachment.
 * [-0, +0, m] */
void lunado__wrapper_install(lua_State *L, lunado_attachment *self, int idx);

#endif
