/* SPDX-License-Identifier: MIT */
/*
 * raise.h - errors on their way through lunado's own Lua modules.
 */
#ifndef LUNADO_BINDING_COROUTINE_RAISE_H
#define LUNADO_BINDING_COROUTINE_RAISE_H

#include "binding/state/realm.h"

/* Adds the functions to the table on top, lunado.core. */
void lunado__raise_functions(lua_State *L);

#endif
