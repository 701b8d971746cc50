/* SPDX-License-Identifier: MIT */
/*
 * catch.h - how lunado's own Lua modules catch errors, hand them on and raise
 * them again.
 */
#ifndef LUNADO_BINDING_COROUTINE_CATCH_H
#define LUNADO_BINDING_COROUTINE_CATCH_H

#include "binding/state/realm.h"

/* Adds the functions to the table on top, which is lunado.core. */
void lunado__catch_functions(lua_State *L);

#endif
