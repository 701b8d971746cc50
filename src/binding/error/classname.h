/* SPDX-License-Identifier: MIT */
/*
 * classname.h - the names by which two Lua states identify the same class of
 * errors.
 *
 * A name consists of the class's own name and the names of its ancestors.  If a
 * state has several classes of one name, the first one keeps the plain name,
 * and the others get a mark that distinguishes them.  So a class that was sent
 * to another state and comes back is the same class.
 */
#ifndef LUNADO_BINDING_ERROR_CLASSNAME_H
#define LUNADO_BINDING_ERROR_CLASSNAME_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/state/realm.h"

/* True if the value at idx is a class of errors.  [-0, +0, -] */
bool lunado__classname_is_class(lua_State *L, int idx);

/* Pushes the name of the class at idx.  The first use creates the name.
 * [-0, +1, m] */
void lunado__classname_give(lua_State *L, int idx);

/* Pushes the class of that name.  If this state has none, derives it, after
 * those of its ancestors that are missing as well.  [-0, +1, m] */
void lunado__classname_find(lua_State *L, const char *name, size_t length);

#endif
