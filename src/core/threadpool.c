/* SPDX-License-Identifier: MIT */
/*
 * threadpool.c - threads that run jobs and return them to their loop.
 *
 * Invariants:
 *
 * A job is in `pending` from submit until it is done.  A thread that takes a
 * job out of the queue owns the job until it sends it, and does not access it
 * afterwards.  While fewer than max_threads threads run, at least as many
 * threads are idle as jobs are queued.  So no job waits for another to end
 * while one more thread could be started.
 *
 * Jobs return to their loop through an *outlet*, which has one message.  The
 * thread that finishes a job adds it to the outlet's list, and sends the
 * message only if it is not on its way yet.  So one message may bring many
 * jobs.
 *
 * It takes as long as some jobs to wake a thread, and meanwhile other threads
 * may take the job for which it was woken.  So a job wakes a thread only if
 * more jobs are queued than threads are on their way or looking for one.  A
 * thread that wakes for another reason counts as one that was woken; the sums
 * stay right.
 *
 * While the message of an outlet is on its way (`mailed`), or is being handled,
 * only on_message frees the outlet.
 */
#include "core/threadpool.h"

#include <assert.h>
#include <stdatomic.h>

#include "core/alloc.h"

/* The owner's record of one thread. */
typedef struct {
  lunado_link link; /* in pool->threads until joined */
  uv_thread_t id;
  lunado_threadpool *pool; /* borrowed: the pool outlives its threads */
} worker_thread;

/* The way of a pool's jobs back to one loop. */
typedef struct lunado_outlet {
  lunado_message message;
  lunado_link link;        /* in pool->outlets */
  lunado_threadpool *pool; /* borrowed; NULL: it was freed */
  lunado_loop *loop;       /* a reference */
  size_t jobs;             /* the owner's: pending ones */
  lunado_link arrived;     /* the owner's: jobs whose `done` comes next */
  bool handling;           /* the owner's: on_message is on the C stack */
  lunado_link finished;    /* guarded by the mutex, as `mailed` is: jobs that
                              the message brings */
  bool mailed;             /* the message is on its way */
} outlet;

/* --- outlets -------------------------------------------------------------- */

static void outlet_free(outlet *self) {
  lunado_link_remove(&self->link);
  lunado_loop_unref(self->loop);
  lunado__free(self);
}

/* Returns whether the caller must send the message, after it has released the
 * mutex.  Called with the mutex held. */
static bool outlet_mail(outlet *self) {
  bool first = !self->mailed;
  self->mailed = true;
  return first;
}

static void job_done(lunado_threadpool *pool, lunado_job *job) {
  const lunado_threadpool_ops *ops = pool->ops;
  lunado_link_remove(&job->link);
  lunado_link_remove(&job->pending);
  job->outlet->jobs--;
  lunado_loop_release(job->outlet->loop);
  ops->done(pool, job);
  ops->free_job(job);
}

/* The message is there: moves the finished jobs behind those that have arrived.
 * Returns whether no thread takes jobs any more. */
static bool outlet_collect(outlet *self) {
  lunado_threadpool *pool = self->pool;
  bool drained;
  if (pool != NULL) uv_mutex_lock(&pool->mutex);
  self->mailed = false;
  lunado_list_move(&self->arrived, &self->finished);
  drained = pool != NULL && pool->shut && pool->running == 0;
  if (pool != NULL) uv_mutex_unlock(&pool->mutex);
  return drained;
}

/* Ends the pool, unless a callback has joined its threads meanwhile. */
static void pool_end(lunado_threadpool *pool) {
  if (lunado_list_empty(&pool->threads)) return;
  lunado_threadpool_settle(pool);
  if (!lunado_list_empty(&pool->threads)) pool->ops->ended(pool);
}

/* Jobs that arrive on a closed loop are left to lunado_threadpool_settle.  The
 * callbacks may free the pool, or close the loop, which may bring this message
 * once more. */
