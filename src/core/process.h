/* SPDX-License-Identifier: MIT */
/*
 * process.h - programs that a loop has started.
 *
 * Life cycle: spawn; `exited` once, when the program has ended; release.  A
 * program goes on when its owner releases it or its loop is closed.  However it
 * ends, it is reaped: by its loop; after the loop is closed, when any loop of
 * the process next starts a program or sees one end, or the owner asks for the
 * status.  Functions must be called on the loop's thread.
 */
#ifndef LUNADO_CORE_PROCESS_H
#define LUNADO_CORE_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/list.h"

typedef struct lunado_loop lunado_loop;
typedef struct lunado_process lunado_process;

/* The status of a program that other code in this process has reaped. */
#define LUNADO_PROCESS_UNKNOWN 255

/* Called once, when the program has ended, inside a callback of libuv's or in
 * lunado_process_reap. */
typedef void (*lunado_process_cb)(lunado_process *process);

/* Starts a program as uv_spawn does; `options` need last for the call only, and
 * its exit_cb is not used.  The program inherits no descriptor but those in
 * options->stdio: all others from 3 on are marked (descriptors.h).
 * Returns 0; UV_ECANCELED if the loop is closed, UV_ENOMEM, or what libuv says
 * of a program that cannot be started.  Then *process is NULL. */
int lunado_process_spawn(lunado_process **process, lunado_loop *loop,
                         const uv_process_options_t *options,
                         lunado_process_cb exited);

/* The owner uses the process no more; `exited` is not called any more. */
void lunado_process_release(lunado_process *process);

/* Sets whether the running program keeps a run of the loop alive; at first it
 * does not. */
void lunado_process_keep_alive(lunado_process *process, bool yes);

/* True once the program has ended, and then sets *status: that of its exit, or
 * the negative number of the signal that ended it. */
bool lunado_process_status(lunado_process *process, int64_t *status);

/* Sends a signal.  Returns 0, UV_ESRCH if the program has ended, or another
 * error.  Never reaches a later process with the same id. */
int lunado_process_kill(lunado_process *process, int signum);

/* Waits until the program has ended, for which it blocks the thread. */
void lunado_process_reap(lunado_process *process);

/* --- for the loop --------------------------------------------------------- */

/* The loop is being closed: it reaps its programs no more. */
void lunado__processes_close(lunado_loop *loop);

/* --- layout: the owner may set `owner`, and read `pid` -------------------- */

struct lunado_process {
  lunado_link link;  /* while it runs: in loop->processes or, when that is
                        closed, in the list of orphans */
  lunado_loop *loop; /* NULL once the handle is closing */
  uv_process_t uv;   /* its data is NULL */
  void *owner;       /* the owner's */
  lunado_process_cb exited; /* NULL: released */
  void *id; /* what keeps the id from being used again (system.h) */
  int64_t status;
  int pid;
  int signum; /* the last signal that was sent to it; 0: none */
  atomic_uint refs; /* the owner, the open handle, the list of orphans */
  bool ended;       /* `status` is set */
  bool orphaned;    /* in the list of orphans, whose lock guards `ended` and
                       `status` meanwhile */
};

#endif
