/* SPDX-License-Identifier: MIT */
/* process.h - programs that were started, as Lua values. */
#ifndef LUNADO_BINDING_PROCESS_PROCESS_H
#define LUNADO_BINDING_PROCESS_PROCESS_H

#include "binding/state/realm.h"

/* Makes the class, once per state.  [-0, +0, m] */
void lunado__process_open(lua_State *L, lunado_realm *realm);

/* Adds the functions to the table on top.  [-0, +0, m] */
void lunado__process_functions(lua_State *L);

#endif