static void on_message(lunado_loop *loop, lunado_message *message) {
  outlet *self = lunado_container_of(message, outlet, message);
  bool outer = self->handling, drained;
  self->handling = true;
  drained = outlet_collect(self);
  while (!loop->closed && !lunado_list_empty(&self->arrived))
    job_done(self->pool,
             lunado_container_of(self->arrived.next, lunado_job, link));
  if (drained && !loop->closed && self->pool != NULL) pool_end(self->pool);
  self->handling = outer;
  if (self->pool == NULL && !outer && !self->mailed) outlet_free(self);
}

static void outlet_send(outlet *self) {
  lunado_threadpool *pool = self->pool;
  if (lunado_loop_send(self->loop, &self->message, on_message) == 0) return;
  uv_mutex_lock(&pool->mutex);
  self->mailed = false;
  uv_mutex_unlock(&pool->mutex);
}

/* Frees the outlets that no job uses.  Called with the mutex held. */
static void pool_free_outlets(lunado_threadpool *pool) {
  lunado_link *link = pool->outlets.next;
  while (link != &pool->outlets) {
    outlet *each = lunado_container_of(link, outlet, link);
    link = link->next;
    if (each->jobs == 0 && !each->mailed && !each->handling) outlet_free(each);
  }
}

/* Returns a new outlet, or NULL if memory is short. */
static outlet *outlet_new(lunado_threadpool *pool, lunado_loop *loop) {
  outlet *self = lunado__alloc(sizeof *self);
  if (self == NULL) return NULL;
  self->pool = pool;
  self->loop = loop;
  lunado_loop_ref(loop);
  lunado_link_init(&self->arrived);
  lunado_link_init(&self->finished);
  lunado_list_append(&pool->outlets, &self->link);
  return self;
}

/* Makes pool->outlet the outlet to the loop.  Called with the mutex held.
 * Returns 0 or UV_ENOMEM. */
static int pool_use_loop(lunado_threadpool *pool, lunado_loop *loop) {
  outlet *found = NULL;
  if (pool->outlet != NULL && pool->outlet->loop == loop) return 0;
  for (lunado_link *link = pool->outlets.next; link != &pool->outlets;
       link = link->next) {
    outlet *each = lunado_container_of(link, outlet, link);
    if (each->loop == loop) found = each;
  }
  if (found == NULL) found = outlet_new(pool, loop);
  if (found == NULL) return UV_ENOMEM;
  pool->outlet = found;
  found->jobs++; /* so that it is kept */
  pool_free_outlets(pool);
  found->jobs--;
  return 0;
}

void lunado_threadpool_settle(lunado_threadpool *pool) {
  lunado_threadpool_drain(pool);
  while (!lunado_list_empty(&pool->pending))
    job_done(pool,
             lunado_container_of(pool->pending.next, lunado_job, pending));
}

/* --- on the threads ------------------------------------------------------- */

/* For so many nanoseconds a thread looks for a job before it sleeps: about as
 * long as it takes to fall asleep and to be woken. */
enum { LOOK_TIME = 15000 };

/* Returns the first job of the queue, or NULL.  Called with the mutex held. */
static lunado_job *worker_take(lunado_threadpool *pool) {
  lunado_job *job;
  if (lunado_list_empty(&pool->queue)) return NULL;
  job = lunado_container_of(pool->queue.next, lunado_job, link);
  lunado_link_remove(&job->link);
  job->queued = false;
  pool->queue_length--;
  pool->idle--;
  return job;
}

/* Brings the finished job back.  Returns the outlet whose message must be sent,
 * or NULL.  Called with the mutex held. */
static outlet *worker_bring_back(lunado_threadpool *pool, lunado_job *job) {
  outlet *to = job->outlet;
  pool->idle++;
  lunado_list_append(&to->finished, &job->link);
  return outlet_mail(to) ? to : NULL;
}

