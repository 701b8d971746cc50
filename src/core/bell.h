/* SPDX-License-Identifier: MIT */
/*
 * bell.h - a descriptor that is readable while a uv_loop_t has events, so that
 * another loop can watch it.
 *
 * On POSIX libuv has such a descriptor.  On Windows the bell is a pair of
 * sockets and a thread, which writes to one of them when libuv's completion
 * port has an event.
 *
 * Life cycle: init; run as often as the descriptor is readable; fini.
 */
#ifndef LUNADO_CORE_BELL_H
#define LUNADO_CORE_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

typedef struct {
  uv_os_sock_t fd; /* to be watched */
#ifdef _WIN32
  uv_os_sock_t other; /* the thread writes to it */
  HANDLE port;        /* the uv_loop_t's */
  uv_sem_t heard;     /* posted when the byte of the thread was read */
  atomic_bool ending; /* the thread shall end */
  uv_thread_t thread;
#endif
} lunado_bell;

/* Makes a bell of an open uv_loop_t, which must stay open until fini.  Returns 0
 * or an error of libuv's. */
int lunado_bell_init(lunado_bell *self, uv_loop_t *uv);

/* Ends the bell.  Later events of the uv_loop_t are kept for its own run. */
void lunado_bell_fini(lunado_bell *self);

/* Runs the uv_loop_t without waiting.  The descriptor is not readable afterwards
 * until there is another event. */
void lunado_bell_run(lunado_bell *self, uv_loop_t *uv);

/* Returns the descriptor. */
static inline uv_os_sock_t lunado_bell_fd(const lunado_bell *self) {
  return self->fd;
}

#endif
