/* SPDX-License-Identifier: MIT */
/* realm.h - the way to the realm where there is no upvalue. */
#ifndef LUNADO_BINDING_STATE_REALM_H
#define LUNADO_BINDING_STATE_REALM_H

#include "binding/state/binding.h"

/* The realm if there is one, else NULL; for hooks and finalizers, which have
 * no upvalues.  [-0, +0, -] */
lunado_realm *lunado__realm_find(lua_State *L);

#endif
