/* SPDX-License-Identifier: MIT */
/* shutdown.h - closing luv's handles and jobs at the end of a Lua state. */
#ifndef LUNADO_BINDING_LUV_SHUTDOWN_H
#define LUNADO_BINDING_LUV_SHUTDOWN_H

#include "binding/luv/attachment.h"
#include "binding/state/realm.h"

/* Makes an attachment with its finalizer; the registry holds it.
 * [-0, +0, m] */
lunado_attachment *lunado__shutdown_newattachment(lua_State *L);

/* Defers the finalizers of luv's handles and work from now on.  [-0, +0, m] */
void lunado__shutdown_defer(lua_State *L);

/* Undoes lunado__shutdown_defer, also if that raised halfway.  Must be called
 * before any finalizer has been deferred.
 * [-0, +0, -] */
void lunado__shutdown_undo(lua_State *L);

/* True if the value at idx is a handle of luv's.  [-0, +0, -] */
bool lunado__shutdown_ishandle(lua_State *L, int idx);

/* Runs the deferred finalizers.  The caller must know that the state lives on,
 * or that libuv has finished with the handles.  [-0, +0, -] */
void lunado__shutdown_finalize(lua_State *L, lunado_attachment *self);

#endif
