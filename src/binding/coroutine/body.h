/* SPDX-License-Identifier: MIT */
/* body.h - the function at the base of every coroutine. */
#ifndef LUNADO_BINDING_COROUTINE_BODY_H
#define LUNADO_BINDING_COROUTINE_BODY_H

#include "binding/state/realm.h"

/* The function at the base of every coroutine.  (nil, handler, fn, ...): calls
 * fn(...) with the message handler. */
int lunado__body_run(lua_State *L);

/* The message handler of lunado__body_run: records where the error was raised,
 * in a Failure that replaces the nil, and returns the error. */
int lunado__body_handler(lua_State *L);

#endif