/* Sleeps until there may be something to do.  Called with the mutex held;
 * releases it meanwhile. */
static void worker_sleep(lunado_threadpool *pool) {
  pool->asleep++;
  uv_cond_wait(&pool->changed, &pool->mutex);
  if (pool->woken > 0)
    pool->woken--;
  else
    pool->asleep--;
}

/* Looks for a job for a moment, before it sleeps.  One thread at a time does
 * so: when jobs come one by one and end at once, falling asleep and being woken
 * for each of them would cost more than the jobs.  Called with the mutex held;
 * releases it meanwhile.  Returns whether there is something to do. */
static bool worker_look(lunado_threadpool *pool) {
  unsigned wakes = pool->wakes;
  uint64_t end;
  if (pool->looking) return false;
  pool->looking = true;
  uv_mutex_unlock(&pool->mutex);
  end = uv_hrtime() + LOOK_TIME;
  while (atomic_load_explicit(&pool->queue_length, memory_order_relaxed) == 0 &&
         uv_hrtime() < end) {}
  uv_mutex_lock(&pool->mutex);
  pool->looking = false;
  return pool->queue_length > 0 || pool->shut || pool->wakes != wakes;
}

static void worker_rest(lunado_threadpool *pool, void *state) {
  if (state == NULL) return;
  uv_mutex_unlock(&pool->mutex);
  pool->ops->rest(pool, state);
  uv_mutex_lock(&pool->mutex);
}

/* Waits for a job.  Called with the mutex held; releases it meanwhile.  Returns
 * NULL after a shut-down, when the queue is empty. */
static lunado_job *worker_wait(lunado_threadpool *pool, void *state) {
  unsigned wakes = pool->wakes;
  lunado_job *job;
  while ((job = worker_take(pool)) == NULL && !pool->shut) {
    if (pool->wakes != wakes) {
      wakes = pool->wakes;
      worker_rest(pool, state);
    } else if (!worker_look(pool)) {
      worker_sleep(pool);
    }
  }
  return job;
}

/* Brings the finished job back, unless it is NULL, and returns the next one,
 * for which it waits; NULL if the thread must end. */
static lunado_job *worker_next(lunado_threadpool *pool, void *state,
                               lunado_job *finished) {
  outlet *mail = NULL;
  lunado_job *job;
  uv_mutex_lock(&pool->mutex);
  if (finished != NULL) mail = worker_bring_back(pool, finished);
  job = mail != NULL ? worker_take(pool) : worker_wait(pool, state);
  uv_mutex_unlock(&pool->mutex);
  if (mail == NULL) return job;
  outlet_send(mail);
  return job != NULL ? job : worker_next(pool, state, NULL);
}

/* The last thread that leaves sends a message. */
static void worker_leave(lunado_threadpool *pool) {
  outlet *mail = NULL;
  uv_mutex_lock(&pool->mutex);
  pool->idle--;
  if (--pool->running == 0) {
    uv_cond_broadcast(&pool->drained);
    if (outlet_mail(pool->outlet)) mail = pool->outlet;
  }
  uv_mutex_unlock(&pool->mutex);
  if (mail != NULL) outlet_send(mail);
}

static void worker_main(void *argument) {
  lunado_threadpool *pool = ((worker_thread *)argument)->pool;
  const lunado_threadpool_ops *ops = pool->ops;
  void *state = ops->start(pool);
  lunado_job *job = NULL;
  while ((job = worker_next(pool, state, job)) != NULL) {
    if (state == NULL) state = ops->start(pool);
    ops->run(pool, state, job);
  }
  worker_leave(pool);
  if (state != NULL) ops->finish(pool, state);
}

/* --- submitting ----------------------------------------------------------- */

