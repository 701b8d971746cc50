/* SPDX-License-Identifier: MIT */
/*
 * jump.c - restoring libuv's queues.
 *
 * A queue of libuv's has the layout of a lunado_link list, in all versions.
 * While libuv calls back, it has moved two queues to its stack: the queue of
 * the async handles, and the queue of the streams with pending events.  The
 * handles that are missing from these queues are found in the loop's list of
 * all handles.
 *
 * Invariant: while wq_async.data is the loop, libuv calls on_works instead of
 * its own function, and each finished work of the thread pool is in uv->wq or
 * in loop->works.
 */
#include "core/jump.h"

#include "core/alloc.h"

#ifdef _WIN32

void lunado__jump_mend(lunado_loop *loop) { (void)loop; }
int lunado__jump_guard(lunado_loop *loop) {
  (void)loop;
  return 0;
}
void lunado__jump_fini(lunado_loop *loop) { (void)loop; }
void lunado__jump_let_go(lunado_loop *loop) { (void)loop; }

#else

/* --- queues --------------------------------------------------------------- */

static lunado_link *link_of(void *queue) { return queue; }

/* The I/O watcher of a handle that libuv may have queued as pending; NULL:
 * handles of this type have none. */
static uv__io_t *watcher_of(uv_handle_t *handle) {
  switch (handle->type) {
  case UV_TCP:
  case UV_NAMED_PIPE:
  case UV_TTY:
    return &((uv_stream_t *)handle)->io_watcher;
  case UV_UDP:
    return &((uv_udp_t *)handle)->io_watcher;
  default:
    return NULL;
  }
}

static void put_back(uv_loop_t *uv, uv_handle_t *handle) {
  uv__io_t *watcher = watcher_of(handle);
  if (uv_is_closing(handle)) return;
  if (handle->type == UV_ASYNC)
    lunado_list_append(link_of(&uv->async_handles),
                       link_of(&((uv_async_t *)handle)->queue));
  if (watcher != NULL && !lunado_list_empty(link_of(&watcher->pending_queue)))
    lunado_list_append(link_of(&uv->pending_queue),
                       link_of(&watcher->pending_queue));
}

/* Does not use uv_walk, which skips libuv's internal handles. */
static void put_all_back(uv_loop_t *uv) {
  lunado_link *all = link_of(&uv->handle_queue);
  for (lunado_link *link = all->next; link != all; link = link->next)
    put_back(uv, lunado_container_of(link, uv_handle_t, handle_queue));
}

void lunado__jump_mend(lunado_loop *loop) {
  uv_loop_t *uv = loop->uv;
  lunado_link_init(link_of(&uv->async_handles));
  lunado_link_init(link_of(&uv->pending_queue));
  put_all_back(uv);
  if (uv->watchers != NULL) { /* before libuv 1.45: the current events */
    uv->watchers[uv->nwatchers] = NULL;
    uv->watchers[uv->nwatchers + 1] = NULL;
  }
  if (!loop->closed && !lunado_list_empty(&loop->works))
    (void)uv_async_send(&uv->wq_async);
}

/* --- works ---------------------------------------------------------------- */

static void take_works(uv_loop_t *uv, lunado_link *to) {
  lunado_link *finished = link_of(&uv->wq);
  uv_mutex_lock(&uv->wq_mutex);
  while (!lunado_list_empty(finished)) {
    lunado_link *work = finished->next;
    lunado_link_remove(work);
    lunado_list_append(to, work);
  }
  uv_mutex_unlock(&uv->wq_mutex);
}

/* libuv's function takes all finished works of its loop, and threads may add
 * works at any time.  So libuv's function is called with another uv_loop_t
 * (`shown`), which holds one work.  The callback of that work may jump out, and
 * may close the loop; the storage of the loop lasts until the run returns. */
static void on_works(uv_async_t *handle) {
  lunado_loop *loop = handle->data;
  take_works(loop->uv, &loop->works);
  while (handle->data == loop && !lunado_list_empty(&loop->works)) {
    lunado_link *work = loop->works.next;
    lunado_link_remove(work);
    lunado_list_append(link_of(&loop->shown->wq), work);
    loop->works_cb(&loop->shown->wq_async);
  }
}

int lunado__jump_guard(lunado_loop *loop) {
  uv_async_t *handle = &loop->uv->wq_async;
  uv_loop_t *shown;
  if (loop->shown != NULL || handle->data != NULL) return 0;
  shown = lunado__alloc(sizeof *shown);
  if (shown == NULL) return UV_ENOMEM;
  if (uv_mutex_init(&shown->wq_mutex) < 0) {
    lunado__free(shown);
    return UV_ENOMEM;
  }
  lunado_link_init(link_of(&shown->wq));
  shown->internal_fields = loop->uv->internal_fields;
  loop->shown = shown;
  loop->works_cb = handle->async_cb;
  handle->data = loop;
  handle->async_cb = on_works;
  return 0;
}

void lunado__jump_let_go(lunado_loop *loop) {
  uv_async_t *handle = &loop->uv->wq_async;
  lunado_link *finished = link_of(&loop->uv->wq);
  if (loop->shown == NULL || handle->data != loop) return;
  handle->async_cb = loop->works_cb;
  handle->data = NULL;
  if (lunado_list_empty(&loop->works)) return;
  take_works(loop->uv, &loop->works);
  uv_mutex_lock(&loop->uv->wq_mutex);
  while (!lunado_list_empty(&loop->works)) {
    lunado_link *work = loop->works.next;
    lunado_link_remove(work);
    lunado_list_append(finished, work);
  }
  uv_mutex_unlock(&loop->uv->wq_mutex);
  (void)uv_async_send(handle);
}

void lunado__jump_fini(lunado_loop *loop) {
  if (loop->shown == NULL) return;
  uv_mutex_destroy(&loop->shown->wq_mutex);
  lunado__free(loop->shown);
}

#endif
