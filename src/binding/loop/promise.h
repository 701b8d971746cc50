/* SPDX-License-Identifier: MIT */
/* promise.h - Futures that other threads settle: lunado_newpromise and
 * lunado_promise_settle of lunado.h. */
#ifndef LUNADO_BINDING_LOOP_PROMISE_H
#define LUNADO_BINDING_LOOP_PROMISE_H

#include "binding/state/realm.h"
#include "lunado.h"

/* Returns a new promise for the Future at idx; idx must not be relative.  The
 * current loop delivers the outcome.  Raises if the loop is closed, memory is
 * short or there are too many promises.  [-0, +0, e] */
lunado_promise *lunado__promise_new(lua_State *L, lunado_realm *realm, int idx);

/* Ensures that settled promises can be delivered while the loop closes, even if
 * no memory is left then.  The function that calls this must then close the
 * loop itself, because stack and call records are reserved for its calls only
 * (protect.h).  Returns false when memory is short.  [-0, +0, -] */
bool lunado__promise_reserve(lunado_ioloop *loop);

/* Initializes the loop's promises; there are none yet. */
void lunado__promise_init(lunado_ioloop *loop);

#endif