/* Starts one more thread.  Called with the mutex held. */
static int pool_grow(lunado_threadpool *pool) {
  worker_thread *thread = lunado__alloc(sizeof *thread);
  int rc;
  if (thread == NULL) return UV_ENOMEM;
  thread->pool = pool;
  rc = uv_thread_create(&thread->id, worker_main, thread);
  if (rc < 0) {
    lunado__free(thread);
    return rc;
  }
  lunado_list_append(&pool->threads, &thread->link);
  pool->running++;
  pool->idle++;
  return 0;
}

/* Ensures that there is a thread for one more job, or else room in the queue.
 * Called with the mutex held. */
static int pool_admit(lunado_threadpool *pool) {
  int rc = 0;
  if (pool->queue_length < pool->idle) return 0;
  if (pool->running < pool->max_threads) {
    rc = pool_grow(pool);
    if (rc == 0 || pool->running == 0) return rc;
  }
  return pool->queue_length - pool->idle < pool->max_queue ? 0 : UV_ENOBUFS;
}

size_t lunado_threadpool_room(lunado_threadpool *pool) {
  size_t room;
  uv_mutex_lock(&pool->mutex);
  room = pool->max_threads - pool->running + pool->idle;
  room = pool->max_queue > SIZE_MAX - room ? SIZE_MAX : pool->max_queue + room;
  room -= pool->queue_length;
  uv_mutex_unlock(&pool->mutex);
  return room;
}

static void pool_enqueue(lunado_threadpool *pool, lunado_job *job) {
  job->outlet = pool->outlet;
  job->outlet->jobs++;
  lunado_list_append(&pool->queue, &job->link);
  job->queued = true;
  pool->queue_length++;
}

/* Returns whether the caller must signal `changed`, which wakes a thread for
 * the job that was queued.  Called with the mutex held. */
static bool pool_wake_one(lunado_threadpool *pool) {
  size_t coming = pool->woken + (pool->looking ? 1 : 0);
  if (pool->asleep == 0 || pool->queue_length <= coming) return false;
  pool->asleep--;
  pool->woken++;
  return true;
}

/* Wakes all threads.  Called with the mutex held. */
static void pool_wake_all(lunado_threadpool *pool) {
  pool->woken += pool->asleep;
  pool->asleep = 0;
  uv_cond_broadcast(&pool->changed);
}

int lunado_threadpool_submit(lunado_threadpool *pool, lunado_loop *loop,
                             lunado_job *job) {
  bool wake = false;
  int rc;
  if (pool->shut || loop->closed) return UV_ECANCELED;
  job->dropped = false;
  uv_mutex_lock(&pool->mutex);
  rc = pool_use_loop(pool, loop);
  if (rc == 0) rc = pool_admit(pool);
  if (rc == 0) {
    pool_enqueue(pool, job);
    wake = pool_wake_one(pool);
  }
  uv_mutex_unlock(&pool->mutex);
  if (rc < 0) return rc;
  if (wake) uv_cond_signal(&pool->changed);
  lunado_list_append(&pool->pending, &job->pending);
  lunado_loop_keep_alive(loop);
  return 0;
}

/* --- life cycle ----------------------------------------------------------- */

static int init_conditions(lunado_threadpool *pool) {
  int rc = uv_cond_init(&pool->changed);
  if (rc < 0) return rc;
  rc = uv_cond_init(&pool->drained);
  if (rc < 0) uv_cond_destroy(&pool->changed);
  return rc;
}

int lunado_threadpool_new(lunado_threadpool **result, unsigned max_threads,
                          size_t max_queue, const lunado_threadpool_ops *ops,
                          void *data) {
  lunado_threadpool *pool = lunado__alloc(sizeof *pool);
  int rc;
  *result = NULL;
  if (pool == NULL) return UV_ENOMEM;
  pool->ops = ops;
  pool->data = data;
  pool->max_threads = max_threads;
  pool->max_queue = max_queue;
  lunado_link_init(&pool->pending);
  lunado_link_init(&pool->threads);
  lunado_link_init(&pool->outlets);
  lunado_link_init(&pool->queue);
  rc = uv_mutex_init(&pool->mutex);
  if (rc == 0) {
    rc = init_conditions(pool);
    if (rc < 0) uv_mutex_destroy(&pool->mutex);
  }
  if (rc < 0)
    lunado__free(pool);
  else
    *result = pool;
  return rc;
}

