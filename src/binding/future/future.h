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

#include "binding/state/class.h"
#include "binding/state/realm.h"

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
  LUNADO_IS_DEPENDENT = 128  /* it gets its outcome from others; while it is
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
  return lunado__toclass(L, idx, realm->types.future);
}

/* Argument `arg`, which must be a Future.  [-0, +0, v] */
lunado_future *lunado__checkfuture(lua_State *L, lunado_realm *realm, int arg);

/* Copies the table at `from` into the one at `to`, the last on the stack, where
 * it is a list of Futures and nothing else.  Returns their number, or -1.
 * [-0, +0, m] */
int lunado__future_copy_list(lua_State *L, lunado_realm *realm, int from,
                             int to);

/* --- outcomes ------------------------------------------------------------- */

/* Packs the n values on top into the form of user value 1.  [-n, +1, m] */
void lunado__future_pack(lua_State *L, int n);

/* Pushes the values of the Future at idx, which is done, and returns their
 * number.  [-0, +n, m] */
int lunado__future_push_results(lua_State *L, int idx);

#endif
