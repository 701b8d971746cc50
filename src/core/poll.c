/* SPDX-License-Identifier: MIT */
/*
 * poll.c - watchers on uv_poll_t.
 *
 * libuv hands a descriptor to the system only when it polls, and aborts the
 * process if the system then refuses the descriptor.  So descriptors that are
 * new or changed are checked twice: when they are set, for an error at once,
 * and in the loop's prepare handle, just before libuv polls.
 *
 * Invariants: a watcher is in loop->watchers until it is closed.  Paused
 * watchers, which libuv does not poll, precede the others there.  A watcher
 * that libuv has not handed to the system is also in loop->fresh or
 * loop->checked.  Only the close callback frees the storage of a watcher.
 */
#include "core/poll.h"

#include <errno.h>
#ifdef __linux__
#include <sys/epoll.h>
#elif !defined(_WIN32)
#include <sys/stat.h>
#endif

#include "core/alloc.h"
#include "core/handle.h"
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

/* Pauses the watcher; its callback gets the error on the next turn. */
static void refuse(lunado_watcher *watcher, int error) {
  lunado_loop *loop = watcher->loop;
  (void)lunado_watcher_set(watcher, LUNADO_NONE);
  watcher->error = error;
  lunado_list_append(&loop->refused, &watcher->turn);
  lunado_loop_ready(loop, &loop->refusal);
}

/* libuv stops a handle whose descriptor is in error.  Starts it again, so that
 * the callback is called each turn, unless the descriptor was closed
 * meanwhile. */
static void start_again(lunado_watcher *watcher) {
  int rc = lunado_watcher_set(watcher, watcher->events);
  if (rc < 0) refuse(watcher, rc);
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
  lunado__handle_closed(handle);
  lunado__handle_unmark(handle);
  lunado__free(watcher);
  lunado_loop_unref(loop);
}

/* Asks the system what libuv will ask when it polls. */
int lunado_loop_check_descriptor(const lunado_loop *loop, uv_os_sock_t fd) {
#ifdef __linux__
  struct epoll_event nothing = {0};
  int epoll = uv_backend_fd(loop->uv);
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &nothing) < 0)
    return errno == EEXIST ? 0 : uv_translate_sys_error(errno);
  (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &nothing);
#elif defined(_WIN32)
  int type, size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, (char *)&type, &size) != 0)
    return uv_translate_sys_error(WSAGetLastError());
#else
  struct stat status;
  if (fstat(fd, &status) < 0) return uv_translate_sys_error(errno);
  if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) return UV_EPERM;
#endif
  (void)loop;
  (void)fd;
  return 0;
}

int lunado_loop_check_handle(const lunado_loop *loop,
                             const uv_handle_t *handle) {
#ifdef _WIN32
  (void)loop, (void)handle;
  return 0; /* libuv reports the error itself */
#else
  uv_os_fd_t fd;
  if (uv_fileno(handle, &fd) < 0) return 0;
  return lunado_loop_check_descriptor(loop, fd);
#endif
}

/* Watches a descriptor, which has just passed the check, for `events`. */
static int set_events(lunado_watcher *watcher, int events) {
  lunado_loop *loop = watcher->loop;
  lunado_link *all = &loop->watchers;
  int rc;
  if (uv_is_closing((uv_handle_t *)&watcher->poll)) return UV_ECANCELED;
  rc = events == LUNADO_NONE
           ? uv_poll_stop(&watcher->poll)
           : uv_poll_start(&watcher->poll, to_uv(events), on_poll);
  if (rc < 0) return rc;
  watcher->events = events;
  lunado_link_remove(&watcher->link);
  lunado_list_append(events == LUNADO_NONE ? all->next : all, &watcher->link);
  lunado_link_remove(&watcher->turn);
  if (events == LUNADO_NONE) return 0;
  lunado_list_append(&loop->fresh, &watcher->turn);
  return 0;
}

int lunado_watcher_set(lunado_watcher *watcher, int events) {
  if (uv_is_closing((uv_handle_t *)&watcher->poll)) return UV_ECANCELED;
  if (events != LUNADO_NONE) {
    int rc = lunado_loop_check_descriptor(watcher->loop, watcher->fd);
    if (rc < 0) return rc;
  }
  return set_events(watcher, events);
}

static lunado_watcher *take_first(lunado_link *list) {
  lunado_watcher *watcher =
      lunado_container_of(list->next, lunado_watcher, turn);
  lunado_link_remove(&watcher->turn);
  return watcher;
}

static void check_all(lunado_loop *loop, const lunado_link *list) {
  lunado_link *next;
  for (lunado_link *link = list->next; link != list; link = next) {
    lunado_watcher *watcher = lunado_container_of(link, lunado_watcher, turn);
    int rc = lunado_loop_check_descriptor(loop, watcher->fd);
    next = link->next;
    if (rc < 0) refuse(watcher, rc);
  }
}

void lunado__watchers_check(lunado_loop *loop) {
  check_all(loop, &loop->fresh);
  check_all(loop, &loop->checked);
}

void lunado__watchers_prepare(lunado_loop *loop) {
  while (!lunado_list_empty(&loop->checked)) (void)take_first(&loop->checked);
  check_all(loop, &loop->fresh);
  while (!lunado_list_empty(&loop->fresh))
    lunado_list_append(&loop->checked, &take_first(&loop->fresh)->turn);
}

void lunado__watchers_tell(lunado_loop *loop, lunado_callback *callback) {
  (void)callback;
  while (!lunado_list_empty(&loop->refused)) {
    lunado_watcher *watcher = take_first(&loop->refused);
    watcher->cb(watcher, watcher->error);
  }
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
  if (loop->closed || lunado_loop_taken(loop)) return UV_ECANCELED;
  if (has_paused(loop, fd)) return UV_EEXIST;
  watcher = lunado__alloc(sizeof *watcher);
  if (watcher == NULL) return UV_ENOMEM;
  rc = lunado__handle_reserve();
  if (rc == 0) {
    rc = uv_poll_init_socket(loop->uv, &watcher->poll, fd);
    if (rc < 0) lunado__handle_unreserve();
  }
  if (rc < 0) {
    lunado__free(watcher);
    return rc;
  }
  lunado__handle_mark(&watcher->poll);
  watcher->loop = loop;
  watcher->cb = cb;
  watcher->fd = fd;
  lunado_list_append(&loop->watchers, &watcher->link);
  lunado_link_init(&watcher->turn);
  lunado_loop_ref(loop);
  rc = set_events(watcher, events); /* uv_poll_init has checked fd */
  if (rc < 0) {
    lunado_watcher_close(watcher);
    return rc;
  }
  *result = watcher;
  return 0;
}

void lunado_watcher_keep_alive(lunado_watcher *watcher, bool yes) {
  if (yes)
    uv_ref((uv_handle_t *)&watcher->poll);
  else
    uv_unref((uv_handle_t *)&watcher->poll);
}

void lunado_watcher_close(lunado_watcher *watcher) {
  lunado_link_remove(&watcher->link);
  lunado_link_remove(&watcher->turn);
  lunado__handle_close(&watcher->poll, on_closed);
}

void lunado__watchers_close(lunado_loop *loop) {
  while (!lunado_list_empty(&loop->watchers))
    lunado_watcher_close(
        lunado_container_of(loop->watchers.next, lunado_watcher, link));
}
