/* SPDX-License-Identifier: MIT */
/* executor.h - the functions of lunado.executor. */
#ifndef LUNADO_BINDING_THREAD_EXECUTOR_H
#define LUNADO_BINDING_THREAD_EXECUTOR_H

#include "binding/state/realm.h"

/* Sets the functions of lunado.executor in the table on top.  [-0, +0, m] */
void lunado__executor_functions(lua_State *L);

#endif
