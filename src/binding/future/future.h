/* SPDX-License-Identifier: MIT */
/*
 * future.h - Future as a Lua value.
 *
 * A Future is a userdata that begins with a lunado_future; all kinds share one
 * metatable.  User value 1 depends on the state.  While the Future is pending:
 * the owner of its waiter, or a table address of waiter -> owner if there are
 * several; done.h's callback if it was discarded.  Once it has a result: the
 * value (count == 1), nil (count == 0), or a list of `count` values.  Once it
 * has failed: its Failure.
 *
 * An owner is a userdata whose memory contains the waiter.
 */
#ifndef LUNADO_BINDING_FUTURE_FUTURE_H
#define LUNADO_BINDING_FUTURE_FUTURE_H

#include "binding/state/class.h"
#include "binding/state/realm.h"

enum {
  LUNADO_FUTURE_VALUE = 1,
  LUNADO_FUTURE_TASK = 2,
  LUNADO_FUTURE_REQUEST = 2
};

/* The kinds of Futures, by what made them: lunado_future.kind.
 *
 * The kind determines the struct in a Future's memory and the meaning of its
 * user values besides the first.  The maker of a Future sets the kind.  Other
 * code must decide by the kind alone, never by the size of the userdata or by
 * the number or types of its user values. */
typedef enum {
  LUNADO_KIND_PLAIN,     /* a lunado_future; its maker settles it */
  LUNADO_KIND_COROUTINE, /* a lunado_future; LUNADO_FUTURE_TASK is its task from
                          * the first suspension to the coroutine's end, else
                          * nil */
  LUNADO_KIND_MULTI,     /* multi.c's */
  LUNADO_KIND_NEXT,      /* waititer.c's, returned by WaitIterator's next */
  LUNADO_KIND_PROMISE,   /* as PLAIN, but another thread settles it */
  LUNADO_KIND_JOB,       /* pool.c's, of an executor's job */
  LUNADO_KIND_REQUEST,   /* a lunado_request_future, of a request of libuv */
  LUNADO_KIND_SLEEP,     /* sleep.c's, of gen.sleep */
  LUNADO_KIND_TIMEOUT,   /* with_timeout.c's, of gen.with_timeout */
  LUNADO_KIND_TICKET,    /* ticket.c's, in a wait queue */
  LUNADO_KIND_TIED = LUNADO_KIND_SLEEP /* kinds from here on have a timer or a
                                        * place in a wait queue, which must be
                                        * released when other code settles
                                        * them */
} lunado_kind;

/* lunado_future.flags */
enum {
  LUNADO_IS_MOMENT = 1,
  LUNADO_IS_UNLOGGED = 2, /* a failed multi; the multi that waits for it logs
                           * its other errors */
  LUNADO_IS_PRIVATE = 4, /* a multi made from a table; only its waiter can reach
                          * it */
  LUNADO_IS_TIMED_OUT = 8, /* a with_timeout has timed out on it; if it fails
                            * later, the error is logged */
  LUNADO_IS_TIMED_OUT_QUIET = 16, /* the same with quiet_exceptions, which are
                                   * in SLOT_QUIET */
  LUNADO_IS_WITHDRAWN = 32,       /* a withdrawn ticket; see ticket.h */
  LUNADO_IS_CLAIM = 64,       /* a ticket that passes for done; see ticket.h */
  LUNADO_IS_DEPENDENT = 128,  /* gets its outcome from others; user value 1 is a
                               * table while it is pending: dependent.h */
  LUNADO_IS_DISCARDED = 256,  /* a coroutine's; user value 1 is a callback while
                               * it is pending without waiters: done.h */
  LUNADO_HAS_CANCELLER = 512, /* SLOT_CANCELLERS has a function that gives it
                               * up: cancel.h */
  LUNADO_IS_KEPT = 1024,      /* stays pending after its canceller was called */
  LUNADO_WAS_CANCELLED = 2048 /* of a coroutine that was cancelled as a whole,
                               * or failed by its canceller */
};

/* Makes the class of Futures, and gen.moment, once per state.  [-0, +0, m] */
void lunado__future_open(lua_State *L, lunado_realm *realm);

/* Adds the functions of lunado.concurrent to the table on top. */
void lunado__future_functions(lua_State *L);

/* --- values --------------------------------------------------------------- */

/* A Future of kind LUNADO_KIND_REQUEST. */
typedef struct {
  lunado_future future;
  lua_CFunction give_up; /* (future, object) gives up the request; `object` is
                            user value LUNADO_FUTURE_REQUEST, nil if the request
                            cannot be given up.  NULL: lunado.uv's function in
                            LUNADO_SLOT_CANCEL_REQUEST does */
} lunado_request_future;

/* Pushes a new pending Future of the kind, with `size` bytes (at least those of
 * a lunado_future) and `values` user values, and returns it.  [-0, +1, m] */
void *lunado__future_new(lua_State *L, lunado_realm *realm, lunado_kind kind,
                         size_t size, int values);

/* The Future at idx, or NULL.  [-0, +0, -] */
static inline lunado_future *lunado__tofuture(lua_State *L,
                                              const lunado_realm *realm,
                                              int idx) {
  return lunado__toclass(L, idx, realm->types.future);
}

/* Argument `arg` as a Future; raises if it is none.  [-0, +0, v] */
lunado_future *lunado__checkfuture(lua_State *L, lunado_realm *realm, int arg);

/* If the table at `from` is a list of Futures and has no other fields, copies
 * it into the table at `to`, which is on top, and returns the number of
 * Futures.  Otherwise returns -1.  [-0, +0, m] */
int lunado__future_copy_list(lua_State *L, lunado_realm *realm, int from,
                             int to);

/* --- outcomes ------------------------------------------------------------- */

/* Packs the n values on top into one value, in the form of user value 1.
 * [-n, +1, m] */
void lunado__future_pack(lua_State *L, int n);

/* Pushes the results of the Future at idx, which has a result, and returns
 * their number.  [-0, +n, m] */
int lunado__future_push_results(lua_State *L, int idx);

#endif
