/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the Lua state of a worker thread.
 *
 * All functions must be called on the worker's thread.
 */
#ifndef LUNADO_BINDING_THREAD_WORKER_H
#define LUNADO_BINDING_THREAD_WORKER_H

#include <stdbool.h>

#include "binding/state/realm.h"
#include "binding/thread/loan.h"
#include "binding/thread/parcel.h"

typedef struct lunado__worker lunado__worker;

/* A job, which lunado__worker_run replaces by its outcome.  The parcel first
 * has a function and its arguments.  Afterwards it has the results or, if
 * `failed`, the error and its traceback.  If `failed` and the parcel is empty,
 * memory was short.  Whoever has decoded the results gives the loan back. */
typedef struct {
  lunado__parcel parcel;
  lunado__loan *loan;     /* of strings in the results; NULL: none */
  lunado__lender *lender; /* the worker's, while it runs the job */
  bool failed;
} lunado__work;

/* Makes a Lua state with the standard libraries, package.path `path` and
 * package.cpath `cpath`.  `filler` fills the realm of the state if the job
 * loads lunado.  Returns NULL if memory is short. */
lunado__worker *lunado__worker_new(lunado_realm_filler filler, const char *path,
                                   const char *cpath);

/* Calls the function in `work` and replaces the parcel by the outcome.  If
 * `worker` is NULL, the job fails as if memory were short. */
void lunado__worker_run(lunado__worker *worker, lunado__work *work);

/* Releases what was lent and is back. */
void lunado__worker_rest(lunado__worker *worker);

/* Waits for what is lent, and closes the state. */
void lunado__worker_free(lunado__worker *worker);

#endif
