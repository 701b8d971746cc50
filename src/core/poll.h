/* SPDX-License-Identifier: MIT */
/*
 * poll.h - watchers: being told when a descriptor can be read or written.
 *
 * Life cycle: new; set as often as wanted; close.  Level-triggered: the
 * callback comes each turn while the event lasts.
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

/* `events` holds LUNADO_READ, _WRITE and _ERROR as they apply; a descriptor in
 * error tells of nothing else.  Or it is a negative libuv error: the system has
 * refused the descriptor, which was closed before libuv handed it on, or its
 * number is now of a file that cannot be watched.  The watcher is paused then.
 * May set and close any watcher, this one included, and close the loop. */
typedef void (*lunado_watcher_cb)(lunado_watcher *watcher, int events);

/* Asks the system whether libuv can watch the descriptor.  Returns 0, or why
 * not: UV_EBADF when it is closed, UV_EPERM when it is a file's. */
int lunado_loop_check_descriptor(const lunado_loop *loop, uv_os_sock_t fd);

/* Watches `fd` for `events`.  The watcher is the loop's until it is closed.
 * Returns 0; UV_EEXIST when the loop watches fd already, UV_EPERM when such
 * a descriptor cannot be watched, UV_EBADF, UV_ENOMEM, UV_ECANCELED: then
 * *watcher is NULL and nothing has changed. */
int lunado_watcher_new(lunado_watcher **watcher, lunado_loop *loop,
                       uv_os_sock_t fd, int events, lunado_watcher_cb cb);

/* Watches for other events; LUNADO_NONE pauses.  Returns 0; UV_EBADF or
 * UV_EPERM when the descriptor is not what it was: then nothing has changed. */
int lunado_watcher_set(lunado_watcher *watcher, int events);

/* Whether the watcher keeps a run from ending; at first it does. */
void lunado_watcher_keep_alive(lunado_watcher *watcher, bool yes);

/* Stops watching; the storage goes when libuv is done with it.  No callback
 * comes after this. */
void lunado_watcher_close(lunado_watcher *watcher);

/* --- for the loop -------------------------------------------------------- */

void lunado__watchers_close(lunado_loop *loop);

/* Checks the descriptors that libuv has yet to hand to the system, and pauses
 * the watchers of those that the system would refuse; their callbacks come on
 * the next turn.  Calls nothing.  For code that runs after others' callbacks,
 * and does not know whether libuv polls next. */
void lunado__watchers_check(lunado_loop *loop);

/* The same right before libuv polls, which is then to hand them on. */
void lunado__watchers_prepare(lunado_loop *loop);

/* The callback that calls them. */
void lunado__watchers_tell(lunado_loop *loop, lunado_callback *callback);

/* --- layout: private to the core, visible so that owners can read it ----- */

struct lunado_watcher {
  lunado_link link;  /* in loop->watchers until closed */
  lunado_link turn;  /* in loop->fresh, ->checked or ->refused */
  lunado_loop *loop; /* the open handle holds a reference */
  lunado_watcher_cb cb;
  void *owner; /* the owner's */
  uv_os_sock_t fd;
  int events;     /* watched for */
  int error;      /* while in loop->refused: why */
  uv_poll_t poll; /* data is NULL */
};

#endif
