/* SPDX-License-Identifier: MIT */
/* waititer.c - a queue of nodes, in the order in which futures are settled. */
#include "core/waititer.h"

void lunado_waititer_init(lunado_waititer *iter, lunado_waititer_cb cb) {
  iter->cb = cb;
  iter->first = iter->last = NULL;
  iter->remaining = 0;
  iter->wanted = false;
}

static void enqueue(lunado_waititer *iter, lunado_waititer_node *node) {
  if (iter->first == NULL)
    iter->first = node;
  else
    iter->last->next = node;
  iter->last = node;
}

static void on_settled(lunado_settler *settler, lunado_waiter *waiter,
                       lunado_future *future) {
  lunado_waititer_node *node =
      lunado_container_of(waiter, lunado_waititer_node, waiter);
  (void)future;
  enqueue(node->iter, node);
  if (node->iter->wanted) node->iter->cb(settler, node->iter);
}

bool lunado_waititer_owns(const lunado_waiter *waiter) {
  return waiter->cb == on_settled;
}

bool lunado_waititer_settle(lunado_future *future, int state) {
  lunado_waiter *waiter = future->waiters;
  lunado_waititer_node *node;
  if (waiter->next != waiter || waiter->cb != on_settled) return false;
  node = lunado_container_of(waiter, lunado_waititer_node, waiter);
  if (node->iter->wanted) return false;
  lunado_waiter_forget(waiter);
  lunado_future_set_state(future, state);
  enqueue(node->iter, node);
  return true;
}

void lunado_waititer_add(lunado_waititer *iter, lunado_waititer_node *node,
                         lunado_future *future) {
  node->iter = iter;
  node->next = NULL;
  node->waiter.list = NULL;
  node->waiter.future = future;
  iter->remaining++;
  if (lunado_future_pending(future))
    lunado_future_wait(future, &node->waiter, on_settled);
  else
    enqueue(iter, node);
}

lunado_waititer_node *lunado_waititer_take(lunado_waititer *iter) {
  lunado_waititer_node *node = iter->first;
  if (node == NULL) return NULL;
  iter->first = node->next;
  iter->remaining--;
  return node;
}
