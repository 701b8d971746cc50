/* SPDX-License-Identifier: MIT */
/*
 * signals.c - uv_signal_t on a uv_loop_t that only these functions run.
 *
 * Invariant: each kept signal is in the list until it is closed.  Only its
 * close callback frees it.
 */
#include "core/signals.h"

#include "core/alloc.h"
#include "core/bell.h"
#include "core/descriptors.h"
#include "core/list.h"

typedef struct {
  lunado_link link; /* in signals->kept until closed */
  uv_signal_t handle;
  int signum;
  unsigned count; /* arrivals that were not taken */
} kept_signal;

struct lunado_signals {
  uv_loop_t uv;
  lunado_bell bell; /* rings when `uv` has events */
  lunado_link kept;
};

static kept_signal *from_link(lunado_link *link) {
  return lunado_container_of(link, kept_signal, link);
}

static kept_signal *find(lunado_signals *self, int signum) {
  lunado_link *link = self->kept.next;
  for (; link != &self->kept; link = link->next)
    if (from_link(link)->signum == signum) return from_link(link);
  return NULL;
}

int lunado_signals_new(lunado_signals **signals) {
  lunado_signals *self = lunado__alloc(sizeof *self);
  int rc;
  *signals = NULL;
  if (self == NULL) return UV_ENOMEM;
  lunado_link_init(&self->kept);
  lunado_fill_standard_descriptors();
  rc = uv_loop_init(&self->uv);
  if (rc == 0) {
    rc = lunado_bell_init(&self->bell, &self->uv);
    if (rc < 0) (void)uv_loop_close(&self->uv);
  }
  if (rc < 0)
    lunado__free(self);
  else
    *signals = self;
  return rc;
}

static void on_closed(uv_handle_t *handle) {
  lunado__free(lunado_container_of((uv_signal_t *)handle, kept_signal, handle));
}

static void close_kept(kept_signal *kept) {
  lunado_link_remove(&kept->link);
  uv_close((uv_handle_t *)&kept->handle, on_closed);
}

void lunado_signals_free(lunado_signals *self) {
  lunado_bell_fini(&self->bell);
  while (!lunado_list_empty(&self->kept))
    close_kept(from_link(self->kept.next));
  (void)uv_run(&self->uv, UV_RUN_DEFAULT);
  (void)uv_loop_close(&self->uv);
  lunado__free(self);
}

static void on_signal(uv_signal_t *handle, int signum) {
  (void)signum;
  lunado_container_of(handle, kept_signal, handle)->count++;
}

int lunado_signals_watch(lunado_signals *self, int signum) {
  kept_signal *kept;
  int rc;
  if (find(self, signum) != NULL) return 0;
  kept = lunado__alloc(sizeof *kept);
  if (kept == NULL) return UV_ENOMEM;
  rc = uv_signal_init(&self->uv, &kept->handle);
  if (rc < 0) {
    lunado__free(kept);
    return rc;
  }
  kept->signum = signum;
  lunado_link_init(&kept->link);
  lunado_list_append(&self->kept, &kept->link);
  rc = uv_signal_start(&kept->handle, on_signal, signum);
  if (rc < 0) close_kept(kept);
  lunado_signals_drain(self); /* so that libuv polls the signal's descriptor */
  return rc;
}

void lunado_signals_unwatch(lunado_signals *self, int signum) {
  kept_signal *kept = find(self, signum);
  if (kept == NULL) return;
  close_kept(kept);
  lunado_signals_drain(self); /* runs on_closed */
}

void lunado_signals_drain(lunado_signals *self) {
  lunado_bell_run(&self->bell, &self->uv);
}

int lunado_signals_next(const lunado_signals *self) {
  lunado_link *link = self->kept.next;
  for (; link != &self->kept; link = link->next)
    if (from_link(link)->count > 0) return from_link(link)->signum;
  return 0;
}

int lunado_signals_take(lunado_signals *self) {
  int signum = lunado_signals_next(self);
  if (signum != 0) find(self, signum)->count--;
  return signum;
}

uv_os_sock_t lunado_signals_fd(const lunado_signals *self) {
  return lunado_bell_fd(&self->bell);
}
