/* SPDX-License-Identifier: MIT */
/*
 * queue.h - what is ready on a loop, in order: callbacks and coroutines.
 *
 * An entry is the task of a coroutine to be resumed, or a callable and its
 * arguments.  Entries lie on the stacks of Lua threads that never run, which
 * is where Lua moves values at least cost.
 *
 * Every coroutine that is suspended has a place reserved.  So waking one can
 * never fail.
 */
#ifndef LUNADO_BINDING_LOOP_QUEUE_H
#define LUNADO_BINDING_LOOP_QUEUE_H

#include "binding/state/realm.h"

typedef struct lunado_segment lunado_segment;

typedef struct {
  int table;             /* reference in the registry: what holds the segments;
                            LUA_NOREF when closed */
  lunado_segment *batch; /* entries to be run next, the first one on top */
  lunado_segment
      *first; /* list of segments: those with entries, in order, up to */
  lunado_segment *filling; /* this one, and empty ones behind it */
  uint32_t capacity;       /* places of the segments in the list */
  uint32_t free;           /* places left in `filling` and behind it */
  uint32_t reserved;       /* places promised to suspended coroutines */
  uint32_t count;          /* entries, those of the batch included */
  uint32_t turn;           /* entries left that belong to the present turn */
  uint32_t failed; /* attempts of a run to begin a turn, since one has */
  bool gave_up;    /* the run was stopped because of them */
} lunado_queue;

void lunado__queue_open(lua_State *L, lunado_realm *realm);

/* Makes the queue of a loop.  [-0, +0, m] */
void lunado__queue_init(lua_State *L, lunado_queue *queue);

/* Drops all entries, and the memory.  [-0, +0, -] */
void lunado__queue_fini(lua_State *L, lunado_queue *queue);

/* True if one more coroutine has a place. */
static inline bool lunado__queue_has_place(const lunado_queue *queue) {
  return queue->free > queue->reserved;
}

/* Sees that one more coroutine has a place.  [-0, +0, m] */
void lunado__queue_add_place(lua_State *L, lunado_queue *queue);

/* Puts the task of a coroutine, or a function to be called without arguments,
 * at the end of the loop's queue, which has a place for it.  [-1, +0, -] */
void lunado__queue_push_task(lua_State *L, lunado_ioloop *loop);
void lunado__queue_push_function(lua_State *L, lunado_ioloop *loop);

/* Queues the callable below nargs arguments; one that fails for want of
 * memory is logged.  On a closed loop it is dropped.  [-(nargs+1), +0, -] */
void lunado__queue_callback(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop, int nargs);

/* Does the same, but raises.  [-(nargs+1), +0, m] */
void lunado__queue_add(lua_State *L, lunado_ioloop *loop, int nargs);

/* Looks at an entry of `arity` values on the thread's stack, the first one at
 * idx; it may push two.  [-0, +0, -] */
typedef void lunado__queue_visit(lua_State *thread, int idx, int arity,
                                 void *data);

/* Calls visit(…, data) for each callback in the queue.  [-0, +0, -] */
void lunado__queue_each(const lunado_queue *queue, lunado__queue_visit *visit,
                        void *data);

/* Runs the entries of one turn, errors reported; the loop's task.  Where no
 * turn can begin, as without any memory, time and again, the run in progress is
 * stopped. */
void lunado__queue_run(lunado_loop *core, lunado_callback *task);

/* Pushes the Failure because of which the loop's run was stopped; where there
 * is none, pushes nothing and returns false.  What is in the queue comes with
 * the next run.  [-0, +(0|1), -] */
bool lunado__queue_gave_up(lua_State *L, lunado_ioloop *loop);

#endif
