/* SPDX-License-Identifier: MIT */
/* promise.h - Futures that other threads settle: lunado_newpromise and
 * lunado_promise_settle of lunado.h. */
#ifndef LUNADO_BINDING_LOOP_PROMISE_H
#define LUNADO_BINDING_LOOP_PROMISE_H

#include "binding/state/realm.h"
#include "lunado.h"

/* A promise for the Future at idx, which is not relative.  [-0, +0, e] */
lunado_promise *lunado__promise_new(lua_State *L, lunado_realm *realm, int idx);

/* Ensures that settled promises can be delivered while the loop closes, even if
 * no memory is left then.  The calling function must be the one that closes the
 * loop.  Returns false when memory is short.  [-0, +0, -] */
bool lunado__promise_reserve(lunado_ioloop *loop);

/* Makes the loop's promises, of which there are none. */
void lunado__promise_init(lunado_ioloop *loop);

#endif
