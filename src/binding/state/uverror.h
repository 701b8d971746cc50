/* SPDX-License-Identifier: MIT */
/* uverror.h - errors of libuv as Lua values. */
#ifndef LUNADO_BINDING_STATE_UVERROR_H
#define LUNADO_BINDING_STATE_UVERROR_H

#include <lua.h>

/* Pushes the name of the error, such as "EPIPE"; Lua's own message for
 * UV_ENOMEM.  [-0, +1, m] */
void lunado__uverror_pushname(lua_State *L, int error);

/* Pushes the name and libuv's text: "EPIPE: broken pipe".  [-0, +1, m] */
void lunado__uverror_pushtext(lua_State *L, int error);

/* Pushes what luv's functions return for an error: nil, the text, and the name
 * without a text.  Returns 3.  [-0, +3, m] */
int lunado__uverror_pushresults(lua_State *L, int error);

#endif
