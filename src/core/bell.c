/* SPDX-License-Identifier: MIT */
/*
 * bell.c - watching a uv_loop_t of libuv.
 *
 * On Windows, nothing tells whether a completion port has an event except
 * taking the event.  So the thread takes it, returns it to the port, and writes
 * one byte.  It waits until the byte was read before it takes another event,
 * so there is at most one byte in the sockets.
 */
#include "core/bell.h"

#ifdef _WIN32

#include "core/system.h"

static void ring(void *arg) {
  lunado_bell *self = arg;
  for (;;) {
    DWORD size = 0;
    ULONG_PTR key = 0;
    OVERLAPPED *event = NULL;
    BOOL ok =
        GetQueuedCompletionStatus(self->port, &size, &key, &event, INFINITE);
    if (event != NULL)
      (void)PostQueuedCompletionStatus(self->port, size, key, event);
    if (atomic_load(&self->ending) || (!ok && event == NULL)) return;
    if (event == NULL) continue; /* it only wakes */
    if (send(self->other, "", 1, 0) != 1) return;
    uv_sem_wait(&self->heard);
  }
}

int lunado_bell_init(lunado_bell *self, uv_loop_t *uv) {
  uv_os_sock_t ends[2];
  int rc = uv_socketpair(SOCK_STREAM, 0, ends, UV_NONBLOCK_PIPE, 0);
  if (rc < 0) return rc;
  self->fd = ends[0];
  self->other = ends[1];
  self->port = uv->iocp;
  atomic_init(&self->ending, false);
  rc = uv_sem_init(&self->heard, 0);
  if (rc == 0) {
    rc = uv_thread_create(&self->thread, ring, self);
    if (rc == 0) return 0;
    uv_sem_destroy(&self->heard);
  }
  lunado_system_close_socket(self->fd);
  lunado_system_close_socket(self->other);
  return rc;
}

void lunado_bell_fini(lunado_bell *self) {
  atomic_store(&self->ending, true);
  (void)PostQueuedCompletionStatus(self->port, 0, 0, NULL);
  uv_sem_post(&self->heard);
  (void)uv_thread_join(&self->thread);
  uv_sem_destroy(&self->heard);
  lunado_system_close_socket(self->fd);
  lunado_system_close_socket(self->other);
}

/* Some versions of libuv handle on the second run what they take from the port
 * on the first. */
void lunado_bell_run(lunado_bell *self, uv_loop_t *uv) {
  char byte;
  bool rung = recv(self->fd, &byte, 1, 0) == 1;
  (void)uv_run(uv, UV_RUN_NOWAIT);
  (void)uv_run(uv, UV_RUN_NOWAIT);
  if (rung) uv_sem_post(&self->heard);
}

#else

int lunado_bell_init(lunado_bell *self, uv_loop_t *uv) {
  self->fd = uv_backend_fd(uv);
  return 0;
}

void lunado_bell_fini(lunado_bell *self) { (void)self; }

void lunado_bell_run(lunado_bell *self, uv_loop_t *uv) {
  (void)self;
  (void)uv_run(uv, UV_RUN_NOWAIT);
}

#endif
