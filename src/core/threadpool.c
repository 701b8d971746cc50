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
  lunado_link link; /* in workers->threads until joined */
  uv_thread_t id;
  lunado_threadpool *workers; /* borrowed: the pool outlives its threads */
} worker_thread;

/* --- done ----------------------------------------------------------------- */

static void job_done(lunado_job *job) {
  lunado_link_remove(&job->pending);
  lunado_loop_release(job->loop);
  job->workers->hooks->done(job->workers, job);
}

static void job_free(const lunado_threadpool_hooks *hooks, lunado_job *job) {
  lunado_loop_unref(job->loop);
  hooks->free_job(job);
}

/* A job whose message arrives on a closed loop is left to
 * lunado_threadpool_settle.  So is a job that settle is handling: its `done`
 * may run a turn of the loop, in which the message arrives. */
static void on_job_message(lunado_loop *loop, lunado_message *message) {
  lunado_job *job = lunado_container_of(message, lunado_job, message);
  const lunado_threadpool_hooks *hooks = job->hooks;
  bool pending = !lunado_list_empty(&job->pending);
  job->mailed = false;
  if (job->settling || (pending && loop->closed)) return;
  if (pending) job_done(job);
  job_free(hooks, job);
}

void lunado_threadpool_settle(lunado_threadpool *workers) {
  assert(lunado_list_empty(&workers->threads) &&
         "a job that a thread may hold cannot be settled");
  while (!lunado_list_empty(&workers->pending)) {
    lunado_job *job =
        lunado_container_of(workers->pending.next, lunado_job, pending);
    const lunado_threadpool_hooks *hooks = job->hooks;
    job->settling = true;
    job_done(job);
    job->settling = false;
    if (!job->mailed) job_free(hooks, job);
  }
}

static void workers_free_storage(lunado_threadpool *workers) {
  if (workers->loop != NULL) lunado_loop_unref(workers->loop);
  uv_cond_destroy(&workers->changed);
  uv_mutex_destroy(&workers->mutex);
  lunado__free(workers);
}

static void on_workers_message(lunado_loop *loop, lunado_message *message) {
  lunado_threadpool *workers =
      lunado_container_of(message, lunado_threadpool, message);
  workers->mailed = false;
  if (workers->freed) {
    workers_free_storage(workers);
  } else if (!loop->closed && !lunado_list_empty(&workers->threads)) {
    lunado_threadpool_join(workers);
    lunado_threadpool_settle(workers);
    workers->hooks->ended(workers);
  }
}

/* --- on the threads ------------------------------------------------------- */

/* Waits for the next job; NULL after a shut-down, when the queue is empty. */
static lunado_job *worker_take(lunado_threadpool *workers) {
  lunado_job *job = NULL;
  uv_mutex_lock(&workers->mutex);
  while (lunado_list_empty(&workers->queue) && !workers->shut)
    uv_cond_wait(&workers->changed, &workers->mutex);
  if (!lunado_list_empty(&workers->queue)) {
    job = lunado_container_of(workers->queue.next, lunado_job, queued);
    lunado_link_remove(&job->queued);
    workers->queue_length--;
    workers->idle--;
  }
  uv_mutex_unlock(&workers->mutex);
  return job;
}

static void worker_bring_back(lunado_threadpool *workers, lunado_job *job) {
  uv_mutex_lock(&workers->mutex);
  workers->idle++;
  uv_mutex_unlock(&workers->mutex);
  job->mailed = true;
  if (lunado_loop_send(job->loop, &job->message, on_job_message) < 0)
    job->mailed = false;
}

/* The last thread to end sends the pool's message. */
static void worker_leave(lunado_threadpool *workers) {
  bool last;
  uv_mutex_lock(&workers->mutex);
  workers->idle--;
  last = --workers->running == 0;
  if (last) workers->mailed = true;
  uv_mutex_unlock(&workers->mutex);
  if (last && lunado_loop_send(workers->loop, &workers->message,
                               on_workers_message) < 0)
    workers->mailed = false;
}

static void worker_main(void *argument) {
  lunado_threadpool *workers = ((worker_thread *)argument)->workers;
  const lunado_threadpool_hooks *hooks = workers->hooks;
  void *state = hooks->start(workers);
  lunado_job *job;
  while ((job = worker_take(workers)) != NULL) {
    if (state == NULL) state = hooks->start(workers);
    hooks->run(workers, state, job);
    worker_bring_back(workers, job);
  }
  if (state != NULL) hooks->finish(workers, state);
  worker_leave(workers);
}

/* --- submitting ----------------------------------------------------------- */

/* Starts one more thread.  Called with the mutex held. */
static int workers_grow(lunado_threadpool *workers) {
  worker_thread *thread = lunado__alloc(sizeof *thread);
  int rc;
  if (thread == NULL) return UV_ENOMEM;
  thread->workers = workers;
  rc = uv_thread_create(&thread->id, worker_main, thread);
  if (rc < 0) {
    lunado__free(thread);
    return rc;
  }
  lunado_list_append(&workers->threads, &thread->link);
  workers->running++;
  workers->idle++;
  return 0;
}

