/* SPDX-License-Identifier: MIT */
/* body.h - the function at the base of every coroutine. */
#ifndef LUNADO_BINDING_COROUTINE_BODY_H
#define LUNADO_BINDING_COROUTINE_BODY_H

#include "binding/state/realm.h"

/* The base of every coroutine: calls the function that is its second
 * argument, with the handler that is its first. */
int lunado__body_run(lua_State *L);

/* Message handler of the body: notes where the error was raised. */
int lunado__body_handler(lua_State *L);

#endif
