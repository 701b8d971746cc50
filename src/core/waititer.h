/* SPDX-License-Identifier: MIT */
/*
 * waititer.h - an iterator over futures, in the order in which they settle.
 *
 * Life cycle: init; add each future; take the nodes of settled futures until
 * lunado_waititer_done.  While the queue is empty, the owner may set `wanted`:
 * then `cb` is called as soon as the next settled future is queued.
 */
#ifndef LUNADO_CORE_WAITITER_H
#define LUNADO_CORE_WAITITER_H

#include <stdbool.h>

#include "core/future.h"

typedef struct lunado_waititer lunado_waititer;
typedef struct lunado_waititer_node lunado_waititer_node;

/* Has the rights and duties of a lunado_done_cb; may also take from the
 * iterator. */
typedef void (*lunado_waititer_cb)(lunado_settler *settler,
                                   lunado_waititer *iter);

struct lunado_waititer_node {
  lunado_waiter waiter;
  lunado_waititer *iter;
  lunado_waititer_node *next; /* the next one settled after this one */
};

struct lunado_waititer {
  lunado_waititer_cb cb;
  lunado_waititer_node *first; /* the earliest settled future not yet taken */
  lunado_waititer_node *last;  /* the last one; valid while first is not NULL */
  size_t remaining;            /* futures not yet taken */
  bool wanted;                 /* set by the owner: cb should run */
};

/* Makes an iterator in the caller's storage. */
void lunado_waititer_init(lunado_waititer *iter, lunado_waititer_cb cb);

/* Adds a future through the caller's node.  The caller must not move the future
 * or the node until the node is taken.  A settled future is queued at once,
 * without a call of `cb`. */
void lunado_waititer_add(lunado_waititer *iter, lunado_waititer_node *node,
                         lunado_future *future);

/* Settles a future without a callback, if its only waiter belongs to an
 * iterator whose `wanted` is false.  The future must have a waiter.  For any
 * other future it returns false and changes nothing. */
bool lunado_waititer_settle(lunado_future *future, int state);

/* Removes the node of the earliest settled future from the queue and returns
 * it; NULL if the queue is empty. */
lunado_waititer_node *lunado_waititer_take(lunado_waititer *iter);

/* True when the nodes of all futures have been taken. */
static inline bool lunado_waititer_done(const lunado_waititer *iter) {
  return iter->remaining == 0;
}

/* True if the waiter is the node of an iterator. */
bool lunado_waititer_owns(const lunado_waiter *waiter);

#endif
