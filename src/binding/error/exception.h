/* SPDX-License-Identifier: MIT */
/* exception.h - what the module table takes from exception.c. */
#ifndef LUNADO_BINDING_ERROR_EXCEPTION_H
#define LUNADO_BINDING_ERROR_EXCEPTION_H

#include "binding/state/binding.h"

/* util.isinstance(value, class) → boolean.  Raises bad argument where `class`
 * is none. */
int lunado__util_isinstance(lua_State *L);

#endif
