/* SPDX-License-Identifier: MIT */
/*
 * kind.h - what made a Future, and so what is in it: lunado_future.kind.
 *
 * The kind tells what a Future's memory is and what its user values beside the
 * first one are.  Who makes it gives it; who wants to know asks for nothing
 * else, neither for sizes nor for the number or types of user values.
 */
#ifndef LUNADO_BINDING_FUTURE_KIND_H
#define LUNADO_BINDING_FUTURE_KIND_H

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

#endif