/* Ensures that there is a thread for one more job, or else a place in the
 * queue.  Called with the mutex held. */
static int workers_admit(lunado_threadpool *workers) {
  int rc = 0;
  if (workers->queue_length < workers->idle) return 0;
  if (workers->running < workers->max_threads) {
    rc = workers_grow(workers);
    if (rc == 0 || workers->running == 0) return rc;
  }
  return workers->queue_length - workers->idle < workers->max_queue
             ? 0
             : UV_ENOBUFS;
}

size_t lunado_threadpool_room(lunado_threadpool *workers) {
  size_t places;
  uv_mutex_lock(&workers->mutex);
  places = workers->max_threads - workers->running + workers->idle;
  places = workers->max_queue > SIZE_MAX - places ? SIZE_MAX
                                                  : workers->max_queue + places;
  places -= workers->queue_length;
  uv_mutex_unlock(&workers->mutex);
  return places;
}

/* Called with the mutex held, because the last thread reads workers->loop. */
static void workers_use_loop(lunado_threadpool *workers, lunado_loop *loop) {
  if (workers->loop == loop) return;
  lunado_loop_ref(loop);
  if (workers->loop != NULL) lunado_loop_unref(workers->loop);
  workers->loop = loop;
}

static void workers_enqueue(lunado_threadpool *workers, lunado_job *job) {
  workers_use_loop(workers, job->loop);
  lunado_list_append(&workers->queue, &job->queued);
  workers->queue_length++;
}

int lunado_threadpool_submit(lunado_threadpool *workers, lunado_loop *loop,
                             lunado_job *job) {
  int rc;
  if (workers->shut || loop->closed) return UV_ECANCELED;
  job->hooks = workers->hooks;
  job->workers = workers;
  job->loop = loop;
  job->mailed = job->dropped = job->settling = false;
  uv_mutex_lock(&workers->mutex);
  rc = workers_admit(workers);
  if (rc == 0) workers_enqueue(workers, job);
  uv_mutex_unlock(&workers->mutex);
  if (rc < 0) return rc;
  uv_cond_signal(&workers->changed);
  lunado_list_append(&workers->pending, &job->pending);
  lunado_loop_ref(loop);
  lunado_loop_keep_alive(loop);
  return 0;
}

/* --- life cycle ----------------------------------------------------------- */

int lunado_threadpool_new(lunado_threadpool **result, unsigned max_threads,
                          size_t max_queue,
                          const lunado_threadpool_hooks *hooks, void *data) {
  lunado_threadpool *workers = lunado__alloc(sizeof *workers);
  int rc;
  *result = NULL;
  if (workers == NULL) return UV_ENOMEM;
  workers->hooks = hooks;
  workers->data = data;
  workers->max_threads = max_threads;
  workers->max_queue = max_queue;
  lunado_link_init(&workers->pending);
  lunado_link_init(&workers->threads);
  lunado_link_init(&workers->queue);
  rc = uv_mutex_init(&workers->mutex);
  if (rc == 0) {
    rc = uv_cond_init(&workers->changed);
    if (rc < 0) uv_mutex_destroy(&workers->mutex);
  }
  if (rc < 0)
    lunado__free(workers);
  else
    *result = workers;
  return rc;
}

bool lunado_threadpool_shut_down(lunado_threadpool *workers) {
  uv_mutex_lock(&workers->mutex);
  workers->shut = true;
  uv_cond_broadcast(&workers->changed);
  uv_mutex_unlock(&workers->mutex);
  return !lunado_list_empty(&workers->threads);
}

bool lunado_threadpool_deserted(const lunado_threadpool *workers) {
  return lunado_list_empty(&workers->pending) && workers->loop != NULL &&
         workers->loop->closed;
}

size_t lunado_threadpool_drop(lunado_threadpool *workers) {
  size_t dropped;
  uv_mutex_lock(&workers->mutex);
  dropped = workers->queue_length;
  workers->queue_length = 0;
  while (!lunado_list_empty(&workers->queue)) {
    lunado_job *job =
        lunado_container_of(workers->queue.next, lunado_job, queued);
    lunado_link_remove(&job->queued);
    job->dropped = true;
  }
  uv_mutex_unlock(&workers->mutex);
  return dropped;
}

void lunado_threadpool_join(lunado_threadpool *workers) {
  assert(workers->shut && "threads end after a shut-down only");
  while (!lunado_list_empty(&workers->threads)) {
    worker_thread *thread =
        lunado_container_of(workers->threads.next, worker_thread, link);
    (void)uv_thread_join(&thread->id);
    lunado_link_remove(&thread->link);
    lunado__free(thread);
  }
}

void lunado_threadpool_free(lunado_threadpool *workers) {
  assert(lunado_list_empty(&workers->threads) &&
         lunado_list_empty(&workers->pending) &&
         "workers are freed when all is done");
  workers->freed = true;
  if (!workers->mailed) workers_free_storage(workers);
}
