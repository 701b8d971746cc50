/* SPDX-License-Identifier: MIT */
/* undump.h - the values of a string that dumps has made. */
#ifndef LUNADO_BINDING_THREAD_UNDUMP_H
#define LUNADO_BINDING_THREAD_UNDUMP_H

#include <lua.h>

/* Adds loads to the table on top.  [-0, +0, m] */
void lunado__undump_functions(lua_State *L);

#endif
