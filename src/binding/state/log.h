/* SPDX-License-Identifier: MIT */
/* log.h - the functions of lunado.log that need the realm. */
#ifndef LUNADO_BINDING_STATE_LOG_H
#define LUNADO_BINDING_STATE_LOG_H

#include "binding/state/binding.h"

int lunado__log_log(lua_State *L);         /* (level, message) */
int lunado__log_enabled(lua_State *L);     /* (level) → boolean */
int lunado__log_handler(lua_State *L);     /* () → function or nil */
int lunado__log_set_handler(lua_State *L); /* (function or nil) */
int lunado__log_set_level(lua_State *L);   /* (level) */

#endif
