/* SPDX-License-Identifier: MIT */
/* waititer.h - gen.WaitIterator. */
#ifndef LUNADO_BINDING_WAITITER_H
#define LUNADO_BINDING_WAITITER_H

#include "binding/binding.h"

/* Adds WaitIterator to the table on top.  [-0, +0, m] */
void lunado__waititer_functions(lua_State *L);

/* Where the value at idx is a WaitIterator, pushes the pending Future that its
 * next() has given, nil: none; else pushes nothing and returns false.
 * [-0, +(0|1), -] */
bool lunado__waititer_next(lua_State *L, const lunado_realm *realm, int idx);

#endif
