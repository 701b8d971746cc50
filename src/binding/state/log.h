/* SPDX-License-Identifier: MIT */
/* log.h - the log: errors that no caller has taken, and messages. */
#ifndef LUNADO_BINDING_STATE_LOG_H
#define LUNADO_BINDING_STATE_LOG_H

#include "binding/state/realm.h"

/* Adds the functions for lunado.log to the table on top. */
void lunado__log_functions(lua_State *L);

typedef enum {
  LUNADO_LOG_DEBUG,
  LUNADO_LOG_INFO,
  LUNADO_LOG_WARNING,
  LUNADO_LOG_ERROR
} lunado_log_level;

/* Logs the string on top, and pops it.  Raises nothing.  [-1, +0, -] */
void lunado__log(lua_State *L, lunado_realm *realm, lunado_log_level level);

/* Logs the text as an error, even if memory has run out.  [-0, +0, -] */
void lunado__log_text(lua_State *L, lunado_realm *realm, const char *text);

/* Logs the text, followed by the value on top, as an error, even if memory has
 * run out.  Pops the value.  [-1, +0, -] */
void lunado__log_value(lua_State *L, lunado_realm *realm, const char *text);

#endif
