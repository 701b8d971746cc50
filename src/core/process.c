/* SPDX-License-Identifier: MIT */
/*
 * process.c - programs on uv_process_t.
 *
 * Invariants: a process whose handle is open is in loop->processes until it has
 * ended, its handle is marked as lunado's and holds references to the process
 * and to the loop.  libuv reaps a program in the same pass in which it calls
 * on_exit, so that the id of one in loop->processes is its own still.  The same
 * is true of an orphan while the lock is held.
 */
#include "core/process.h"

#include "core/alloc.h"
#include "core/descriptors.h"
#include "core/handle.h"
#include "core/loop.h"
#include "core/spinlock.h"
#include "core/system.h"

/* How many programs have neither a loop nor an owner at a time, and are reaped
 * nevertheless. */
#define MOST_FORSAKEN 1024

/* Running programs whose loops are closed; of all threads.  Those without an
 * owner need no memory, which would outlast a library that is unloaded. */
static lunado_link orphans = {&orphans, &orphans};
static int forsaken[MOST_FORSAKEN]; /* their ids */
static unsigned forsaken_count;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void) { lunado__spin_lock(&busy); }

static void unlock(void) { lunado__spin_unlock(&busy); }

static lunado_process *from_link(lunado_link *link) {
  return lunado_container_of(link, lunado_process, link);
}

static void ref(lunado_process *self) {
  atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
}

