/* SPDX-License-Identifier: MIT */
/* module.h - lunado.core, the module, and the realm that it uses. */
#ifndef LUNADO_BINDING_MODULE_H
#define LUNADO_BINDING_MODULE_H

#include "binding/state/realm.h"

/* Returns the realm of L's state.  The first use creates it.  [-0, +0, m] */
lunado_realm *lunado__module_realm(lua_State *L);

#endif
