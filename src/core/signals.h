/* SPDX-License-Identifier: MIT */
/*
 * signals.h - watching signals for longer than a loop lives.
 *
 * A libuv handle belongs to a loop, and libuv restores the default effect of a
 * signal when the last handle for it is closed.  So the handles are kept on a
 * separate uv_loop_t, which runs only inside the functions of this file.  Its
 * descriptor becomes readable when a signal arrives; any loop may watch the
 * descriptor and take the signal.
 *
 * Life cycle: new; watch and unwatch; drain and take; free.  All functions must
 * be called on one thread.  Several owners, and other users of libuv's signals
 * in the process, do not disturb each other.
 */
#ifndef LUNADO_CORE_SIGNALS_H
#define LUNADO_CORE_SIGNALS_H

#include <stdbool.h>
#include <uv.h>

typedef struct lunado_signals lunado_signals;

/* Makes an empty set of signals.  Returns 0, or a negative libuv error with
 * *signals set to NULL. */
int lunado_signals_new(lunado_signals **signals);

/* Stops watching all signals and frees the storage.  A signal without another
 * watcher in the process has its default effect again. */
void lunado_signals_free(lunado_signals *self);

/* Counts the signal from now on, which suppresses its default effect.  Does
 * nothing if the signal is watched already.
 * Returns 0, UV_EINVAL if the system does not allow it, or another libuv error.
 * After an error nothing has changed. */
int lunado_signals_watch(lunado_signals *self, int signum);

/* Stops watching the signal and drops its arrivals that were not taken.  Does
 * nothing if the signal is not watched. */
void lunado_signals_unwatch(lunado_signals *self, int signum);

/* Counts the signals that have arrived.  The descriptor is then not readable
 * until another signal arrives. */
void lunado_signals_drain(lunado_signals *self);

/* Returns a signal that was counted and not taken; 0 if none is left. */
int lunado_signals_next(const lunado_signals *self);

/* Takes one arrival of a counted signal and returns the signal; 0 if none is
 * left. */
int lunado_signals_take(lunado_signals *self);

/* Returns the descriptor, which belongs to the set. */
uv_os_sock_t lunado_signals_fd(const lunado_signals *self);

#endif
