/* SPDX-License-Identifier: MIT */
/*
 * signals.h - signals that a process is to notice, whatever loops come and go.
 *
 * libuv gives a signal its default effect back when the last handle for it is
 * closed, and its handles belong to a loop.  So the handles are kept on a
 * uv_loop_t of their own that is never run.  Its descriptor becomes readable
 * when a signal arrives; any loop may watch the descriptor and take the signal.
 *
 * Life cycle: new; watch and unwatch; drain and take; free.  Everything here
 * belongs to one thread.  Several owners, and other users of libuv's signals in
 * the process, do not disturb each other.
 */
#ifndef LUNADO_CORE_SIGNALS_H
#define LUNADO_CORE_SIGNALS_H

#include <stdbool.h>
#include <uv.h>

typedef struct lunado_signals lunado_signals;

/* Returns 0 or a negative libuv error, and then *signals is NULL. */
int lunado_signals_new(lunado_signals **signals);

/* Stops watching all signals and frees the storage.  A signal without another
 * watcher in the process has its default effect again. */
void lunado_signals_free(lunado_signals *self);

/* Notices the signal from now on, instead of its default effect; may be
 * repeated.  Returns 0; UV_EINVAL when the system does not allow it, or a
 * libuv error: then nothing has changed. */
int lunado_signals_watch(lunado_signals *self, int signum);

/* Stops watching the signal and forgets those that were not taken.  May be
 * repeated. */
void lunado_signals_unwatch(lunado_signals *self, int signum);

/* Counts the signals that have arrived; the descriptor is then not readable
 * until another arrives. */
void lunado_signals_drain(lunado_signals *self);

/* A signal that was counted and not taken; 0: none is left. */
int lunado_signals_next(const lunado_signals *self);

/* Takes a signal that was counted, once; returns it, or 0: none is left. */
int lunado_signals_take(lunado_signals *self);

/* The descriptor; -1 where the system has none. */
int lunado_signals_fd(const lunado_signals *self);

#endif
