/* SPDX-License-Identifier: MIT */
/*
 * walk.h - giving up what cancelled coroutines wait for.
 *
 * Each suspension of a task for which a notice is due ends in a later turn with
 * the error of its notice, unless the task waits for a Future that can be given
 * up: then the outcome of that Future ends the suspension.
 */
#ifndef LUNADO_BINDING_COROUTINE_WALK_H
#define LUNADO_BINDING_COROUTINE_WALK_H

#include "binding/state/realm.h"

/* Withdraws the present wait of the task at t, if a notice is due and the task
 * is suspended.  [-0, +0, -] */
void lunado__walk_task(lua_State *L, lunado_realm *realm, int t);

/* Cancels the children of the group at idx with its notice.  They may end
 * meanwhile.  No index may be relative.  [-0, +0, -] */
void lunado__walk_group(lua_State *L, lunado_realm *realm, int idx);

/* Gives up the pending Future at idx with the notice at `notice` as if the last
 * that waited for it had been cancelled.  Returns false, and changes nothing,
 * if the Future cannot be given up or has several waiters.  No index may be
 * relative.  [-0, +0, -] */
bool lunado__walk_future(lua_State *L, lunado_realm *realm, int idx,
                         int notice);

#endif
