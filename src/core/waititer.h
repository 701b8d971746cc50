/* SPDX-License-Identifier: MIT */
/*
 * waititer.h - many futures, one after the other as they are settled.
 *
 * Life cycle: init; add each future; take settled futures until
 * lunado_waititer_done.  While none is settled, the owner may set `wanted`:
 * then `cb` is called as soon as the next settled future is queued.
 */
#ifndef LUNADO_CORE_WAITITER_H
#define LUNADO_CORE_WAITITER_H

#include <stdbool.h>

#include "core/future.h"

typedef struct lunado_waititer lunado_waititer;
typedef struct lunado_waititer_node lunado_waititer_node;

/* Like lunado_done_cb; may take from the iterator. */
typedef void (*lunado_waititer_cb)(lunado_settler *settler,
                                   lunado_waititer *iter);

struct lunado_waititer_node {
  lunado_waiter waiter;
  lunado_waititer *iter;
  lunado_waititer_node *next; /* settled after this one */
};

struct lunado_waititer {
  lunado_waititer_cb cb;
  lunado_waititer_node *first; /* settled and not yet taken, in order */
  lunado_waititer_node *last;  /* meaningful while first is not NULL */
  size_t left;                 /* futures not yet taken */
  bool wanted;                 /* the owner's: cb is to be called */
};

/* Makes an iterator of the caller's storage. */
void lunado_waititer_init(lunado_waititer *iter, lunado_waititer_cb cb);

/* Adds a future through the caller's node, both of which stay where they are
 * until the node is taken.  A settled one is queued at once, without `cb`. */
void lunado_waititer_add(lunado_waititer *iter, lunado_waititer_node *node,
                         lunado_future *future);

/* Settles a future whose only waiter belongs to an iterator that is not
 * wanted, so that no callback is due.  For any other future it returns false
 * and changes nothing. */
bool lunado_waititer_settle(lunado_future *future, int state);

/* Takes the node of the earliest settled future; NULL when there is none. */
lunado_waititer_node *lunado_waititer_take(lunado_waititer *iter);

/* True when every future has been taken. */
static inline bool lunado_waititer_done(const lunado_waititer *iter) {
  return iter->left == 0;
}

/* True if the waiter is the node of an iterator. */
bool lunado_waititer_owns(const lunado_waiter *waiter);

#endif
