/* SPDX-License-Identifier: MIT */
/*
 * classname.h - the names by which two Lua states mean the same class of
 * errors.
 *
 * A name is that of the class and of those it derives from.  Where a state
 * has several classes called the same, the first one made has the plain name
 * and the others are told apart; so a class that was sent to another state
 * and comes back is the very same one.
 */
#ifndef LUNADO_BINDING_ERROR_CLASSNAME_H
#define LUNADO_BINDING_ERROR_CLASSNAME_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/state/realm.h"

/* True if the value at idx is a class of errors.  [-0, +0, -] */
bool lunado__classname_is_class(lua_State *L, int idx);

/* Gives the class at idx its name, and pushes that.  [-0, +1, m] */
void lunado__classname_give(lua_State *L, int idx);

/* Pushes the class of that name; where this state has none it is derived
 * anew, and its ancestors, too.  [-0, +1, m] */
void lunado__classname_find(lua_State *L, const char *name, size_t length);

#endif
