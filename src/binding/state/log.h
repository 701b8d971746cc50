/* SPDX-License-Identifier: MIT */
/* log.h - where errors go that nobody took. */
#ifndef LUNADO_BINDING_STATE_LOG_H
#define LUNADO_BINDING_STATE_LOG_H

#include "binding/state/binding.h"

/* Adds the functions for lunado.log to the table on top. */
void lunado__log_functions(lua_State *L);

#endif
