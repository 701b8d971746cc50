/* SPDX-License-Identifier: MIT */
/* multi.c - counting the pending futures of a multi. */
#include "core/multi.h"

void lunado_multi_init(lunado_multi *multi, lunado_multi_cb cb) {
  multi->cb = cb;
  multi->pending = 0;
  multi->last = NULL;
  multi->failed = false;
}

static void on_child(lunado_settler *settler, lunado_waiter *waiter,
                     lunado_future *future) {
  lunado_multi_node *node =
      lunado_container_of(waiter, lunado_multi_node, waiter);
  lunado_multi *multi = node->multi;
  multi->last = waiter;
  if (future->state == LUNADO_FAILED) multi->failed = true;
  if (--multi->pending == 0) multi->cb(settler, multi);
}

void lunado_multi_add(lunado_multi *multi, lunado_multi_node *node,
                      lunado_future *future) {
  node->multi = multi;
  node->waiter.list = NULL;
  node->waiter.future = future;
  if (future->state == LUNADO_FAILED) multi->failed = true;
  if (!lunado_future_pending(future)) return;
  multi->pending++;
  lunado_future_wait(future, &node->waiter, on_child);
}

bool lunado_multi_fail(lunado_multi *multi, lunado_multi_node *node,
                       lunado_future *failed) {
  node->waiter.future = failed;
  multi->failed = true;
  return --multi->pending == 0;
}

bool lunado_multi_owns(const lunado_waiter *waiter) {
  return waiter->cb == on_child;
}

bool lunado_multi_settle(lunado_future *future, int state) {
  lunado_waiter *waiter = future->waiters;
  lunado_multi *multi;
  if (waiter->next != waiter || waiter->cb != on_child) return false;
  multi = lunado_container_of(waiter, lunado_multi_node, waiter)->multi;
  if (multi->pending == 1) return false;
  lunado_waiter_forget(waiter);
  lunado_future_set_state(future, state);
  if (state == LUNADO_FAILED) multi->failed = true;
  multi->pending--;
  return true;
}
