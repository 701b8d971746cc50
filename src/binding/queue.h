/* SPDX-License-Identifier: MIT */
/*
 * queue.h - what is ready on a loop, in order: callbacks and coroutines.
 *
 * A ring in a Lua table, whose places exist from the start, so that storing
 * an entry never allocates.  An entry is a function to be called without
 * arguments, the task of a coroutine to be resumed, or an integer n and the
 * n + 1 values behind it: a callable and its arguments.
 *
 * Every coroutine that is suspended has a place reserved.  So waking one can
 * never fail.
 */
#ifndef LUNADO_BINDING_QUEUE_H
#define LUNADO_BINDING_QUEUE_H

#include "binding/binding.h"

typedef struct {
  int table;         /* reference in the registry; LUA_NOREF when closed */
  uint32_t capacity; /* places; a power of 2, or 0 */
  uint32_t head;     /* place of the first entry */
  uint32_t count;    /* places in use */
  uint32_t reserved; /* places promised to suspended coroutines */
  uint32_t turn;     /* places left that belong to the present turn */
} lunado_queue;

/* Makes the queue of a loop.  [-0, +0, m] */
void lunado__queue_init(lua_State *L, lunado_queue *queue);

/* Drops all entries, and the memory.  [-0, +0, -] */
void lunado__queue_fini(lua_State *L, lunado_queue *queue);

/* Sees that n more entries have room.  [-0, +0, m] */
void lunado__queue_reserve(lua_State *L, lunado_queue *queue, uint32_t n);

/* Puts the value at idx (not relative to the top) at the end of the loop's
 * queue, which has room.
 * [-0, +0, -] */
void lunado__queue_push(lua_State *L, lunado_ioloop *loop, int idx);

/* Queues the callable below nargs arguments; one that fails for want of
 * memory is logged.  On a closed loop it is dropped.  [-(nargs+1), +0, -] */
void lunado__queue_callback(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop, int nargs);

/* Does the same, but raises.  [-(nargs+1), +0, m] */
void lunado__queue_add(lua_State *L, lunado_ioloop *loop, int nargs);

/* Runs the entries of one turn, errors reported; the loop's task.  */
void lunado__queue_run(lunado_loop *core, lunado_task *task);

#endif
