/* SPDX-License-Identifier: MIT */
/*
 * guest.h - guests of a loop: C modules with handles of their own on it.
 *
 * lunado.h describes them for the modules.  A guest that has not left belongs
 * to its loop, which closes the guest's handles when it closes.  The memory of
 * the handles is lunado's, and so is the callback that frees it, because libuv
 * may finish with a handle after the module's code is unloaded.
 */
#ifndef LUNADO_BINDING_LOOP_GUEST_H
#define LUNADO_BINDING_LOOP_GUEST_H

#include "binding/state/realm.h"

typedef struct lunado_guest lunado_guest;
typedef void lunado__guest_on_close(lua_State *L, void *ud);

/* Makes a guest of the current loop.  [-0, +0, e] */
lunado_guest *lunado__guest_new(lua_State *L, lunado_realm *realm,
                                lunado__guest_on_close *on_close, void *ud);

/* Returns the uv_loop_t of the guest's loop. */
uv_loop_t *lunado__guest_uv(const lunado_guest *guest);

/* Returns zeroed memory for a handle; NULL without memory. */
void *lunado__guest_newhandle(lunado_guest *guest, size_t size);

/* Closes a handle and frees its memory when libuv has finished with it; frees
 * it at once if no handle was ever initialized in it. */
void lunado__guest_closehandle(void *handle);

/* Calls fn(ud) as the loop calls its callbacks.  Returns 0; UV_ENOMEM if there
 * was no memory to call fn; UV_ECANCELED if the guest's loop is closed. */
int lunado__guest_call(lunado_guest *guest, lua_CFunction fn, void *ud);

/* Closes the guest's handles, and frees the guest once it is in no call. */
void lunado__guest_leave(lunado_guest *guest);

/* Tells the loop's guests that the loop closes, and sees them off.
 * [-0, +0, -] */
void lunado__guest_close_all(lua_State *L, lunado_ioloop *loop);

#endif
