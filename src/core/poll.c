/* SPDX-License-Identifier: MIT */
/*
 * poll.c - watchers on uv_poll_t.
 *
 * Invariants: a watcher is in loop->watchers until it is closed; the paused
 * ones, which libuv does not know of, stand first.  Its storage is freed by
 * the close callback alone.
 */
#include "core/poll.h"

#ifndef _WIN32
#include <errno.h>
#include <sys/stat.h>
#endif

#include "core/alloc.h"
#include "core/loop.h"

static int to_uv(int events) {
  int result = 0;
  if (events & LUNADO_READ) result |= UV_READABLE;
  if (events & LUNADO_WRITE) result |= UV_WRITABLE;
  if (events & LUNADO_ERROR) result |= UV_DISCONNECT;
  return result;
}

static int from_uv(int status, int events) {
  int result = status < 0 ? LUNADO_ERROR : LUNADO_NONE;
  if (events & UV_READABLE) result |= LUNADO_READ;
  if (events & UV_WRITABLE) result |= LUNADO_WRITE;
  if (events & UV_DISCONNECT) result |= LUNADO_ERROR;
  return result;
}

/* libuv stops a handle whose descriptor is in error; go on telling, unless
 * the descriptor was closed meanwhile. */
static void start_again(lunado_watcher *watcher) {
  if (lunado_watcher_set(watcher, watcher->events) < 0)
    (void)lunado_watcher_set(watcher, LUNADO_NONE);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  lunado_watcher *watcher = lunado_container_of(handle, lunado_watcher, poll);
  lunado_loop *loop = watcher->loop;
  lunado__loop_enter(loop);
  watcher->cb(watcher, from_uv(status, events));
  if (status < 0 && !uv_is_closing((uv_handle_t *)handle)) start_again(watcher);
  lunado__loop_leave(loop);
}

static void on_closed(uv_handle_t *handle) {
  lunado_watcher *watcher =
      lunado_container_of((uv_poll_t *)handle, lunado_watcher, poll);
  lunado_loop *loop = watcher->loop;
  lunado__free(watcher);
  lunado_loop_unref(loop);
}

/* libuv ends the process when the system refuses a descriptor in the end, as
 * it does when that was closed, or closed and its number is a file's now. */
static int check_descriptor(uv_os_sock_t fd) {
#ifndef _WIN32
  struct stat status;
  if (fstat(fd, &status) < 0) return uv_translate_sys_error(errno);
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) return UV_EPERM;
#endif
  (void)fd;
  return 0;
}

static int set_uv_events(lunado_watcher *watcher, int wanted) {
  int rc;
  if (wanted == 0) return uv_poll_stop(&watcher->poll);
  rc = check_descriptor(watcher->fd);
  return rc < 0 ? rc : uv_poll_start(&watcher->poll, wanted, on_poll);
}

int lunado_watcher_set(lunado_watcher *watcher, int events) {
  lunado_link *all = &watcher->loop->watchers;
  int rc = set_uv_events(watcher, to_uv(events));
  if (rc < 0) return rc;
  watcher->events = events;
  lunado_link_remove(&watcher->link);
  lunado_list_append(events == LUNADO_NONE ? all->next : all, &watcher->link);
  return 0;
}

static bool has_paused(const lunado_loop *loop, uv_os_sock_t fd) {
  const lunado_link *all = &loop->watchers;
  for (const lunado_link *link = all->next; link != all; link = link->next) {
    const lunado_watcher *watcher =
        lunado_container_of(link, lunado_watcher, link);
    if (watcher->events != LUNADO_NONE) return false;
    if (watcher->fd == fd) return true;
  }
  return false;
}

int lunado_watcher_new(lunado_watcher **result, lunado_loop *loop,
                       uv_os_sock_t fd, int events, lunado_watcher_cb cb) {
  lunado_watcher *watcher;
  int rc;
  *result = NULL;
  if (loop->closed) return UV_ECANCELED;
  if (has_paused(loop, fd)) return UV_EEXIST;
  watcher = lunado__alloc(sizeof *watcher);
  if (watcher == NULL) return UV_ENOMEM;
  rc = uv_poll_init_socket(loop->uv, &watcher->poll, fd);
  if (rc < 0) {
    lunado__free(watcher);
    return rc;
  }
  watcher->loop = loop;
  watcher->cb = cb;
  watcher->fd = fd;
  lunado_list_append(&loop->watchers, &watcher->link);
  lunado_loop_ref(loop);
  rc = lunado_watcher_set(watcher, events);
  if (rc < 0) {
    lunado_watcher_close(watcher);
    return rc;
  }
  *result = watcher;
  return 0;
}

void lunado_watcher_close(lunado_watcher *watcher) {
  lunado_link_remove(&watcher->link);
  uv_close((uv_handle_t *)&watcher->poll, on_closed);
}

void lunado__watchers_close(lunado_loop *loop) {
  while (!lunado_list_empty(&loop->watchers))
    lunado_watcher_close(
        lunado_container_of(loop->watchers.next, lunado_watcher, link));
}
