/* SPDX-License-Identifier: MIT */
/*
 * poll.h - watchers, which report that a descriptor can be read or written.
 *
 * Life cycle: new; set as often as wanted; close.  Watchers are
 * level-triggered: the callback is called each turn while the event lasts.
 */
#ifndef LUNADO_CORE_POLL_H
#define LUNADO_CORE_POLL_H

#include <stdbool.h>
#include <uv.h>

#include "core/list.h"

typedef struct lunado_loop lunado_loop;
typedef struct lunado_callback lunado_callback;
typedef struct lunado_watcher lunado_watcher;

/* Events, with the values that Tornado took from epoll. */
enum {
  LUNADO_NONE = 0,
  LUNADO_READ = 0x001,
  LUNADO_WRITE = 0x004,
  LUNADO_ERROR = 0x018
};

/* `events` is a combination of LUNADO_READ, LUNADO_WRITE and LUNADO_ERROR;
 * libuv may report a descriptor in error with LUNADO_ERROR alone.  Or `events`
 * is a negative libuv error: the system refuses the descriptor, because it was
 * closed before libuv handed it to the system, or because its number now
 * belongs to a file that cannot be watched.  The watcher is then paused.
 * The callback may set and close any watcher, this one included, and close the
 * loop. */
typedef void (*lunado_watcher_cb)(lunado_watcher *watcher, int events);

/* Asks the system whether libuv can watch the descriptor.  Returns 0, UV_EBADF
 * if it is closed, or UV_EPERM if it belongs to a file.  On Windows only
 * sockets can be watched: the error is UV_ENOTSOCK. */
int lunado_loop_check_descriptor(const lunado_loop *loop, uv_os_sock_t fd);

/* The same for the descriptor of an open handle, before libuv begins to read it
 * or to end its writes: libuv would end the process, except on Windows, where
 * it reports the error. */
int lunado_loop_check_handle(const lunado_loop *loop,
                             const uv_handle_t *handle);

/* Watches `fd` for `events`.  The loop owns the watcher until it is closed.
 * Returns 0; UV_EEXIST if the loop watches fd already, UV_EPERM if such a
 * descriptor cannot be watched, UV_EBADF, UV_ENOMEM, or UV_ECANCELED if the
 * loop is closed.  After an error *watcher is NULL and nothing has changed. */
int lunado_watcher_new(lunado_watcher **watcher, lunado_loop *loop,
                       uv_os_sock_t fd, int events, lunado_watcher_cb cb);

/* Watches for other events; LUNADO_NONE pauses the watcher.  Returns 0.  If the
 * descriptor was closed or replaced meanwhile, returns UV_EBADF or UV_EPERM and
 * changes nothing. */
int lunado_watcher_set(lunado_watcher *watcher, int events);

/* Sets whether the watcher keeps a run alive; the default is true. */
void lunado_watcher_keep_alive(lunado_watcher *watcher, bool yes);

/* Stops watching; the callback is not called any more.  The storage is freed
 * when libuv has closed the handle. */
void lunado_watcher_close(lunado_watcher *watcher);

/* --- for the loop -------------------------------------------------------- */

/* Closes all watchers of the loop. */
void lunado__watchers_close(lunado_loop *loop);

/* Checks the descriptors that libuv has yet to hand to the system.  Pauses the
 * watchers whose descriptors the system would refuse; their callbacks are
 * called on the next turn, not by this function.  For code that runs after
 * foreign callbacks and does not know whether libuv polls next. */
void lunado__watchers_check(lunado_loop *loop);

/* Like lunado__watchers_check, right before libuv polls and hands the
 * descriptors to the system. */
void lunado__watchers_prepare(lunado_loop *loop);

/* The loop's callback that calls the callbacks of the refused watchers. */
void lunado__watchers_tell(lunado_loop *loop, lunado_callback *callback);

/* --- layout: private to the core, visible so that owners can read it ----- */

struct lunado_watcher {
  lunado_link link;  /* in loop->watchers until closed */
  lunado_link turn;  /* in loop->fresh, ->checked or ->refused */
  lunado_loop *loop; /* the handle holds a reference to it */
  lunado_watcher_cb cb;
  void *owner; /* the owner's */
  uv_os_sock_t fd;
  int events;     /* the watched events */
  int error;      /* while in loop->refused: the error */
  uv_poll_t poll; /* data is NULL */
};

#endif
