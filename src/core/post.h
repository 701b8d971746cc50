/* SPDX-License-Identifier: MIT */
/*
 * post.h - messages to a loop from other threads and from signal handlers.
 *
 * Sending takes no lock and allocates nothing, so it is safe wherever a store
 * is.  Every accepted message is handled exactly once, on the loop's thread,
 * in the order in which one thread sent them: normally in a turn of the loop,
 * or, when the loop closes first, by its closing, with loop->closed set.
 */
#ifndef LUNADO_CORE_POST_H
#define LUNADO_CORE_POST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct lunado_loop lunado_loop;
typedef struct lunado_message lunado_message;

/* Handles a message on the loop's thread; its storage may be freed or sent
 * again.  With loop->closed set it only tidies up. */
typedef void (*lunado_message_cb)(lunado_loop *loop, lunado_message *message);

/* Sends the caller's message, which stays where it is until `cb` has it.  The
 * caller holds a reference to the loop.  From any thread or signal handler.
 * Returns 0; UV_ECANCELED when the loop is closed, and `cb` is not called. */
int lunado_loop_send(lunado_loop *loop, lunado_message *message,
                     lunado_message_cb cb);

/* How many calls of lunado_loop_post may be on their way at once. */
#define LUNADO_POSTS 1024u

/* Readies the loop for lunado_loop_post; on the loop's thread.
 * Returns 0 or UV_ENOMEM. */
int lunado_loop_open_posts(lunado_loop *loop);

/* Has fn(arg) called on the loop's thread, after lunado_loop_open_posts,
 * unless the loop is closed first.  From any thread or signal handler.
 * Returns 0; UV_ENOBUFS when LUNADO_POSTS are on their way; UV_ECANCELED
 * when the loop is closed; then fn is not called. */
int lunado_loop_post(lunado_loop *loop, void (*fn)(void *arg), void *arg);

/* --- for the loop -------------------------------------------------------- */

/* Handles what has arrived. */
void lunado__mail_deliver(lunado_loop *loop);

/* Refuses messages from now on, and handles those that were accepted. */
void lunado__mail_close(lunado_loop *loop);

/* Frees what open_posts made. */
void lunado__mail_fini(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_message {
  lunado_message *next; /* sent just before this one */
  lunado_message_cb cb;
};

typedef struct {
  _Atomic(lunado_message *) last; /* sent last; NULL: none */
  lunado_message *arrived;        /* taken out, oldest first; the loop's */
  atomic_uint senders;            /* threads inside lunado_loop_send */
  atomic_bool closed;
  struct lunado_posts *posts; /* owned; NULL until lunado_loop_open_posts */
} lunado_mailbox;

#endif
