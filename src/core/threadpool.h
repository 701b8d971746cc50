/* SPDX-License-Identifier: MIT */
/*
 * threadpool.h - threads that run jobs and return them to their loop.
 *
 * Each submitted job is run once on a thread, or dropped.  Then its `done` is
 * called once, on the thread that submitted it: in a turn of its loop, or by
 * lunado_threadpool_settle.  Threads are started when they are needed.  Each
 * thread has its own state, which lasts as long as the thread.  These threads
 * are not those of libuv's pool, which is left to files and name lookups.
 *
 * Life cycle: new; any number of submits; shut down; drain; settle; join; free.
 * After shut down, jobs are refused and the threads end as soon as the queue is
 * empty.
 *
 * All functions must be called on one thread, the owner's.  The functions
 * start, run, rest and finish are called on the pool's threads, the other ops
 * on the owner's.
 */
#ifndef LUNADO_CORE_THREADPOOL_H
#define LUNADO_CORE_THREADPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "core/list.h"
#include "core/loop.h"
#include "core/post.h"

typedef struct lunado_threadpool lunado_threadpool;
typedef struct lunado_job lunado_job;

/* The owner's functions; borrowed.  All threads use the same ones. */
typedef struct {
  /* Returns the state of a new thread; NULL if there is no memory for it.
   * Called on the thread, at first when it begins.  While it has returned NULL,
   * it is called again before each job. */
  void *(*start)(lunado_threadpool *pool);
  /* Runs the job on a thread.  `state` is the result of `start`, or NULL. */
  void (*run)(lunado_threadpool *pool, void *state, lunado_job *job);
  /* Called on a thread without a job after lunado_threadpool_wake, and perhaps
   * at other times, unless the state is NULL. */
  void (*rest)(lunado_threadpool *pool, void *state);
  /* Frees the state of a thread, unless it is NULL.  Called last on that
   * thread. It may wait for `done` of the thread's jobs. */
  void (*finish)(lunado_threadpool *pool, void *state);
  /* Called on the owner's thread when the job was run or, with job->dropped
   * set, was dropped. */
  void (*done)(lunado_threadpool *pool, lunado_job *job);
  /* Frees the job, which the pool no longer refers to.  Called on the owner's
   * thread, after `done`; the pool may have been freed before. */
  void (*free_job)(lunado_job *job);
  /* Called on the owner's thread, in a turn of the loop, when all jobs are done
   * and no thread takes jobs any more after a shut-down.  It may join the
   * threads and free the pool.  Not called if the loop closed first, or if
   * lunado_threadpool_join was called. */
  void (*ended)(lunado_threadpool *pool);
} lunado_threadpool_ops;

/* Makes a pool without threads.  At most `max_threads` threads run at the same
 * time; at most `max_queue` jobs wait for a thread.  `data` is the owner's.
 * Returns 0, or a negative libuv error with *pool set to NULL. */
int lunado_threadpool_new(lunado_threadpool **pool, unsigned max_threads,
                          size_t max_queue, const lunado_threadpool_ops *ops,
                          void *data);

/* Runs the caller's job on a thread and then calls `done`.  The pool owns the
 * job's storage until free_job, and keeps the loop alive until `done`.
 * Returns 0; UV_ECANCELED after a shut-down or if the loop is closed;
 * UV_ENOBUFS if the queue is full; another libuv error if no thread runs and
 * none can be started. */
int lunado_threadpool_submit(lunado_threadpool *pool, lunado_loop *loop,
                             lunado_job *job);

/* Returns how many jobs could be submitted now. */
size_t lunado_threadpool_room(lunado_threadpool *pool);

/* Refuses jobs from now on; the threads end as soon as the queue is empty, and
 * `ended` is called then.  Returns false if there is no thread; `ended` is not
 * called in this case. */
bool lunado_threadpool_shut_down(lunado_threadpool *pool);

/* True if all jobs are done but `ended` cannot be called, because the loop that
 * would call it is closed. */
bool lunado_threadpool_deserted(const lunado_threadpool *pool);

/* Drops the jobs that no thread has begun, and returns their number.
 * lunado_threadpool_settle calls `done` on them. */
size_t lunado_threadpool_drop(lunado_threadpool *pool);

/* True while no thread has begun with the job. */
bool lunado_threadpool_is_queued(lunado_threadpool *pool,
                                 const lunado_job *job);

/* Drops the job, which is not done, if no thread has begun with it, and returns
 * whether that is so.  The caller then calls lunado_threadpool_end_dropped,
 * unless lunado_threadpool_settle was called meanwhile. */
bool lunado_threadpool_withdraw(lunado_threadpool *pool, lunado_job *job);

/* Calls `done` on a job that was withdrawn. */
void lunado_threadpool_end_dropped(lunado_threadpool *pool, lunado_job *job);

/* Calls `rest` on the threads that have no job. */
void lunado_threadpool_wake(lunado_threadpool *pool);

/* Waits until all jobs have been run or dropped.  Must be called after a
 * shut-down. */
void lunado_threadpool_drain(lunado_threadpool *pool);

/* Calls `done` on all jobs that were run or dropped and are not done yet,
 * without waiting for a turn of their loops.  Must be called after
 * lunado_threadpool_drain. */
void lunado_threadpool_settle(lunado_threadpool *pool);

/* Waits until all threads have ended.  Must be called after a shut-down. */
void lunado_threadpool_join(lunado_threadpool *pool);

/* Frees a pool.  Its threads must have ended and its jobs must be done. */
void lunado_threadpool_free(lunado_threadpool *pool);

/* Returns the `data` that was passed to lunado_threadpool_new. */
static inline void *lunado_threadpool_data(const lunado_threadpool *pool);

/* --- layout: private to the core, visible so that owners can embed it ----- */

struct lunado_job {
  lunado_link link;    /* in pool->queue until a thread takes it; then in a list
                          of its outlet until done */
  lunado_link pending; /* in pool->pending until done */
  struct lunado_outlet *outlet; /* to its loop; borrowed from the pool */
  bool dropped;                 /* it was not run */
  bool queued;                  /* guarded by the mutex: it is in pool->queue */
};

struct lunado_threadpool {
  const lunado_threadpool_ops *ops;
  void *data;           /* the owner's */
  unsigned max_threads; /* at least 1 */
  size_t max_queue;     /* jobs that may wait for a thread */
  lunado_link pending;  /* the owner's: jobs not yet done */
  lunado_link threads;  /* the owner's: not yet joined */
  lunado_link outlets;  /* the owner's: one for each loop with pending jobs */
  uv_mutex_t mutex;     /* guards the following fields */
  uv_cond_t changed;    /* the queue grew, shut became true, or `wake` was
                           called */
  uv_cond_t drained;    /* `running` became 0 */
  struct lunado_outlet *outlet; /* of the last job; NULL before the first */
  lunado_link queue;            /* jobs in order */
  _Atomic(size_t) queue_length; /* is also read without the mutex */
  unsigned running; /* threads that were started and may still take jobs */
  unsigned idle;    /* of these, the threads without a job */
  unsigned asleep;  /* of these, the threads that wait for `changed` */
  unsigned woken;   /* of the idle ones, those that `changed` has woken and that
                       do not run yet */
  unsigned wakes;   /* calls of lunado_threadpool_wake */
  bool looking;     /* an idle thread looks for a job, awake */
  bool shut;        /* refuses jobs */
};

static inline void *lunado_threadpool_data(const lunado_threadpool *pool) {
  return pool->data;
}

#endif
