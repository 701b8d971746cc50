/* SPDX-License-Identifier: MIT */
/*
 * threadpool.h - threads that run jobs and bring them back to their loop.
 *
 * Each submitted job is run once on a thread, or dropped; then it is done,
 * once, on the thread that submitted it: in a turn of its loop, or by
 * lunado_threadpool_settle.  Threads are started as they are needed, each has a
 * state of its own that lasts as long as the thread, and they are the
 * workers' own: libuv's pool is left to files and name lookups.
 *
 * Life cycle: new; any number of submits; shut down, and from then on jobs are
 * refused and the threads end as soon as the queue is empty; join; settle;
 * free.
 *
 * Everything here belongs to one thread, the owner's, but for the hooks start,
 * run and finish, which are called on the workers' threads.
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

/* What the owner does; borrowed, and the same for all threads. */
typedef struct {
  /* On a new thread, and again before a job where it returned NULL before:
   * the thread's state; NULL where there is no memory for one. */
  void *(*start)(lunado_threadpool *workers);
  /* On a thread: runs the job.  `state` is what start returned. */
  void (*run)(lunado_threadpool *workers, void *state, lunado_job *job);
  /* On a thread, last: frees its state, which is not NULL. */
  void (*finish)(lunado_threadpool *workers, void *state);
  /* On the owner's thread: the job was run, or is job->dropped. */
  void (*done)(lunado_threadpool *workers, lunado_job *job);
  /* On the owner's thread, after done: frees the job, to which the workers no
   * longer refer.  The workers may be gone by then. */
  void (*free_job)(lunado_job *job);
  /* On the owner's thread, in a turn of the loop, after a shut-down: all jobs
   * are done and all threads have ended.  It may free the workers.  Left out
   * when the loop closed first, or lunado_threadpool_join was called. */
  void (*ended)(lunado_threadpool *workers);
} lunado_threadpool_hooks;

/* Makes workers without a thread.  At most `max_threads` run at once; at most
 * `max_queue` jobs wait for one.
 * Returns 0 or a negative libuv error, and then *workers is NULL. */
int lunado_threadpool_new(lunado_threadpool **workers, unsigned max_threads,
                          size_t max_queue,
                          const lunado_threadpool_hooks *hooks, void *data);

/* Runs the caller's job on a thread and then calls `done`.  The job's storage
 * belongs to the workers until free_job.  Meanwhile the loop is kept alive.
 * Returns 0; UV_ECANCELED after a shut-down; UV_ENOBUFS when the queue is
 * full; another libuv error when no thread runs and none can be started. */
int lunado_threadpool_submit(lunado_threadpool *workers, lunado_loop *loop,
                             lunado_job *job);

/* Returns how many jobs could be submitted now. */
size_t lunado_threadpool_room(lunado_threadpool *workers);

/* Refuses jobs from now on; threads end as soon as the queue is empty.  The
 * hook `ended` follows unless there is no thread: then false is returned. */
bool lunado_threadpool_shut_down(lunado_threadpool *workers);

/* True if all jobs are done but `ended` cannot be called, because the loop that
 * would call it is closed. */
bool lunado_threadpool_deserted(const lunado_threadpool *workers);

/* Drops the jobs that no thread has begun; lunado_threadpool_settle calls
 * `done` on them.  Returns their number. */
size_t lunado_threadpool_drop(lunado_threadpool *workers);

/* Waits until all threads have ended, after a shut-down. */
void lunado_threadpool_join(lunado_threadpool *workers);

/* Calls done for all jobs that were run or dropped and are not done yet,
 * without waiting for their loops; after lunado_threadpool_join. */
void lunado_threadpool_settle(lunado_threadpool *workers);

/* Frees workers all of whose threads have ended and all of whose jobs are
 * done. */
void lunado_threadpool_free(lunado_threadpool *workers);

/* What new was given. */
static inline void *lunado_threadpool_data(const lunado_threadpool *workers);

/* --- layout: private to the core, visible so that owners can embed it ----- */

struct lunado_job {
  lunado_message message; /* brings it back */
  lunado_link queued;     /* in workers->queue until a thread takes it */
  lunado_link pending;    /* in workers->pending until done */
  const lunado_threadpool_hooks *hooks; /* the workers' */
  lunado_threadpool *workers;           /* borrowed until done */
  lunado_loop *loop;                    /* a reference, until free_job */
  bool mailed;                          /* the message is on its way */
  bool dropped;                         /* it was never run */
  bool settling;                        /* settle has begun with it */
};

struct lunado_threadpool {
  const lunado_threadpool_hooks *hooks;
  void *data;             /* the owner's */
  unsigned max_threads;   /* at least 1 */
  size_t max_queue;       /* jobs that may be waiting for a thread */
  lunado_link pending;    /* the owner's: jobs not yet done */
  lunado_link threads;    /* the owner's: not yet joined */
  lunado_loop *loop;      /* the owner's: a reference to that of the last job;
                             NULL before the first */
  lunado_message message; /* says that all threads have ended */
  bool freed;             /* the owner's: the message frees the storage */
  uv_mutex_t mutex;       /* guards what follows */
  uv_cond_t changed;      /* the queue grew, or shut became true */
  lunado_link queue;      /* jobs in order */
  size_t queue_length;
  unsigned running; /* threads that were started and have not ended */
  unsigned idle;    /* of these, those that have no job */
  bool shut;        /* refuses jobs */
  bool mailed;      /* the message is on its way */
};

static inline void *lunado_threadpool_data(const lunado_threadpool *workers) {
  return workers->data;
}

#endif
