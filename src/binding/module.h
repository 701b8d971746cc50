/* SPDX-License-Identifier: MIT */
/* module.h - lunado.core as a module, and the realm it is for. */
#ifndef LUNADO_BINDING_MODULE_H
#define LUNADO_BINDING_MODULE_H

#include "binding/state/realm.h"

/* The realm of L's state, made on first use.  [-0, +0, m] */
lunado_realm *lunado__module_realm(lua_State *L);

#endif
