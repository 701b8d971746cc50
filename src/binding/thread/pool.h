/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the threads behind an executor, and the Futures of their jobs.
 *
 * A pool is a userdata.  The registry holds it until it is shut down and its
 * threads have ended; so the finalizer of a pool with threads runs only when
 * the state is closed, and may wait for them.
 */
#ifndef LUNADO_BINDING_THREAD_POOL_H
#define LUNADO_BINDING_THREAD_POOL_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

typedef struct lunado__pool lunado__pool;

/* Makes the metatable of pools.  [-0, +0, m] */
void lunado__pool_open(lua_State *L);

/* Pushes a pool of at most `threads` threads, none of which is started yet;
 * at most `queue` jobs wait for a thread.  Workers use the present package.path
 * and package.cpath of this state.  [-0, +1, e] */
lunado__pool *lunado__pool_new(lua_State *L, lunado_realm *realm,
                               unsigned threads, size_t queue);

/* Raises unless n jobs can be sent now.  [-0, +0, v] */
void lunado__pool_check_room(lua_State *L, lunado__pool *pool, size_t n);

/* Moves the job out of the parcel and sends it; pushes the Future of its
 * outcome.  Raises, without any change, after a shut-down, if the queue is
 * full, or if memory is short.  [-0, +1, e] */
void lunado__pool_send(lua_State *L, lunado__pool *pool,
                       lunado__parcel *parcel);

/* Refuses jobs from now on.  With `wait`, all Futures are settled and all
 * threads have ended when it returns; else both happen as the loop turns.
 * May be repeated.  [-0, +0, -] */
void lunado__pool_shut_down(lua_State *L, lunado__pool *pool, bool wait);

#endif
