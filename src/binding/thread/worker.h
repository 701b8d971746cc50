/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the Lua state of a worker thread.
 *
 * Everything here is called on the worker's thread.
 */
#ifndef LUNADO_BINDING_THREAD_WORKER_H
#define LUNADO_BINDING_THREAD_WORKER_H

#include <stdbool.h>

#include "binding/state/realm.h"
#include "binding/thread/parcel.h"

typedef struct lunado__worker lunado__worker;

/* What is run, and then its outcome. */
typedef struct {
  lunado__parcel parcel; /* a function and its arguments; then its results, or
                            the error and its traceback; or nothing, where
                            there was no memory for these */
  bool failed;
} lunado__work;

/* A state with the standard libraries, whose realm, where it comes to need one,
 * `filler` fills; it finds modules by these paths;
 * NULL when there is no memory for one. */
lunado__worker *lunado__worker_new(lunado_realm_filler filler, const char *path,
                                   const char *cpath);

/* Replaces a function and its arguments by the outcome of calling it.  Without
 * a worker (NULL) that is a failure for want of memory. */
void lunado__worker_run(lunado__worker *worker, lunado__work *work);

/* Closes the state. */
void lunado__worker_free(lunado__worker *worker);

#endif
