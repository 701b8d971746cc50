/* SPDX-License-Identifier: MIT */
/*
 * queue.h - the queue of a loop: callbacks and coroutines that are ready, in
 * order.
 *
 * An entry is the task of a coroutine to be resumed, or a callable and its
 * arguments.  Entries are stored on the stacks of Lua threads that never run,
 * because moving values between stacks is cheapest in Lua.
 *
 * Every suspended coroutine has a slot reserved, so waking it cannot fail.
 */
#ifndef LUNADO_BINDING_LOOP_QUEUE_H
#define LUNADO_BINDING_LOOP_QUEUE_H

#include "binding/state/realm.h"

typedef struct lunado_segment lunado_segment;

typedef struct {
  int table;               /* registry: the table that holds the segments;
                            * LUA_NOREF when closed */
  lunado_segment *batch;   /* entries to run next, the first on top */
  lunado_segment *first;   /* list of segments; those with entries come first */
  lunado_segment *filling; /* last segment with entries; the empty ones follow
                            * it */
  uint32_t capacity;       /* slots in all segments of the list */
  uint32_t free;           /* free slots in `filling` and behind it */
  uint32_t reserved;       /* slots reserved for suspended coroutines */
  uint32_t count;          /* entries, including those of the batch */
  uint32_t turn;           /* entries of the present turn that are left */
  uint32_t failed; /* failed attempts to begin a turn since the last success */
  bool gave_up;    /* the run was stopped because of these failures */
} lunado_queue;

/* Makes realm->loops.called, the thread that keeps the callables of the calls
 * in progress, once per state.  [-0, +0, m] */
void lunado__queue_open(lua_State *L, lunado_realm *realm);

/* Initializes the queue of a loop.  [-0, +0, m] */
void lunado__queue_init(lua_State *L, lunado_queue *queue);

/* Drops all entries and frees the memory.  [-0, +0, -] */
void lunado__queue_fini(lua_State *L, lunado_queue *queue);

/* True if a slot can be reserved for one more coroutine. */
static inline bool lunado__queue_has_slot(const lunado_queue *queue) {
  return queue->free > queue->reserved;
}

/* Ensures that a slot can be reserved for one more coroutine.  Raises if
 * memory is short or the queue is closed.  [-0, +0, m] */
void lunado__queue_add_slot(lua_State *L, lunado_queue *queue);

/* Appends the value on top, the task of a coroutine or a function to be called
 * without arguments, to the loop's queue.  The caller has reserved a slot.
 * [-1, +0, -] */
void lunado__queue_push_task(lua_State *L, lunado_ioloop *loop);
void lunado__queue_push_function(lua_State *L, lunado_ioloop *loop);

/* Queues the callable below nargs arguments.  If memory is short, logs that the
 * callback is lost.  On a closed loop the callback is dropped.
 * [-(nargs+1), +0, -] */
void lunado__queue_callback(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop, int nargs);

/* As lunado__queue_callback, but raises if memory is short.
 * [-(nargs+1), +0, m] */
void lunado__queue_add(lua_State *L, lunado_ioloop *loop, int nargs);

/* Visits an entry of `arity` values on the thread's stack, the first of them at
 * idx.  The visitor may push two values.  [-0, +0, -] */
typedef void lunado__queue_visit(lua_State *thread, int idx, int arity,
                                 void *data);

/* Calls visit(…, data) for each callback in the queue.  [-0, +0, -] */
void lunado__queue_each(const lunado_queue *queue, lunado__queue_visit *visit,
                        void *data);

/* The loop's `drain` callback: runs the entries of one turn and reports their
 * errors.  If no turn can begin in many attempts, for example for lack of
 * memory, stops the run in progress. */
void lunado__queue_run(lunado_loop *core, lunado_callback *task);

/* If the loop's run was stopped because no turn could begin, pushes the Failure
 * that was the cause and returns true; else returns false.  The next run runs
 * the entries that are left.  [-0, +(0|1), -] */
bool lunado__queue_gave_up(lua_State *L, lunado_ioloop *loop);

#endif
