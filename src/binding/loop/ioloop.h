/* SPDX-License-Identifier: MIT */
/*
 * ioloop.h - IOLoop as a Lua value.
 *
 * An ioloop is a userdata.  The realm holds it (SLOT_LOOPS) while it is open,
 * while it is running or calling a callback, and while coroutines belong to it.
 * So a pointer to it is valid for as long as a coroutine, a timer, a watcher or
 * a callback has the pointer.
 */
#ifndef LUNADO_BINDING_LOOP_IOLOOP_H
#define LUNADO_BINDING_LOOP_IOLOOP_H

#include "binding/loop/clock.h"
#include "binding/loop/queue.h"
#include "binding/state/realm.h"
#include "core/poll.h"
#include "core/post.h"
#include "core/slab.h"

struct lunado_ioloop {
  lunado_loop *core;   /* one reference; not NULL once the loop is in LOOPS */
  lunado_realm *realm; /* of the loop's Lua state */
  lua_State *L;        /* the thread that callbacks run on: the caller of
                        * start, else the main thread */
  const struct lunado_iostream_caller *caller; /* iostream.h's; NULL: none */
  lunado_callback drain; /* ready while the queue has entries */
  lunado_queue queue;
  int anchors;           /* registry: list of the values the loop holds */
  uint32_t free_anchor;  /* first free index of the list, 0: none */
  uint32_t next_anchor;  /* the free index after it, if known */
  uint32_t anchor_count; /* indices of the list that have been used */
  uint32_t anchored;     /* values in the list */
  uint32_t anchor_room;  /* largest size of the list's table so far */
  uint32_t strays;       /* values beyond anchor_count */
  uint32_t refs;         /* coroutines suspended or queued on this loop, and
                          * calls from libuv in progress */
  uint32_t id;           /* number of the loop in its realm, from 1 */
  bool awaited;          /* runsync.c's: a run has begun to wait */
  bool dismissed;        /* runsync.c's: the run is to end without an error */
  bool closed;           /* as core->closed, but valid after core is freed */
  bool ending;           /* its finalizer is closing it, at the state's end */
  lunado_message wake;   /* interrupt.c's; on its way while `waking` */
  atomic_bool waking;
  double threshold;        /* set_blocking_log_threshold; 0: none */
  lunado_slab promises;    /* promise.c's */
  lunado_slab timeouts;    /* timeout.c's */
  lunado_testclock clock;  /* clock.c's */
  lunado_watcher *signals; /* signals.c's; NULL: none */
  lunado_link guests;      /* guest.c's: C modules with handles on the loop */
  lunado_callback
      signal_retry;   /* signals.c's; ready while signals are undelivered */
  int signal_retries; /* signals.c's; how often `signal_retry` was made ready */
};

/* Makes the class of loops, once per state.  [-0, +0, m] */
void lunado__ioloop_open(lua_State *L, lunado_realm *realm);

/* The current loop, made on first use.  Raises if it is closed.  [-0, +0, e] */
lunado_ioloop *lunado__ioloop_current(lua_State *L, lunado_realm *realm);

/* The default loop, made on first use: on the host's uv_loop_t if there is one,
 * else on luv's, else on a uv_loop_t of its own.  [-0, +0, e] */
lunado_ioloop *lunado__ioloop_default(lua_State *L, lunado_realm *realm);

/* Pushes the userdata of a loop.  [-0, +1, -] */
void lunado__ioloop_push(lua_State *L, lunado_ioloop *loop);

/* The loop at idx, open or closed; NULL if the value is no loop.
 * [-0, +0, -] */
lunado_ioloop *lunado__ioloop_at(lua_State *L, const lunado_realm *realm,
                                 int idx);

/* Argument `arg` as an open loop; raises if it is none.  [-0, +0, v] */
lunado_ioloop *lunado__ioloop_check(lua_State *L, lunado_realm *realm, int arg);

/* What a run waits for. */
typedef struct {
  bool ended;   /* there is nothing left to wait for */
  bool running; /* the loop runs until there is */
} lunado_until;

/* Runs the loop on L as lunado_loop_run does, and makes it the current loop for
 * that time: until `until` ends, which may have ended already; NULL: for ever.
 * The caller must hold the loop's userdata, since a script may close the loop
 * meanwhile.  Returns UV_ENOMEM if memory was short and nothing was run.
 * [-0, +0, -] */
int lunado__ioloop_run(lua_State *L, lunado_ioloop *loop, lunado_until *until);

/* Ends what the run waits for, and stops the run, if it has begun.  Another run
 * of the loop goes on: hooks and finalizers may run it before. */
void lunado__ioloop_end(lunado_loop *core, lunado_until *until);

/* Raises if the loop cannot be started because it is closed or running.
 * [-0, +0, v] */
void lunado__ioloop_checkidle(lua_State *L, lunado_ioloop *loop);

/* Sets the length of the loop's slices, in seconds.  Raises if it is not above
 * 0.  [-0, +0, v] */
void lunado__ioloop_setslice(lua_State *L, lunado_ioloop *loop, double seconds);

/* Closes the loop and releases the values that it held.  [-0, +0, -] */
void lunado__ioloop_close(lua_State *L, lunado_ioloop *loop);

/* Refs and unrefs the loop for a coroutine, or a call from libuv, that belongs
 * to it.  A loop with refs is not collected.  [-0, +0, -] */
static inline void lunado__ioloop_ref(lunado_ioloop *loop) { loop->refs++; }
void lunado__ioloop_unref(lua_State *L, lunado_ioloop *loop);

/* Pushes the loop's method `name`, which the user may have replaced.
 * [-0, +1, -] */
void lunado__ioloop_pushmethod(lua_State *L, lunado_ioloop *loop,
                               const char *name);

/* Argument `arg` as a loop, open or closed; raises if it is none.
 * [-0, +0, v] */
lunado_ioloop *lunado__ioloop_check_any(lua_State *L, int arg);

/* Pushes and returns a new loop on a uv_loop_t; NULL: on one of its own.
 * Raises if the loop cannot be opened.  [-0, +1, e] */
lunado_ioloop *lunado__ioloop_new(lua_State *L, lunado_realm *realm,
                                  uv_loop_t *uv);

#endif
