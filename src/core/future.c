/* SPDX-License-Identifier: MIT */
/*
 * future.c - settling a future and running its waiters.
 *
 * Invariants: a waiter is in at most one list, its future's or the settler's
 * deferred list; waiter->list points to the head of that list.  A waiter leaves
 * its list before its callback runs, so the callback may link the waiter again.
 */
#include "core/future.h"

#include <assert.h>
#include <uv.h>

void lunado_waiter_forget(lunado_waiter *waiter) {
  lunado_waiter **list = waiter->list;
  if (list == NULL) return;
  waiter->list = NULL;
  if (waiter->next == waiter) {
    *list = NULL;
    return;
  }
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
  if (*list == waiter) *list = waiter->next;
}

static void run_all(lunado_settler *settler, lunado_waiter **list) {
  lunado_waiter *waiter;
  while ((waiter = *list) != NULL) {
    lunado_waiter_forget(waiter);
    waiter->cb(settler, waiter, waiter->future);
  }
}

static void defer_all(lunado_settler *settler, lunado_future *future) {
  lunado_waiter *waiter;
  while ((waiter = future->waiters) != NULL) {
    lunado_waiter_forget(waiter);
    lunado__waiter_link(&settler->deferred, waiter);
  }
}

int lunado_future_settle(lunado_settler *settler, lunado_future *future,
                         int state) {
  assert(state != LUNADO_PENDING && "a future is settled as done or failed");
  if (future->state != LUNADO_PENDING) return UV_EALREADY;
  lunado_future_set_state(future, state);
  if (future->waiters == NULL) return 0;
  if (settler->depth >= LUNADO_SETTLE_DEPTH) {
    defer_all(settler, future);
    return 0;
  }
  settler->depth++;
  run_all(settler, &future->waiters);
  if (settler->deferred != NULL) run_all(settler, &settler->deferred);
  settler->depth--;
  return 0;
}

void lunado_settler_flush(lunado_settler *settler) {
  settler->depth++;
  run_all(settler, &settler->deferred);
  settler->depth--;
}
