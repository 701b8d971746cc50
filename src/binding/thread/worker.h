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

/* A job, and after its run the outcome. */
typedef struct {
  lunado__parcel parcel; /* a function and its arguments; then its results, or
                            the error and its traceback; or nothing, where
                            there was no memory for these */
  bool failed;
} lunado__work;

/* Makes a Lua state with the standard libraries, which finds modules by these
 * paths.  If the state comes to need a realm, `filler` fills it.  Returns NULL
 * if memory is short. */
lunado__worker *lunado__worker_new(lunado_realm_filler filler, const char *path,
                                   const char *cpath);

/* Replaces a function and its arguments by the outcome of calling it.  If
 * `worker` is NULL, the call fails as it does when memory is short. */
void lunado__worker_run(lunado__worker *worker, lunado__work *work);

/* Closes the state. */
void lunado__worker_free(lunado__worker *worker);

#endif
