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
 * A thread sets `mailed`, of a job or of the pool, before it sends the message,
 * and clears it again if the loop refuses the message.  The owner reads
 * `mailed` only when the message has arrived or the thread has been joined, so
 * this needs no lock.
 */
#include "core/threadpool.h"

#include <assert.h>

#include "core/alloc.h"

/* The owner's record of one thread. */
typedef struct {
  lunado_link link; /* in pool->threads until joined */
  uv_thread_t id;
  lunado_threadpool *pool; /* borrowed: the pool outlives its threads */
} worker_thread;

/* --- done ----------------------------------------------------------------- */

static void job_done(lunado_job *job) {
  lunado_link_remove(&job->pending);
  lunado_loop_release(job->loop);
  job->pool->ops->done(job->pool, job);
}

static void job_free(const lunado_threadpool_ops *ops, lunado_job *job) {
  lunado_loop_unref(job->loop);
  ops->free_job(job);
}

/* A job whose message arrives on a closed loop is left to
 * lunado_threadpool_settle.  So is a job that settle is handling: its `done`
 * may run a turn of the loop, in which the message arrives. */
static void on_job_message(lunado_loop *loop, lunado_message *message) {
  lunado_job *job = lunado_container_of(message, lunado_job, message);
  const lunado_threadpool_ops *ops = job->ops;
  bool pending = !lunado_list_empty(&job->pending);
  job->mailed = false;
  if (job->settling || (pending && loop->closed)) return;
  if (pending) job_done(job);
  job_free(ops, job);
}

void lunado_threadpool_settle(lunado_threadpool *pool) {
  assert(lunado_list_empty(&pool->threads) &&
         "a job that a thread may hold cannot be settled");
  while (!lunado_list_empty(&pool->pending)) {
    lunado_job *job =
        lunado_container_of(pool->pending.next, lunado_job, pending);
    const lunado_threadpool_ops *ops = job->ops;
    job->settling = true;
    job_done(job);
    job->settling = false;
    if (!job->mailed) job_free(ops, job);
  }
}

static void pool_free_storage(lunado_threadpool *pool) {
  if (pool->loop != NULL) lunado_loop_unref(pool->loop);
  uv_cond_destroy(&pool->changed);
  uv_mutex_destroy(&pool->mutex);
  lunado__free(pool);
}

static void on_pool_message(lunado_loop *loop, lunado_message *message) {
  lunado_threadpool *pool =
      lunado_container_of(message, lunado_threadpool, message);
  pool->mailed = false;
  if (pool->freed) {
    pool_free_storage(pool);
  } else if (!loop->closed && !lunado_list_empty(&pool->threads)) {
    lunado_threadpool_join(pool);
    lunado_threadpool_settle(pool);
    pool->ops->ended(pool);
  }
}

/* --- on the threads ------------------------------------------------------- */

/* Waits for the next job; NULL after a shut-down, when the queue is empty. */
static lunado_job *worker_take(lunado_threadpool *pool) {
  lunado_job *job = NULL;
  uv_mutex_lock(&pool->mutex);
  while (lunado_list_empty(&pool->queue) && !pool->shut)
    uv_cond_wait(&pool->changed, &pool->mutex);
  if (!lunado_list_empty(&pool->queue)) {
    job = lunado_container_of(pool->queue.next, lunado_job, queued);
    lunado_link_remove(&job->queued);
    pool->queue_length--;
    pool->idle--;
  }
  uv_mutex_unlock(&pool->mutex);
  return job;
}

static void worker_bring_back(lunado_threadpool *pool, lunado_job *job) {
  uv_mutex_lock(&pool->mutex);
  pool->idle++;
  uv_mutex_unlock(&pool->mutex);
  job->mailed = true;
  if (lunado_loop_send(job->loop, &job->message, on_job_message) < 0)
    job->mailed = false;
}

/* The last thread to end sends the pool's message. */
static void worker_leave(lunado_threadpool *pool) {
  bool last;
  uv_mutex_lock(&pool->mutex);
  pool->idle--;
  last = --pool->running == 0;
  if (last) pool->mailed = true;
  uv_mutex_unlock(&pool->mutex);
  if (last && lunado_loop_send(pool->loop, &pool->message, on_pool_message) < 0)
    pool->mailed = false;
}

static void worker_main(void *argument) {
  lunado_threadpool *pool = ((worker_thread *)argument)->pool;
  const lunado_threadpool_ops *ops = pool->ops;
  void *state = ops->start(pool);
  lunado_job *job;
  while ((job = worker_take(pool)) != NULL) {
    if (state == NULL) state = ops->start(pool);
    ops->run(pool, state, job);
    worker_bring_back(pool, job);
  }
  if (state != NULL) ops->finish(pool, state);
  worker_leave(pool);
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

/* Called with the mutex held, because the last thread reads pool->loop. */
static void pool_use_loop(lunado_threadpool *pool, lunado_loop *loop) {
  if (pool->loop == loop) return;
  lunado_loop_ref(loop);
  if (pool->loop != NULL) lunado_loop_unref(pool->loop);
  pool->loop = loop;
}

static void pool_enqueue(lunado_threadpool *pool, lunado_job *job) {
  pool_use_loop(pool, job->loop);
  lunado_list_append(&pool->queue, &job->queued);
  pool->queue_length++;
}

int lunado_threadpool_submit(lunado_threadpool *pool, lunado_loop *loop,
                             lunado_job *job) {
  int rc;
  if (pool->shut || loop->closed) return UV_ECANCELED;
  job->ops = pool->ops;
  job->pool = pool;
  job->loop = loop;
  job->mailed = job->dropped = job->settling = false;
  uv_mutex_lock(&pool->mutex);
  rc = pool_admit(pool);
  if (rc == 0) pool_enqueue(pool, job);
  uv_mutex_unlock(&pool->mutex);
  if (rc < 0) return rc;
  uv_cond_signal(&pool->changed);
  lunado_list_append(&pool->pending, &job->pending);
  lunado_loop_ref(loop);
  lunado_loop_keep_alive(loop);
  return 0;
}

/* --- life cycle ----------------------------------------------------------- */

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
  lunado_link_init(&pool->queue);
  rc = uv_mutex_init(&pool->mutex);
  if (rc == 0) {
    rc = uv_cond_init(&pool->changed);
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
  uv_cond_broadcast(&pool->changed);
  uv_mutex_unlock(&pool->mutex);
  return !lunado_list_empty(&pool->threads);
}

bool lunado_threadpool_deserted(const lunado_threadpool *pool) {
  return lunado_list_empty(&pool->pending) && pool->loop != NULL &&
         pool->loop->closed;
}

size_t lunado_threadpool_drop(lunado_threadpool *pool) {
  size_t dropped;
  uv_mutex_lock(&pool->mutex);
  dropped = pool->queue_length;
  pool->queue_length = 0;
  while (!lunado_list_empty(&pool->queue)) {
    lunado_job *job = lunado_container_of(pool->queue.next, lunado_job, queued);
    lunado_link_remove(&job->queued);
    job->dropped = true;
  }
  uv_mutex_unlock(&pool->mutex);
  return dropped;
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

void lunado_threadpool_free(lunado_threadpool *pool) {
  assert(lunado_list_empty(&pool->threads) &&
         lunado_list_empty(&pool->pending) &&
         "pool are freed when all is done");
  pool->freed = true;
  if (!pool->mailed) pool_free_storage(pool);
}