static void unref(lunado_process *self) {
  if (atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
    return;
  lunado_system_release_id(self->id);
  lunado__free(self);
}

/* --- reaping -------------------------------------------------------------- */

/* Returns whether the program has a status now. */
static bool reap_id(int pid, bool wait, int64_t *status) {
  int rc = lunado_system_reap(pid, wait, status);
  if (rc == 0) return false;
  if (rc < 0) *status = LUNADO_PROCESS_UNKNOWN;
  return true;
}

static void set_status(lunado_process *self, int64_t status) {
  self->status = lunado_system_status(status, self->signum);
  self->ended = true;
}

/* Reaps the program if it has ended, or with `wait` when it has. */
static bool reap(lunado_process *self, bool wait) {
  int64_t status;
  if (!reap_id(self->pid, wait, &status)) return false;
  set_status(self, status);
  return true;
}

/* The caller of these two holds the lock. */
static void reap_forsaken(void) {
  unsigned left = 0;
  int64_t status;
  for (unsigned i = 0; i < forsaken_count; i++)
    if (!reap_id(forsaken[i], false, &status)) forsaken[left++] = forsaken[i];
  forsaken_count = left;
}

static void forsake(const lunado_process *self) {
  if (forsaken_count == MOST_FORSAKEN) reap_forsaken();
  if (forsaken_count < MOST_FORSAKEN) forsaken[forsaken_count++] = self->pid;
}

/* Takes the process out of the list of orphans.  The caller holds the lock, and
 * gets the list's reference. */
static void take_orphan(lunado_process *self) {
  lunado_link_remove(&self->link);
  self->orphaned = false;
}

static void reap_orphans(void) {
  lunado_link ended;
  lunado_link_init(&ended);
  lock();
  for (lunado_link *link = orphans.next, *next; link != &orphans; link = next) {
    next = link->next;
    if (!reap(from_link(link), false)) continue;
    take_orphan(from_link(link));
    lunado_list_append(&ended, link);
  }
  reap_forsaken();
  unlock();
  while (!lunado_list_empty(&ended)) {
    lunado_process *self = from_link(ended.next);
    lunado_link_remove(&self->link);
    unref(self);
  }
}

static void add_orphan(lunado_process *self) {
  lock();
  if (self->exited == NULL) {
    forsake(self);
  } else {
    ref(self);
    self->orphaned = true;
    lunado_list_append(&orphans, &self->link);
  }
  unlock();
}

/* --- life cycle ----------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
  lunado_process *self =
      lunado_container_of((uv_process_t *)handle, lunado_process, uv);
  lunado_loop *loop = self->loop;
  lunado__handle_closed(handle);
  lunado__handle_unmark(handle);
  self->loop = NULL;
  unref(self);
  lunado_loop_unref(loop);
}

static void close_handle(lunado_process *self) {
  lunado__handle_close(&self->uv, on_closed);
}

/* The program has ended, and has a status. */
static void finish(lunado_process *self) {
  ref(self);
  lunado_link_remove(&self->link);
  close_handle(self);
  if (self->exited != NULL) self->exited(self);
  unref(self);
}

static void on_exit_of(uv_process_t *handle, int64_t status, int signum) {
  lunado_process *self = lunado_container_of(handle, lunado_process, uv);
  lunado_loop *loop = self->loop;
  lunado__loop_enter(loop);
  set_status(self, signum > 0 ? -signum : status);
  finish(self);
  reap_orphans();
  lunado__loop_leave(loop);
}

static lunado_process *new_process(lunado_loop *loop) {
  lunado_process *self = lunado__alloc(sizeof *self);
  if (self == NULL) return NULL;
  if (lunado__handle_reserve() < 0) {
    lunado__free(self);
    return NULL;
  }
  lunado_link_init(&self->link);
  self->loop = loop;
  atomic_init(&self->refs, 2);
  return self;
}

int lunado_process_spawn(lunado_process **result, lunado_loop *loop,
                         const uv_process_options_t *given,
                         lunado_process_cb exited) {
  uv_process_options_t options = *given;
  lunado_process *self;
  int rc;
  *result = NULL;
  if (loop->closed || lunado_loop_taken(loop)) return UV_ECANCELED;
  reap_orphans();
  self = new_process(loop);
  if (self == NULL) return UV_ENOMEM;
  options.exit_cb = on_exit_of;
  lunado_cloexec_from(3);
  rc = uv_spawn(loop->uv, &self->uv, &options);
  lunado__handle_mark(&self->uv); /* libuv has initialized it in any case */
  lunado_loop_ref(loop);
  if (rc < 0) {
    close_handle(self);
    unref(self);
    return rc;
  }
  uv_unref((uv_handle_t *)&self->uv);
  self->exited = exited;
  self->pid = self->uv.pid;
  self->id = lunado_system_hold_id(self->pid);
  lunado_list_append(&loop->processes, &self->link);
  *result = self;
  return 0;
}

void lunado_process_release(lunado_process *self) {
  bool was_orphan;
  self->exited = NULL;
  self->owner = NULL;
  lock();
  was_orphan = self->orphaned;
  if (was_orphan) {
    take_orphan(self);
    forsake(self);
  }
  unlock();
  if (was_orphan) unref(self);
  unref(self);
}

void lunado__processes_close(lunado_loop *loop) {
  while (!lunado_list_empty(&loop->processes)) {
    lunado_process *self = from_link(loop->processes.next);
    lunado_link_remove(&self->link);
    add_orphan(self);
    close_handle(self);
  }
  reap_orphans();
}

/* --- the running program -------------------------------------------------- */

/* True while the loop watches the program. */
static bool is_watched(const lunado_process *self) {
  return self->loop != NULL && !uv_is_closing((const uv_handle_t *)&self->uv);
}

void lunado_process_keep_alive(lunado_process *self, bool yes) {
  if (!is_watched(self)) return;
  if (yes)
    uv_ref((uv_handle_t *)&self->uv);
  else
    uv_unref((uv_handle_t *)&self->uv);
}

bool lunado_process_status(lunado_process *self, int64_t *status) {
  bool ended;
  reap_orphans();
  lock();
  ended = self->ended;
  *status = self->status;
  unlock();
  return ended;
}

int lunado_process_kill(lunado_process *self, int signum) {
  int64_t status;
  int rc;
  if (lunado_process_status(self, &status)) return UV_ESRCH;
  lock();
  rc = self->ended ? UV_ESRCH : uv_kill(self->pid, signum);
  if (rc == 0 && signum != 0) self->signum = signum;
  unlock();
  return rc;
}

void lunado_process_reap(lunado_process *self) {
  bool was_orphan;
  lock();
  was_orphan = self->orphaned;
  if (was_orphan) take_orphan(self);
  unlock();
  if (self->ended) return;
  (void)reap(self, true);
  if (was_orphan)
    unref(self);
  else
    finish(self);
}
