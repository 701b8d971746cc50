/* SPDX-License-Identifier: MIT */
/* waititer.h - gen.WaitIterator. */
#ifndef LUNADO_BINDING_WAITITER_H
#define LUNADO_BINDING_WAITITER_H

#include "binding/binding.h"

/* Adds WaitIterator to the table on top.  [-0, +0, m] */
void lunado__waititer_functions(lua_State *L);

#endif
