/* SPDX-License-Identifier: MIT */
/* system.h - what lunado.process asks of the system. */
#ifndef LUNADO_BINDING_PROCESS_SYSTEM_H
#define LUNADO_BINDING_PROCESS_SYSTEM_H

#include "binding/state/realm.h"

/* Adds the functions to the table on top.  [-0, +0, m] */
void lunado__system_functions(lua_State *L);

#endif
