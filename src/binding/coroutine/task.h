/* SPDX-License-Identifier: MIT */
/*
 * task.h - the task, which runs a coroutine: its struct, and how tasks are
 * made, kept for reuse and released.
 *
 * Invariants:
 *   - a task waits (its waiter is linked, and one slot of its loop's queue is
 *     reserved for it), or is queued, or runs, or is kept for reuse;
 *   - while a task waits, the Future that it waits for is on top of its
 *     thread's stack;
 *   - while a task runs, it is on its runner's stack, and the Future of its
 *     outcome is above it;
 *   - the loop alone resumes a suspended coroutine; set_result never does;
 *   - steps that may fail come before a task changes its state.
 */
#ifndef LUNADO_BINDING_COROUTINE_TASK_H
#define LUNADO_BINDING_COROUTINE_TASK_H

#include "binding/state/realm.h"

enum {
  TASK_FAILED = 1,     /* the coroutine has failed */
  TASK_AWAITING = 2,   /* suspended by lunado__await, not by a plain yield */
  TASK_STARTING = 4,   /* queued, and has not started yet */
  TASK_WAITING = 8,    /* waits; refs its loop, with a queue slot reserved */
  TASK_QUEUED = 16,    /* is in its loop's queue; refs the loop */
  TASK_BOUND = 32,     /* task and Future hold each other */
  TASK_WRAPPED = 64,   /* SLOT_WRAPPED_TASKS has the function that resumes it */
  TASK_WATCHED = 128,  /* SLOT_FINISH is called when the coroutine ends */
  TASK_THROWN = 256,   /* an error was raised at one of its yields */
  TASK_ENTERING = 512, /* will enter its own stack contexts at its next yield
                          (watch.h) */
  TASK_ENTERED = 1024, /* has entered them since its runner resumed it */
  TASK_FAILURE = 2048, /* has failed, and its body has returned a Failure */
  TASK_CANCELLED = 4096, /* a notice of a cancellation is due (cancel.h) */
  TASK_SCOPED = 8192     /* LUNADO_TASK_SCOPE is not nil */
};

/* These stand in place of the number of values to resume a coroutine with. */
enum {
  SUSPENDED = -1,      /* it is suspended */
  RESUMED_OUTSIDE = -2 /* other code has resumed or closed it: it has to end */
};

/* Why a finalizer runs. */
typedef enum {
  LUNADO_GC_COLLECTED, /* the object was collected */
  LUNADO_GC_CLOSING,   /* the state is being closed */
  LUNADO_GC_UNCERTAIN  /* COLLECTED if another collection follows, else
                          CLOSING */
} lunado_gc_cause;

struct lunado_task {
  lunado_waiter waiter;  /* linked while waiting */
  lua_State *thread;     /* held by LUNADO_TASK_THREAD */
  lunado_ioloop *loop;   /* set at the first suspension; valid while the task
                            has reffed it */
  lunado_task *caller;   /* the task that has yielded so that this one starts.
                            It continues when this one is suspended or has
                            ended, and is below it on the runner's stack */
  lunado_future *future; /* of its outcome; on its runner's stack while the
                            task runs, else held by LUNADO_TASK_FUTURE */
  union {
    uint32_t count; /* the number of values to start with */
    uint32_t pass;  /* after the start: the number of the last walk of a
                       cancellation that went through it */
  };
  uint32_t results;      /* the number of results, once the body returned */
  uint32_t sequence;     /* realm->collector.sequence when it was made */
  uint32_t flags;
  uint16_t received; /* 0, 1: LUNADO_TASK_RECEIVED is nil, a Failure; more: the
                        number of errors that were put into the table there */
  uint16_t swallowed; /* how often a cancellation was raised again; set to 0
                         with TASK_CANCELLED */
  uint32_t received_bits; /* of the address of the error that was received last;
                             0 for a number or a boolean */
};

/* Stack slots for running a coroutine and settling its Future.  (That Future
 * has no waiter until the call has returned it.)  With three more, for the
 * task, the Future and the function, they fit LUA_MINSTACK. */
#define LUNADO_RUN_STACK 14

/* Makes the task at t and the Future above it hold each other, before the task
 * leaves its runner's stack.  [-0, +0, -] */
void lunado__task_bind(lua_State *L, int t, lunado_task *task);

/* Makes the class of tasks, and the thread that keeps tasks for reuse.
 * [-0, +0, m] */
void lunado__task_open(lua_State *L, lunado_realm *realm);

/* True if a debug hook of the host has suspended the coroutine in the midst of
 * its code, where nothing can be raised. */
bool lunado__task_is_preempted(const lunado_task *task);

/* True if the task's thread is as its runner left it: no other code has resumed
 * or closed it. */
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

/* Keeps the task at t, whose coroutine has ended, for a later coroutine.  If
 * LUNADO_IDLE_TASKS are kept already, or gen.reuse_threads is off, the task
 * only loses its finalizer.  [-0, +0, -] */
void lunado__task_recycle(lua_State *L, lunado_realm *realm, int t,
                          lunado_task *task);

/* Releases the thread of the task at t, which cannot serve a later coroutine:
 * other code has resumed or closed it, or it has a hook, whose function Lua's
 * debug library stores by thread.  [-0, +0, -] */
void lunado__task_drop_thread(lua_State *L, int t, lunado_task *task);

/* Undoes lunado__task_bind: the task at t and the Future above it release each
 * other.  [-0, +0, -] */
void lunado__task_unbind(lua_State *L, int t);

/* Forgets the Failures that the coroutine of the task at t received.
 * [-0, +0, -] */
void lunado__task_forget_received(lua_State *L, int t);

/* Pushes a task and the Future of its outcome; the caller ensures stack for
 * both.  The task's thread gets the values with which every coroutine begins.
 * The caller then moves the function and its nargs arguments there, for which
 * the thread has room.  Raises if nargs is too large.  [-0, +2, e] */
lunado_task *lunado__task_push(lua_State *L, lunado_realm *realm, int nargs);

/* Pushes "file:line" of the place where the user's function in the task's
 * thread is suspended, or "?".  [-0, +1, m] */
void lunado__task_pushplace(lua_State *L, const lunado_task *task);

/* Records in SLOT_TRACKED the time of the first suspension of the task at t,
 * which has a loop.  Called only while realm->coroutines.tracking is true.
 * Runs no finalizer.  [-0, +0, m] */
void lunado__task_track(lua_State *L, const lunado_realm *realm, int t);

#endif
