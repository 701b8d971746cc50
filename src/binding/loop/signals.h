/* SPDX-License-Identifier: MIT */
/* signals.h - signals of the process: the C functions that lunado.signals
 * uses. */
#ifndef LUNADO_BINDING_LOOP_SIGNALS_H
#define LUNADO_BINDING_LOOP_SIGNALS_H

#include "binding/state/realm.h"

/* Adds the functions signal_… to the table on top. */
void lunado__signals_functions(lua_State *L);

#endif
