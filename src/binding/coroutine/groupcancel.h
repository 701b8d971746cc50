/* SPDX-License-Identifier: MIT */
/*
 * groupcancel.h - cancelling a group, on demand or because of an error.
 *
 * The group (group.h) is at idx.  No index may be relative.
 */
#ifndef LUNADO_BINDING_COROUTINE_GROUPCANCEL_H
#define LUNADO_BINDING_COROUTINE_GROUPCANCEL_H

#include "binding/coroutine/group.h"

/* True if there is stack to cancel tasks; else logs that they are not.
 * [-0, +0, -] */
bool lunado__groupcancel_has_stack(lua_State *L, lunado_realm *realm);

/* Gives the group the notice on top, unless it has one, and pops it.
 * [-1, +0, -] */
void lunado__groupcancel_set_notice(lua_State *L, int idx);

/* Cancels the body with the group's notice.  [-0, +0, -] */
void lunado__groupcancel_body(lua_State *L, lunado_realm *realm, int idx);

/* Cancels the children of a group that ends without waiting for them; `reason`
 * is static.  [-0, +0, -] */
void lunado__groupcancel_close(lua_State *L, lunado_realm *realm, int idx,
                               const char *reason);

/* To be called when the child whose member is at m has raised the error of the
 * Failure on top; pops it.  The first error of a group cancels everything else
 * in it; later ones are logged, and so are those in a group that has ended
 * without waiting.  [-1, +0, -] */
void lunado__groupcancel_child_failed(lua_State *L, lunado_realm *realm,
                                      int idx, int m);

/* The same for the body, whose error is on top.  [-1, +0, -] */
void lunado__groupcancel_body_failed(lua_State *L, lunado_realm *realm,
                                     int idx);

/* Logs the first error of a group that cannot raise it, if that is a child's.
 * [-0, +0, -] */
void lunado__groupcancel_log_first(lua_State *L, lunado_realm *realm, int idx);

#endif
