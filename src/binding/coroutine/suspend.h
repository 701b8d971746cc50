/* SPDX-License-Identifier: MIT */
/*
 * suspend.h - what happens between a yield and the next turn of a coroutine: it
 * waits, is made ready, or an error is raised where it yielded.
 */
#ifndef LUNADO_BINDING_COROUTINE_SUSPEND_H
#define LUNADO_BINDING_COROUTINE_SUSPEND_H

#include "binding/state/realm.h"

/* The callback of a suspended task's waiter. */
void lunado__suspend_ready(lunado_settler *settler, lunado_waiter *waiter,
                           lunado_future *future);

/* Queues the task that is the owner of the sole waiter of the Future at idx,
 * which lunado_future_take_sole has just taken.  [-0, +0, -] */
void lunado__suspend_ready_sole(lua_State *L, int idx, lunado_waiter *waiter);

/* Counts the task, which is to be suspended `how` (TASK_WAITING or
 * TASK_QUEUED), as one of its loop's.  [-0, +0, -] */
void lunado__suspend_ref(lua_State *L, int t, lunado_task *task, uint32_t how);

/* Keeps the current stack contexts, where there are any, for when the task at
 * t is resumed.  [-0, +0, e] */
void lunado__suspend_capture(lua_State *L, const lunado_realm *realm, int t);

/* Puts the task at t, which is to be resumed, into its loop's queue, which has
 * room.  [-0, +0, -] */
void lunado__suspend_queue(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task);

/* Queues the task on top, which waits and whose waiter has just been taken
 * back, and pops it.  [-1, +0, -] */
void lunado__suspend_make_ready(lua_State *L, lunado_waiter *waiter);

/* Deals with a yield of n values.  Returns SUSPENDED when the task at t is,
 * else how many values, on top of its thread's stack, to resume it with, or
 * RESUMED_OUTSIDE.  [-0, +0, -] */
int lunado__suspend_wait(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n);

/* The short way of lunado__suspend_wait: pushes the one result of a Future
 * that is done.  Returns false, and has changed nothing, for all else.
 * [-0, +(0|1), -] */
bool lunado__suspend_push_ready(lua_State *thread, lunado_realm *realm, int n);

/* Pushes what the Future on top of the task's thread came to; returns how many
 * values to resume with. */
int lunado__suspend_push_outcome(lua_State *L, int t, lunado_task *task,
                                 lunado_future *future);

/* The coroutine of the task at t, which is suspended, waits no longer: the
 * error of the failed Future on top is raised at its yield.  Returns false, and
 * has changed nothing, where it is not suspended, was resumed outside,
 * or has an error on its way.  [-1, +0, -] */
bool lunado__suspend_fail_wait(lua_State *L, int t);

/* Deals with a yield of n values by the task at t.  Returns how many values to
 * resume it with, or SUSPENDED. */
int lunado__suspend_next(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task, int n, const void *context);

/* The coroutine of the task at t starts on the next turn of the loop.
 * [-0, +0, m] */
void lunado__suspend_start_later(lua_State *L, int t, lunado_ioloop *loop);

#endif
