/* SPDX-License-Identifier: MIT */
/*
 * groupend.h - how a group ends: its block's end, or without one.
 */
#ifndef LUNADO_BINDING_COROUTINE_GROUPEND_H
#define LUNADO_BINDING_COROUTINE_GROUPEND_H

#include "binding/coroutine/group.h"

/* The metamethods __close and __gc of groups. */
int lunado__groupend_close(lua_State *L);
int lunado__groupend_gc(lua_State *L);

/* Ends the group at idx, whose block was left without closing it: logs this,
 * and cancels its children.  Does nothing if it has ended.  [-0, +0, -] */
void lunado__groupend_abandon(lua_State *L, lunado_realm *realm, int idx);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__groupend_functions(lua_State *L);

#endif
