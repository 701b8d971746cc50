/* SPDX-License-Identifier: MIT */
/*
 * post.h - messages to a loop from other threads and from signal handlers.
 *
 * Sending takes no lock and allocates nothing, so it is safe wherever an atomic
 * store is safe.  Every accepted message is handled exactly once, on the loop's
 * thread: normally in a turn of the loop, or, if the loop closes first, during
 * the closing, with loop->closed set.  The messages of one thread are handled
 * in the order in which it sent them.
 */
#ifndef LUNADO_CORE_POST_H
#define LUNADO_CORE_POST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct lunado_loop lunado_loop;
typedef struct lunado_message lunado_message;

/* Handles a message on the loop's thread.  It may free the message or send it
 * again.  If loop->closed is set, it should only release what the message
 * owns. */
typedef void (*lunado_message_cb)(lunado_loop *loop, lunado_message *message);

/* Sends the caller's message, which must not move until `cb` is called with it.
 * The caller must hold a reference to the loop.  May be called from any thread
 * or signal handler.
 * Returns 0.  If the loop is closed, returns UV_ECANCELED and does not call
 * `cb`. */
int lunado_loop_send(lunado_loop *loop, lunado_message *message,
                     lunado_message_cb cb);

/* How many posts of a loop may be pending at the same time. */
#define LUNADO_POSTS 1024u

/* Prepares the loop for lunado_loop_post.  Must be called on the loop's thread.
 * Returns 0 or UV_ENOMEM. */
int lunado_loop_open_posts(lunado_loop *loop);

/* Calls fn(arg) later on the loop's thread, unless the loop is closed first.
 * Must be preceded by lunado_loop_open_posts.  May be called from any thread or
 * signal handler.
 * Returns 0, UV_ENOBUFS if LUNADO_POSTS are pending, or UV_ECANCELED if the
 * loop is closed.  After an error fn is not called. */
int lunado_loop_post(lunado_loop *loop, void (*fn)(void *arg), void *arg);

/* --- for the loop -------------------------------------------------------- */

/* Handles the messages that have arrived. */
void lunado__mail_deliver(lunado_loop *loop);

/* Refuses messages from now on, and handles the accepted ones. */
void lunado__mail_close(lunado_loop *loop);

/* Frees the memory of lunado_loop_open_posts. */
void lunado__mail_fini(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_message {
  lunado_message *next; /* sent just before this one */
  lunado_message_cb cb;
};

typedef struct {
  _Atomic(lunado_message *) last; /* sent last; NULL: none */
  lunado_message *arrived;        /* not yet handled, oldest first; the
                                     loop's */
  atomic_uint senders;            /* threads inside lunado_loop_send */
  atomic_bool closed;
  struct lunado_posts *posts; /* owned; NULL until lunado_loop_open_posts */
} lunado_mailbox;

#endif
