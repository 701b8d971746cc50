/* SPDX-License-Identifier: MIT */
/* executor.h - what the module table takes from executor.c. */
#ifndef LUNADO_BINDING_THREAD_EXECUTOR_H
#define LUNADO_BINDING_THREAD_EXECUTOR_H

#include "binding/state/realm.h"

/* Pushes the functions of lunado.executor into the table on top. */
void lunado__executor_functions(lua_State *L);

#endif
