/* SPDX-License-Identifier: MIT */
/*
 * task.h - what runs a coroutine, for the files that do: body.c, suspend.c,
 * coroutine.c, await.c and gc_canary.c.
 *
 * Invariants:
 *   - a task waits (its waiter is linked, and one place of its loop's queue is
 *     reserved for it), or is queued, or runs, or is idle in the pool;
 *   - while it waits, the Future it waits for is on top of its thread's
 *     stack;
 *   - while it runs, its runner has the task on its stack, and the Future of
 *     its outcome above it;
 *   - a coroutine is resumed by the loop only, never inside set_result;
 *   - what may fail is done before a task changes its state.
 */
#ifndef LUNADO_BINDING_COROUTINE_TASK_H
#define LUNADO_BINDING_COROUTINE_TASK_H

#include "binding/state/realm.h"

enum {
  TASK_FAILED = 1,      /* what the body returned is a Failure */
  TASK_AWAITING = 2,    /* suspended by lunado__await, not by a plain yield */
  TASK_STARTING = 4,    /* queued to be started */
  TASK_WAITING = 8,     /* enlisted on its loop, with a place reserved */
  TASK_QUEUED = 16,     /* enlisted on its loop, in its queue */
  TASK_BOUND = 32,      /* task and Future hold each other */
  TASK_CAPTURED = 64,   /* SLOT_CAPTURED has the function that resumes it */
  TASK_WATCHED = 128,   /* SLOT_FINISH wants to know of its end */
  TASK_THROWN = 256,    /* an error was raised at one of its yields */
  TASK_ENTERING = 512,  /* is to enter contexts of its own at its next yield */
  TASK_ENTERED = 1024,  /* has done so since its runner has resumed it */
  TASK_RECEIVED = 2048, /* LUNADO_TASK_RECEIVED is a Failure */
  TASK_PASSING = 4096   /* lunado's own code is raising that again */
};

/* In place of a number of values to resume a coroutine with: it is suspended;
 * it is to end, because other code has resumed or closed it. */
enum { SUSPENDED = -1, RESUMED_OUTSIDE = -2 };

/* How it comes that a finalizer runs. */
typedef enum {
  LUNADO_GC_COLLECTED,
  LUNADO_GC_CLOSING,  /* of the state */
  LUNADO_GC_UNCERTAIN /* the next collection tells that it was one, if there is
                         one */
} lunado_gc_cause;

struct lunado_task {
  lunado_waiter waiter;  /* linked while waiting */
  lua_State *thread;     /* LUNADO_TASK_THREAD holds it */
  lunado_ioloop *loop;   /* set at the first suspension; good while
                            enlisted */
  lunado_task *caller;   /* yielded for this one to start, and runs again
                                 when this one is suspended; below this one on
                                 the runner's stack */
  lunado_future *future; /* of its outcome; while it runs, on the stack of
                            its runner, else LUNADO_TASK_FUTURE holds it */
  uint32_t count;        /* values to start with */
  uint32_t results;      /* of the body, once it has returned */
  uint32_t sequence;     /* realm->collector.sequence when it was made */
  uint32_t flags;
};

/* Room on the stack for running a coroutine and settling its Future, for which
 * no one waits before it was returned.  With a task, its Future and the
 * function it is less than what Lua gives each function of C. */
#define LUNADO_RUN_STACK 14

/* --- suspend.c: from a yield to being queued again ------------------------ */

/* The task at t leaves the stack of its runner: from now on it and the Future
 * above it hold each other.  [-0, +0, -] */
void lunado__task_bind(lua_State *L, int t, lunado_task *task);

/* --- gc_canary.c ---------------------------------------------------------- */

/* Makes the class of tasks, and where idle ones are kept.  [-0, +0, m] */
void lunado__task_open(lua_State *L, lunado_realm *realm);

/* --- await.c -------------------------------------------------------------- */

/* True if the task's thread is as the runner left it. */
static inline bool lunado__task_untouched(const lunado_task *task) {
  if (lua_status(task->thread) != LUA_YIELD) return false;
  if (task->waiter.future == NULL) return true;
  return lua_gettop(task->thread) > 0 &&
         lua_touserdata(task->thread, -1) == (void *)task->waiter.future;
}

/* True if L is the thread of the coroutine that runs. */
static inline bool lunado__task_is_running(lua_State *L,
                                           const lunado_realm *realm) {
  return realm->coroutines.current != NULL &&
         realm->coroutines.current->thread == L;
}

/* Keeps the idle task at t for later, where there is room. */
void lunado__task_recycle(lua_State *L, lunado_realm *realm, int t,
                          lunado_task *task);

/* The thread of a coroutine that failed does not serve again; nor does one
 * with a hook, of which Lua's debug library keeps the function by the thread.
 */
void lunado__task_drop_thread(lua_State *L, int t, lunado_task *task);

/* Task and Future let each other go. */
void lunado__task_unbind(lua_State *L, int t);

/* The task at t lets the Failure go that its coroutine was given last. */
void lunado__task_forget_received(lua_State *L, int t);

/* Pushes a task, and the Future of its outcome, where there is stack for both;
 * the task's thread gets what every coroutine begins with, the function and its
 * arguments to follow. */
lunado_task *lunado__task_push(lua_State *L, lunado_realm *realm, int nargs);

/* Pushes "file:line" of where the user's function in the thread of the task is
 * suspended, or "?".
 * [-0, +1, m] */
void lunado__task_pushplace(lua_State *L, const lunado_task *task);

/* Notes in SLOT_TRACKED when the task at t, which has a loop, was suspended
 * first.  To be called while realm->coroutines.tracking.  Runs no finalizer.
 * [-0, +0, m] */
void lunado__task_track(lua_State *L, const lunado_realm *realm, int t);

#endif