bool lunado_threadpool_shut_down(lunado_threadpool *pool) {
  uv_mutex_lock(&pool->mutex);
  pool->shut = true;
  pool_wake_all(pool);
  uv_mutex_unlock(&pool->mutex);
  return !lunado_list_empty(&pool->threads);
}

bool lunado_threadpool_deserted(const lunado_threadpool *pool) {
  return lunado_list_empty(&pool->pending) && pool->outlet != NULL &&
         pool->outlet->loop->closed;
}

size_t lunado_threadpool_drop(lunado_threadpool *pool) {
  size_t dropped;
  uv_mutex_lock(&pool->mutex);
  dropped = pool->queue_length;
  pool->queue_length = 0;
  while (!lunado_list_empty(&pool->queue)) {
    lunado_job *job = lunado_container_of(pool->queue.next, lunado_job, link);
    lunado_link_remove(&job->link);
    job->queued = false;
    job->dropped = true;
  }
  uv_mutex_unlock(&pool->mutex);
  return dropped;
}

bool lunado_threadpool_is_queued(lunado_threadpool *pool,
                                 const lunado_job *job) {
  bool queued;
  uv_mutex_lock(&pool->mutex);
  queued = job->queued;
  uv_mutex_unlock(&pool->mutex);
  return queued;
}

bool lunado_threadpool_withdraw(lunado_threadpool *pool, lunado_job *job) {
  bool queued;
  uv_mutex_lock(&pool->mutex);
  queued = job->queued;
  if (queued) {
    lunado_link_remove(&job->link);
    job->queued = false;
    job->dropped = true;
    pool->queue_length--;
  }
  uv_mutex_unlock(&pool->mutex);
  return queued;
}

void lunado_threadpool_end_dropped(lunado_threadpool *pool, lunado_job *job) {
  job_done(pool, job);
}

void lunado_threadpool_wake(lunado_threadpool *pool) {
  uv_mutex_lock(&pool->mutex);
  pool->wakes++;
  pool_wake_all(pool);
  uv_mutex_unlock(&pool->mutex);
}

void lunado_threadpool_drain(lunado_threadpool *pool) {
  assert(pool->shut && "threads may take jobs until a shut-down");
  uv_mutex_lock(&pool->mutex);
  while (pool->running > 0) uv_cond_wait(&pool->drained, &pool->mutex);
  uv_mutex_unlock(&pool->mutex);
}

void lunado_threadpool_join(lunado_threadpool *pool) {
  assert(pool->shut && "threads end after a shut-down only");
  while (!lunado_list_empty(&pool->threads)) {
    worker_thread *thread =
        lunado_container_of(pool->threads.next, worker_thread, link);
    (void)uv_thread_join(&thread->id);
    lunado_link_remove(&thread->link);
    lunado__free(thread);
  }
}

/* An outlet that is in use is left to its message. */
void lunado_threadpool_free(lunado_threadpool *pool) {
  assert(lunado_list_empty(&pool->threads) &&
         lunado_list_empty(&pool->pending) &&
         "pools are freed when all is done");
  pool_free_outlets(pool);
  while (!lunado_list_empty(&pool->outlets)) {
    outlet *each = lunado_container_of(pool->outlets.next, outlet, link);
    lunado_link_remove(&each->link);
    each->pool = NULL;
  }
  uv_cond_destroy(&pool->drained);
  uv_cond_destroy(&pool->changed);
  uv_mutex_destroy(&pool->mutex);
  lunado__free(pool);
}
