/* SPDX-License-Identifier: MIT */
/* shutdown.h - leaving a shared loop in order at the end of a Lua state. */
#ifndef LUNADO_BINDING_LUV_SHUTDOWN_H
#define LUNADO_BINDING_LUV_SHUTDOWN_H

#include "binding/luv/attachment.h"
#include "binding/state/realm.h"

/* A new attachment, with its finalizer, held by the registry.  [-0, +0, m] */
lunado_attachment *lunado__shutdown_newattachment(lua_State *L);

/* Makes finalizers of luv's handles wait, from now on, in the list of deferred
 * finalizers.  [-0, +0, m] */
void lunado__shutdown_defer(lua_State *L);

/* Undoes lunado__shutdown_defer, also if it raised halfway; no finalizer may
 * have been deferred yet.
 * [-0, +0, -] */
void lunado__shutdown_undo(lua_State *L);

/* True if the value at idx is a handle of luv's.  [-0, +0, -] */
bool lunado__shutdown_ishandle(lua_State *L, int idx);

/* Runs the finalizers in the list of deferred finalizers.  The
 * caller knows that the state lives on, or that libuv has finished with the
 * handles.  [-0, +0, -] */
void lunado__shutdown_finalize(lua_State *L, lunado_attachment *self);

#endif
