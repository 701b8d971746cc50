/* SPDX-License-Identifier: MIT */
/* exception.h - classes of errors, and objects of them. */
#ifndef LUNADO_BINDING_ERROR_EXCEPTION_H
#define LUNADO_BINDING_ERROR_EXCEPTION_H

#include "binding/state/binding.h"

/* Adds util.isinstance to the table on top. */
void lunado__exception_functions(lua_State *L);

#endif
