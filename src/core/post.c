/* SPDX-License-Identifier: MIT */
/*
 * post.c - a stack of messages that any thread pushes and the loop empties.
 *
 * Invariants: a sender increments `senders` before it loads `closed`; the
 * closing thread sets `closed` before it waits for `senders` to reach 0.  So
 * once that wait is over, no sender uses the async handle or the stack of
 * messages.  Each post is either in the free list or in use.
 */
#include "core/post.h"

#include <uv.h>

#include "core/alloc.h"
#include "core/loop.h"

/* --- messages ------------------------------------------------------------ */

int lunado_loop_send(lunado_loop *loop, lunado_message *message,
                     lunado_message_cb cb) {
  lunado_mailbox *mail = &loop->mail;
  int rc = UV_ECANCELED;
  atomic_fetch_add(&mail->senders, 1);
  if (!atomic_load(&mail->closed)) {
    lunado_message *last = atomic_load(&mail->last);
    message->cb = cb;
    do {
      message->next = last;
    } while (!atomic_compare_exchange_weak(&mail->last, &last, message));
    (void)uv_async_send(&loop->async);
    rc = 0;
  }
  atomic_fetch_sub(&mail->senders, 1);
  return rc;
}

static lunado_message *oldest_first(lunado_message *last) {
  lunado_message *first = NULL;
  while (last != NULL) {
    lunado_message *before = last->next;
    last->next = first;
    first = last;
    last = before;
  }
  return first;
}

/* Moves the sent messages behind those that arrived before.  Earlier messages
 * may be left if the callback of a message closes the loop. */
static void collect(lunado_mailbox *mail) {
  lunado_message **end = &mail->arrived;
  while (*end != NULL) end = &(*end)->next;
  *end = oldest_first(atomic_exchange(&mail->last, NULL));
}

void lunado__mail_deliver(lunado_loop *loop) {
  lunado_message *message;
  collect(&loop->mail);
  while ((message = loop->mail.arrived) != NULL) {
    loop->mail.arrived = message->next;
    message->cb(loop, message);
  }
}

void lunado__mail_close(lunado_loop *loop) {
  atomic_store(&loop->mail.closed, true);
  while (atomic_load(&loop->mail.senders) > 0) continue;
  lunado__mail_deliver(loop);
}

/* --- posts --------------------------------------------------------------- */

typedef struct {
  lunado_message message;
  void (*fn)(void *arg);
  void *arg;
  atomic_uint next_free; /* number of the next free post; 0: none */
} post;

struct lunado_posts {
  /* Number of the first free post in the low half (1 is slots[0], 0 none); the
   * high half counts changes, so that the compare-and-swap notices a head that
   * changed and returned to its old value. */
  _Atomic uint64_t free;
  post slots[LUNADO_POSTS];
};

static uint64_t with_head(uint64_t head, unsigned number) {
  return (((head >> 32) + 1) << 32) | number;
}

static post *take(struct lunado_posts *posts) {
  uint64_t head = atomic_load(&posts->free);
  post *slot;
  do {
    unsigned number = (unsigned)(head & UINT32_MAX);
    if (number == 0) return NULL;
    slot = &posts->slots[number - 1];
  } while (!atomic_compare_exchange_weak(
      &posts->free, &head, with_head(head, atomic_load(&slot->next_free))));
  return slot;
}

static void give_back(struct lunado_posts *posts, post *slot) {
  unsigned number = (unsigned)(slot - posts->slots) + 1;
  uint64_t head = atomic_load(&posts->free);
  do {
    atomic_store(&slot->next_free, (unsigned)(head & UINT32_MAX));
  } while (!atomic_compare_exchange_weak(&posts->free, &head,
                                         with_head(head, number)));
}

static void on_post(lunado_loop *loop, lunado_message *message) {
  post *slot = lunado_container_of(message, post, message);
  void (*fn)(void *arg) = slot->fn;
  void *arg = slot->arg;
  give_back(loop->mail.posts, slot);
  if (!loop->closed) fn(arg);
}

int lunado_loop_open_posts(lunado_loop *loop) {
  struct lunado_posts *posts;
  if (loop->mail.posts != NULL) return 0;
  posts = lunado__alloc(sizeof *posts);
  if (posts == NULL) return UV_ENOMEM;
  for (unsigned i = 0; i < LUNADO_POSTS; i++)
    give_back(posts, &posts->slots[LUNADO_POSTS - 1 - i]);
  loop->mail.posts = posts;
  return 0;
}

int lunado_loop_post(lunado_loop *loop, void (*fn)(void *arg), void *arg) {
  post *slot;
  int rc;
  if (atomic_load(&loop->mail.closed)) return UV_ECANCELED;
  slot = take(loop->mail.posts);
  if (slot == NULL) return UV_ENOBUFS;
  slot->fn = fn;
  slot->arg = arg;
  rc = lunado_loop_send(loop, &slot->message, on_post);
  if (rc < 0) give_back(loop->mail.posts, slot);
  return rc;
}

void lunado__mail_fini(lunado_loop *loop) {
  lunado__free(loop->mail.posts);
  loop->mail.posts = NULL;
}
