/* SPDX-License-Identifier: MIT */
/*
 * multi.h - knowing when the last of many futures is settled.
 *
 * Life cycle: init; add each future.  Where `pending` is 0 then, all of them
 * were settled already; otherwise `cb` runs once, when the last one is.
 */
#ifndef LUNADO_CORE_MULTI_H
#define LUNADO_CORE_MULTI_H

#include <stdbool.h>

#include "core/future.h"

typedef struct lunado_multi lunado_multi;

/* Runs once, when the last future is settled; as lunado_done_cb. */
typedef void (*lunado_multi_cb)(lunado_settler *settler, lunado_multi *multi);

typedef struct {
  lunado_waiter waiter;
  lunado_multi *multi;
} lunado_multi_node;

struct lunado_multi {
  lunado_multi_cb cb;
  size_t pending;      /* added futures that are not settled */
  lunado_waiter *last; /* of the future that was settled last; NULL: none */
  bool failed;         /* some future has failed */
};

/* Makes a multi of the caller's storage. */
void lunado_multi_init(lunado_multi *multi, lunado_multi_cb cb);

/* Waits for one more future through the caller's node; a settled one needs
 * no wait.  Both stay where they are until `cb` has run.  One future may be
 * added through several nodes. */
void lunado_multi_add(lunado_multi *multi, lunado_multi_node *node,
                      lunado_future *future);

/* Settles a future whose only waiter belongs to a multi that waits for others,
 * too, so that no waiter has to be called.  Returns false, and has changed
 * nothing, for any other. */
bool lunado_multi_settle(lunado_future *future, int state);

/* True if the waiter is the node of a multi. */
bool lunado_multi_owns(const lunado_waiter *waiter);

#endif
