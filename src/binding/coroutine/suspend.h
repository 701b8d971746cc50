/* SPDX-License-Identifier: MIT */
/*
 * suspend.h - what happens to a coroutine from its yield until it is resumed:
 * it waits, is queued, or an error is prepared for its yield (throw.h).
 */
#ifndef LUNADO_BINDING_COROUTINE_SUSPEND_H
#define LUNADO_BINDING_COROUTINE_SUSPEND_H

#include "binding/state/realm.h"

/* The callback of a suspended task's waiter: queues the task. */
void lunado__suspend_ready(lunado_settler *settler, lunado_waiter *waiter,
                           lunado_future *future);

/* Queues the task that owns `waiter`, the sole waiter of the Future at idx,
 * which lunado_future_take_sole has just removed.  [-0, +0, -] */
void lunado__suspend_ready_sole(lua_State *L, int idx, lunado_waiter *waiter);

/* Refs the loop of the task at t, which is about to be suspended, and sets the
 * flags `how`, which include TASK_WAITING or TASK_QUEUED.  Binds the task to
 * its Future if it is not bound yet.  [-0, +0, -] */
void lunado__suspend_ref(lua_State *L, int t, lunado_task *task, uint32_t how);

/* Saves the current stack contexts, if there are any: the task at t will be
 * resumed within them.  [-0, +0, e] */
void lunado__suspend_wrap(lua_State *L, const lunado_realm *realm, int t);

/* Puts the task at t into its loop's queue, which has a free slot.  The loop
 * will resume the task.  [-0, +0, -] */
void lunado__suspend_queue(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task);

/* Queues the task on top, whose waiter has just been unlinked, and pops it.  A
 * task that was already collected is not queued.  [-1, +0, -] */
void lunado__suspend_make_ready(lua_State *L, lunado_waiter *waiter);

/* Handles a yield of n values by the task at t, for which
 * lunado__suspend_push_done has returned false.  Returns SUSPENDED if the task
 * is now suspended; or how many values to resume it with, which are on top of
 * its thread's stack; or RESUMED_OUTSIDE.  [-0, +0, -] */
int lunado__suspend_wait(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n);

/* The fast path of lunado__suspend_wait.  If the n values on top are one
 * Future that is done with one result, pushes its metatable and the result, and
 * returns true; otherwise changes nothing and returns false.
 * [-0, +(0|2), -] */
bool lunado__suspend_push_done(lua_State *thread, lunado_realm *realm, int n);

/* The Future is on top of the thread of the task at t.  Pushes its results onto
 * that thread; or its error, which is prepared for the task's yield.  Returns
 * how many values to resume the task with. */
int lunado__suspend_push_outcome(lua_State *L, lunado_realm *realm, int t,
                                 lunado_task *task, lunado_future *future);

/* Ends the wait of the suspended task at t, and queues it: the error of the
 * failed Future on top will be raised at its yield.  Returns false, and changes
 * nothing, if the task is not suspended or was resumed outside, if the Future
 * that it waits for has failed already, or if its thread has no stack left.
 * Pops the failed Future.  [-1, +0, -] */
bool lunado__suspend_fail_wait(lua_State *L, int t);

/* Handles a yield of n values by the task at t.  Returns as
 * lunado__suspend_wait.  The current stack contexts must be `context` (NULL:
 * none) or the task's own; otherwise an error is raised at the yield.
 * [-0, +0, -] */
int lunado__suspend_next(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n, const void *context);

/* Queues the task at t: its coroutine will start on the next turn of the loop.
 * [-0, +0, m] */
void lunado__suspend_start_later(lua_State *L, int t, lunado_ioloop *loop);

#endif
