/* SPDX-License-Identifier: MIT */
/*
 * inspect.h - which tasks are suspended, where, and what they wait for.  For
 * lunado.debug.
 */
#ifndef LUNADO_BINDING_DEBUG_INSPECT_H
#define LUNADO_BINDING_DEBUG_INSPECT_H

#include "binding/state/realm.h"

/* Adds the functions for lunado.debug to the table on top. */
void lunado__inspect_functions(lua_State *L);

#endif
