/* SPDX-License-Identifier: MIT */
/*
 * multi.h - a callback when the last of many futures is settled.
 *
 * Life cycle: init; add each future.  If `pending` is then 0, all futures were
 * settled already and `cb` does not run.  Otherwise `cb` runs once, when the
 * last future is settled.
 */
#ifndef LUNADO_CORE_MULTI_H
#define LUNADO_CORE_MULTI_H

#include <stdbool.h>

#include "core/future.h"

typedef struct lunado_multi lunado_multi;

/* Runs once, when the last future is settled.  It has the rights and duties of
 * a lunado_done_cb. */
typedef void (*lunado_multi_cb)(lunado_settler *settler, lunado_multi *multi);

typedef struct {
  lunado_waiter waiter;
  lunado_multi *multi;
} lunado_multi_node;

struct lunado_multi {
  lunado_multi_cb cb;
  size_t pending;      /* added futures that are still pending */
  lunado_waiter *last; /* waiter of the future settled last; NULL: none */
  bool failed;         /* at least one future has failed */
};

/* Makes a multi in the caller's storage. */
void lunado_multi_init(lunado_multi *multi, lunado_multi_cb cb);

/* Waits for one more future through the caller's node; for a settled future
 * there is no wait.  The caller must not move the multi or the node until `cb`
 * has run.  One future may be added through several nodes. */
void lunado_multi_add(lunado_multi *multi, lunado_multi_node *node,
                      lunado_future *future);

/* Puts a failed future in the place of one that the multi waited for through
 * the node.  The caller has made the node's waiter forget the former.  Returns
 * true if no future is pending any more; `cb` does not run then. */
bool lunado_multi_fail(lunado_multi *multi, lunado_multi_node *node,
                       lunado_future *failed);

/* Settles a future without a callback, if its only waiter belongs to a multi
 * that waits for other futures, too.  For any other future it returns false and
 * changes nothing.  The future must have a waiter. */
bool lunado_multi_settle(lunado_future *future, int state);

/* True if the waiter is the node of a multi. */
bool lunado_multi_owns(const lunado_waiter *waiter);

#endif
