/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the threads behind an executor, and the Futures of their jobs.
 *
 * A pool is a userdata.  The registry holds the pool until it is shut down and
 * its threads have ended.  So the finalizer of a pool with threads runs only
 * when the state is closed, and may wait for the threads.
 */
#ifndef LUNADO_BINDING_THREAD_POOL_H
#define LUNADO_BINDING_THREAD_POOL_H

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

typedef struct lunado__pool lunado__pool;

/* Makes the metatable of pools.  [-0, +0, m] */
void lunado__pool_open(lua_State *L);

/* Pushes a pool of at most `threads` threads, which are started when they are
 * needed.  At most `queue` jobs wait for a thread.  Workers use copies of this
 * state's current package.path and package.cpath.  [-0, +1, e] */
lunado__pool *lunado__pool_new(lua_State *L, lunado_realm *realm,
                               unsigned threads, size_t queue);

/* Raises an error unless n jobs can be sent now.  [-0, +0, v] */
void lunado__pool_check_room(lua_State *L, lunado__pool *pool, size_t n);

/* Sends the parcel on top, a function and its arguments, as a job; empties the
 * parcel and pushes the Future of the job's outcome.  After a shut-down, or if
 * the queue is full or memory is short, raises an error and sends nothing.
 * [-0, +1, e] */
void lunado__pool_send(lua_State *L, lunado__pool *pool);

/* Refuses jobs from now on.  With `wait`, settles all Futures and waits until
 * all threads have ended.  Otherwise the Futures are settled and the threads
 * end during later turns of the loop.  May be called again.  [-0, +0, -] */
void lunado__pool_shut_down(lua_State *L, lunado__pool *pool, bool wait);

#endif
