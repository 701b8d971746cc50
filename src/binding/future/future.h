/* SPDX-License-Identifier: MIT */
/*
 * future.h - Future as a Lua value.
 *
 * A Future is a userdata that begins with a lunado_future; all kinds share
 * one metatable.  User value 1 is, while it is pending, the owner of its
 * waiter, or a table address of waiter -> owner where there are several; once
 * it is done the result (count == 1), nil (0) or a list of `count` results;
 * once it has failed its Failure.
 *
 * An owner is a userdata whose memory holds the waiter.
 */
#ifndef LUNADO_BINDING_FUTURE_FUTURE_H
#define LUNADO_BINDING_FUTURE_FUTURE_H

#include "binding/state/binding.h"

enum { LUNADO_FUTURE_VALUE = 1, LUNADO_FUTURE_TASK = 2 };

/* What made a Future, and so what is in it: lunado_future.kind.
 *
 * The kind tells what a Future's memory is and what its user values beside the
 * first one are.  Who makes it gives it; who wants to know asks for nothing
 * else, neither for sizes nor for the number or types of user values. */
typedef enum {
  LUNADO_KIND_PLAIN,     /* a lunado_future; it is the maker's to settle */
  LUNADO_KIND_COROUTINE, /* the same; LUNADO_FUTURE_TASK is its task, from the
                            first suspension to the end, else nil */
  LUNADO_KIND_MULTI,     /* multi.c's */
  LUNADO_KIND_NEXT,      /* waititer.c's, of WaitIterator's next */
  LUNADO_KIND_PROMISE,   /* as a plain one, but another thread settles it */
  LUNADO_KIND_JOB,       /* pool.c's, of what an executor runs */
  LUNADO_KIND_SLEEP,     /* sleep.c's: of gen.sleep, */
  LUNADO_KIND_TIMEOUT,   /* and of gen.with_timeout */
  LUNADO_KIND_TICKET,    /* ticket.c's, of what waits in a line */
  LUNADO_KIND_TIED = LUNADO_KIND_SLEEP /* from here on: they have timers and
                            places to let go when somebody else settles them */
} lunado_kind;

/* lunado_future.flags */
enum {
  LUNADO_IS_MOMENT = 1,
  LUNADO_IS_UNTOLD = 2,  /* a multi that failed, the other errors of which are
                            for the multi that waits for it to log */
  LUNADO_IS_PRIVATE = 4, /* a multi that a table was converted to: nobody has it
                            but what waits for it */
  LUNADO_IS_LATE = 8,    /* a with_timeout has given it up, and is to be heard
                            of when it fails */
  LUNADO_IS_LATE_QUIET = 16, /* one with quiet_exceptions has: SLOT_QUIET */
  LUNADO_IS_WITHDRAWN = 32,  /* a ticket, and */
  LUNADO_IS_CLAIM = 64,      /* one that passes for done; see ticket.h */
  LUNADO_IS_HEIR = 128       /* it gets its outcome from others; while it is
                                pending, user value 1 is a table: dependent.h */
};

void lunado__future_open(lua_State *L, lunado_realm *realm);

/* Pushes the functions of lunado.concurrent into the table on top. */
void lunado__future_functions(lua_State *L);

/* --- values --------------------------------------------------------------- */

/* Pushes a pending Future of that kind, of `size` bytes (at least a
 * lunado_future) and with `values` user values.  [-0, +1, m] */
void *lunado__future_new(lua_State *L, lunado_realm *realm, lunado_kind kind,
                         size_t size, int values);

/* The Future at idx, or NULL.  [-0, +0, -] */
static inline lunado_future *lunado__tofuture(lua_State *L,
                                              const lunado_realm *realm,
                                              int idx) {
  return lunado__toclass(L, idx, realm->future_mt);
}

/* Argument `arg`, which must be a Future.  [-0, +0, v] */
lunado_future *lunado__checkfuture(lua_State *L, lunado_realm *realm, int arg);

/* Copies the table at `from` into the one at `to`, the last on the stack, where
 * it is a list of Futures and nothing else.  Returns their number, or -1.
 * [-0, +0, m] */
int lunado__future_copy_list(lua_State *L, lunado_realm *realm, int from,
                             int to);

/* --- outcomes ------------------------------------------------------------- */

/* Settles the pending Future at idx with the value on top, in the form of
 * user value 1; future->count is set by the caller.
 * [-1, +0, m] and raises only before anything has changed. */
void lunado__settle(lua_State *L, lunado_realm *realm, int idx, int state);

/* The same for a Future that has waiters, and whose address is known. */
void lunado__settle_waiters(lua_State *L, lunado_realm *realm, int idx,
                            lunado_future *future, int state);

