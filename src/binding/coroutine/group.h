/* SPDX-License-Identifier: MIT */
/*
 * group.h - TaskGroups: coroutines that end with the block that started them.
 *
 * A group is a to-be-closed userdata with a scope (scope.h) in the coroutine
 * that opened it.
 */
#ifndef LUNADO_BINDING_COROUTINE_GROUP_H
#define LUNADO_BINDING_COROUTINE_GROUP_H

#include "binding/state/realm.h"

/* Cancels the children of the group at idx with the notice at `notice`, unless
 * they were cancelled before.  [-0, +0, -] */
void lunado__group_tell(lua_State *L, lunado_realm *realm, int idx, int notice);

/* Ends the group at idx, whose block was left without closing it: logs this,
 * and cancels its children.  Does nothing if it has ended.  [-0, +0, -] */
void lunado__group_abandon(lua_State *L, lunado_realm *realm, int idx);

/* Makes the class of groups, once per state.  [-0, +0, m] */
void lunado__group_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__group_functions(lua_State *L);

#endif
