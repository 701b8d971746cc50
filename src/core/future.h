/* SPDX-License-Identifier: MIT */
/*
 * future.h - one outcome that may still be pending.
 *
 * A future is pending until it is settled, exactly once, as done or failed.
 * The core stores only this state.  The owner embeds the future and stores the
 * outcome, a result or an error.
 *
 * Life cycle: init; any number of waits; settle, which ends the waits.  There
 * is no fini: a future owns nothing.  The waiters of a future that is freed
 * while pending never run, and lunado_waiter_forget must not be called on them
 * afterwards.
 *
 * Everything here belongs to one thread.
 */
#ifndef LUNADO_CORE_FUTURE_H
#define LUNADO_CORE_FUTURE_H

#include <stddef.h>
#include <stdint.h>

#include "core/list.h"

/* The maximum nesting of settles; they nest when a waiter of one future settles
 * the next future.  Waiters of a deeper settle are deferred until the outer
 * settles have run their own waiters. */
#define LUNADO_SETTLE_DEPTH 16

enum { LUNADO_PENDING, LUNADO_DONE, LUNADO_FAILED };

typedef struct lunado_future lunado_future;
typedef struct lunado_waiter lunado_waiter;
typedef struct lunado_settler lunado_settler;

/* Runs once, after the future is settled and the waiter has left its list.  It
 * may settle other futures and add or forget any waiter.  It must return to its
 * caller, without a longjmp. */
typedef void (*lunado_done_cb)(lunado_settler *settler, lunado_waiter *waiter,
                               lunado_future *future);

/* --- producer ----------------------------------------------------------- */

/* Makes the future pending.  The caller owns the storage and must not move
 * it. */
static inline void lunado_future_init(lunado_future *future);

/* Settles the future as `state` (LUNADO_DONE or LUNADO_FAILED) and runs its
 * waiters in the order in which they were added.  At LUNADO_SETTLE_DEPTH it
 * defers them instead; they run before the outermost settle returns.
 * Returns 0.  If the future is not pending, returns UV_EALREADY and changes
 * nothing. */
int lunado_future_settle(lunado_settler *settler, lunado_future *future,
                         int state);

/* If the future has exactly one waiter and the waiter has this callback,
 * removes and returns the waiter; else returns NULL.  For owners that can
 * handle the waiter faster than through its callback. */
static inline lunado_waiter *lunado_future_take_sole(lunado_future *future,
                                                     lunado_done_cb cb);

/* --- consumer ----------------------------------------------------------- */

/* Links the caller's waiter to a pending future; allocates nothing.  The caller
 * must not move the waiter until `cb` has run or the waiter is forgotten. */
static inline void lunado_future_wait(lunado_future *future,
                                      lunado_waiter *waiter, lunado_done_cb cb);

/* Unlinks a waiter, so that its `cb` will not be called.  Does nothing if the
 * waiter is in no list, for example because it ran.  O(1). */
void lunado_waiter_forget(lunado_waiter *waiter);

/* True until the future is settled. */
static inline bool lunado_future_pending(const lunado_future *future);

/* --- the settler --------------------------------------------------------- */

/* Makes a settler.  Each thread that has futures has one settler, which counts
 * the nesting of settles and holds the deferred waiters. */
static inline void lunado_settler_init(lunado_settler *settler);

/* Runs the waiters that are deferred because a settle did not return.  Only
 * tests call this. */
void lunado_settler_flush(lunado_settler *settler);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_waiter {
  lunado_waiter *next; /* circular within `list` */
  lunado_waiter *prev;
  lunado_waiter **list;  /* the head of its list; NULL: in no list */
  lunado_future *future; /* the future that it waits or waited for; borrowed */
  lunado_done_cb cb;
};

struct lunado_future {
  lunado_waiter *waiters; /* the first one; borrowed from the callers of
                             lunado_future_wait */
  uint8_t state;          /* LUNADO_PENDING, LUNADO_DONE, LUNADO_FAILED */
  uint8_t kind;           /* the owner's; the core never reads it */
  uint16_t flags;         /* the owner's */
  uint32_t count;         /* the owner's */
};

struct lunado_settler {
  unsigned depth;          /* settles on the C stack that run waiters */
  lunado_waiter *deferred; /* waiters of settled futures, in order */
};

static inline void lunado_future_init(lunado_future *future) {
  future->waiters = NULL;
  future->state = LUNADO_PENDING;
  future->kind = 0;
  future->flags = 0;
  future->count = 0;
}

/* Gives a pending future its state.  Only this function changes the state.  The
 * caller must also run or remove the waiters, before or afterwards. */
static inline void lunado_future_set_state(lunado_future *future, int state) {
  future->state = (uint8_t)state;
}

static inline bool lunado_future_pending(const lunado_future *future) {
  return future->state == LUNADO_PENDING;
}

static inline void lunado__waiter_link(lunado_waiter **list,
                                       lunado_waiter *waiter) {
  lunado_waiter *first = *list;
  waiter->list = list;
  if (first == NULL) {
    *list = waiter->next = waiter->prev = waiter;
    return;
  }
  waiter->next = first;
  waiter->prev = first->prev;
  first->prev->next = waiter;
  first->prev = waiter;
}

static inline void lunado_future_wait(lunado_future *future,
                                      lunado_waiter *waiter,
                                      lunado_done_cb cb) {
  waiter->future = future;
  waiter->cb = cb;
  lunado__waiter_link(&future->waiters, waiter);
}

static inline lunado_waiter *lunado_future_take_sole(lunado_future *future,
                                                     lunado_done_cb cb) {
  lunado_waiter *waiter = future->waiters;
  if (waiter == NULL || waiter->next != waiter || waiter->cb != cb) return NULL;
  waiter->list = NULL;
  future->waiters = NULL;
  return waiter;
}

static inline void lunado_settler_init(lunado_settler *settler) {
  settler->depth = 0;
  settler->deferred = NULL;
}

#endif