/* lunado__settle for who knows the address.  [-1, +0, m] */
static inline void lunado__settle_known(lua_State *L, lunado_realm *realm,
                                        int idx, lunado_future *future,
                                        int state) {
  if (future->waiters != NULL) {
    lunado__settle_waiters(L, realm, idx, future, state);
    return;
  }
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  future->state = (uint8_t)state;
}

/* Settles the Future at idx as failed with the Failure on top.  Where the
 * Future is settled already the Failure is only popped: one that was not
 * observed is logged when it is collected.  Every producer of errors whose
 * Future somebody else may settle first ends here.  [-1, +0, m] */
void lunado__settle_failed(lua_State *L, lunado_realm *realm, int idx);

/* Settles the Future at idx as the done one at `from`.  Where it is settled
 * already nothing changes: an error remains that of `from`, unobserved if it
 * was.  [-0, +0, m] */
void lunado__settle_copy(lua_State *L, lunado_realm *realm, int from, int idx);

/* The Future at idx was settled by somebody else than time, or its line: it
 * lets its timer go, its place and what it waits for.  To be called for those
 * of a kind from LUNADO_KIND_TIED on, and harmless twice.  [-0, +0, -] */
void lunado__untie(lua_State *L, lunado_realm *realm, int idx);

/* The same for all kinds. */
static inline void lunado__untie_tied(lua_State *L, lunado_realm *realm,
                                      int idx, const lunado_future *future) {
  if (future->kind >= LUNADO_KIND_TIED) lunado__untie(L, realm, idx);
}

/* Packs the n values on top into the form of user value 1.  [-n, +1, m] */
void lunado__future_pack(lua_State *L, int n);

/* Pushes the values of the Future at idx, which is done, and returns their
 * number.  [-0, +n, m] */
int lunado__future_push_results(lua_State *L, int idx);

/* --- waiting -------------------------------------------------------------- */

/* Links a waiter of the object at `owner` to the Future at idx, and has the
 * Future hold the owner.  Returns false, and has changed nothing, where it is
 * not pending, or not any more: a finalizer may have settled it meanwhile.
 * [-0, +0, m] */
bool lunado__owner_wait(lua_State *L, int idx, int owner, lunado_waiter *waiter,
                        lunado_done_cb cb);

/* lunado__owner_hold where the Future has waiters already, or is a heir. */
bool lunado__owner_hold_behind(lua_State *L, int idx, lunado_future *future,
                               int owner, lunado_waiter *waiter);

/* Only has the pending Future at idx hold the owner of a waiter, which the
 * caller links next; no index is relative.  Returns false where it is not
 * pending any more.  [-0, +0, m] */
static inline bool lunado__owner_hold(lua_State *L, int idx,
                                      lunado_future *future, int owner,
                                      lunado_waiter *waiter) {
  if (future->waiters != NULL || future->flags & LUNADO_IS_HEIR)
    return lunado__owner_hold_behind(L, idx, future, owner, waiter);
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  return true;
}

/* Takes a waiter back from the Future at idx, which then holds nothing of it.
 * A private multi that nobody waits for any more leaves its children, too.
 * O(1), but for what a peak of waiters has left.  [-0, +0, -] */
void lunado__owner_forget(lua_State *L, int idx, lunado_waiter *waiter);

/* True for the waiter of add_done_callback. */
bool lunado__link_is_done_callback(const lunado_waiter *waiter);

/* In a lunado_done_cb: pushes the waiter's owner onto the stack of
 * realm->frame->L.  [-0, +1, -] */
void lunado__owner_push(lunado_realm *realm, lunado_waiter *waiter);

static inline lunado_realm *lunado__settle_realm(lunado_settler *settler) {
  return lunado_container_of(settler, lunado_realm, settler);
}

/* Has function(future) called on the loop's next turn after the Future at idx
 * is done (loop NULL: at once when it is done, with errors logged).  The
 * function is on top.  [-1, +0, m] */
void lunado__link_on_done(lua_State *L, lunado_realm *realm, int idx,
                          lunado_ioloop *loop);

/* Has the error of the Future at idx, should it fail, reported as one of the
 * callback at `callback`, which returned it.  [-0, +0, m] */
void lunado__link_discard(lua_State *L, lunado_realm *realm,
                          lunado_ioloop *loop, int idx, int callback);

/* Appends to the list at `list` the pending Futures that get the outcome of the
 * pending one at idx, or may: by lunado__chain and WaitIterators.
 * [-0, +0, m] */
void lunado__link_push_dependents(lua_State *L, lunado_realm *realm, int idx,
                                  int list);

/* chain_future: b at `to` gets the outcome of a at `from`; no index is
 * relative.
 * [-0, +0, m] */
void lunado__chain(lua_State *L, lunado_realm *realm, int from, int to);

/* True for a waiter of lunado__chain, whose owner is at `owner`; pushes what
 * gets the outcome, nil where that is gone.  [-0, +(0|1), -] */
bool lunado__chain_target(lua_State *L, const lunado_waiter *waiter, int owner);

#endif
