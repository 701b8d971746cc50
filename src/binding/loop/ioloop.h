/* SPDX-License-Identifier: MIT */
/*
 * ioloop.h - IOLoop as a Lua value.
 *
 * An ioloop is a userdata that the realm holds (SLOT_LOOPS) while it is open,
 * is being run or calls back, or coroutines belong to it; so a pointer to it
 * is good for as long as a coroutine, a timer, a watcher or a callback has it.
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
  lunado_loop *core;     /* one reference; never NULL once it is in LOOPS */
  lunado_realm *realm;   /* of the same state */
  lua_State *L;          /* the thread that callbacks run on: the one that
                            called start, else the main one */
  lunado_callback drain; /* ready while the queue has entries */
  lunado_queue queue;
  int anchors;           /* registry: list of what the loop holds */
  uint32_t free_anchor;  /* first free place of the list, 0: none */
  uint32_t next_anchor;  /* the one after it, where that is known */
  uint32_t anchor_count; /* places of the list that have been used */
  uint32_t anchored;     /* values in the list */
  uint32_t anchor_room;  /* places that it was made for */
  uint32_t strays;       /* values beyond anchor_count */
  uint32_t refs;         /* of coroutines that are suspended or queued on this
                                  loop, and of calls from libuv */
  uint32_t id;           /* which loop of the realm it is, from 1 */
  bool closed;           /* as core->closed, good also when core is gone */
  bool ending;           /* its finalizer closes it, at the state's end */
  lunado_message wake;   /* on its way while waking: interrupt.c's */
  atomic_bool waking;
  double threshold;        /* set_blocking_log_threshold; 0: none */
  lunado_slab promises;    /* promise.c's */
  lunado_slab timeouts;    /* timeout.c's */
  lunado_testclock clock;  /* clock.c's */
  lunado_watcher *signals; /* signals.c's; NULL: none */
  lunado_callback
      signal_retry;   /* signals.c's; ready while signals are left over */
  int signal_retries; /* how often they were */
};

void lunado__ioloop_open(lua_State *L, lunado_realm *realm);

/* The current loop, made on first use.  [-0, +0, e] */
lunado_ioloop *lunado__ioloop_current(lua_State *L, lunado_realm *realm);

/* The default loop, made on first use: on the host's uv_loop_t, else on
 * luv's, else on one of its own.  [-0, +0, e] */
lunado_ioloop *lunado__ioloop_default(lua_State *L, lunado_realm *realm);

/* Pushes the userdata of a loop.  [-0, +1, -] */
void lunado__ioloop_push(lua_State *L, lunado_ioloop *loop);

/* The loop at idx, open or not; NULL: it is none.  [-0, +0, -] */
lunado_ioloop *lunado__ioloop_at(lua_State *L, const lunado_realm *realm,
                                 int idx);

/* The open loop that is argument `arg`.  [-0, +0, v] */
lunado_ioloop *lunado__ioloop_check(lua_State *L, lunado_realm *realm, int arg);

/* Runs the loop on L, with itself the current one; as lunado_loop_run.  The
 * caller sees that the userdata stays, which a script may close meanwhile.
 * UV_ENOMEM: nothing has run.  [-0, +0, -] */
int lunado__ioloop_run(lua_State *L, lunado_ioloop *loop, bool forever);

/* Raises where the loop cannot be started: closed, or running.
 * [-0, +0, v] */
void lunado__ioloop_checkidle(lua_State *L, lunado_ioloop *loop);

/* Has the slices of the loop last so many seconds.  Raises where that is not
 * more than 0.  [-0, +0, v] */
void lunado__ioloop_setslice(lua_State *L, lunado_ioloop *loop, double seconds);

/* Closes the loop and lets go what it held.  [-0, +0, -] */
void lunado__ioloop_close(lua_State *L, lunado_ioloop *loop);

/* A coroutine, or a call from libuv, begins and ceases to belong to the loop,
 * which is not collected meanwhile.  [-0, +0, -] */
static inline void lunado__ioloop_ref(lunado_ioloop *loop) { loop->refs++; }
void lunado__ioloop_unref(lua_State *L, lunado_ioloop *loop);

/* Pushes the loop's method `name`, which the user may have replaced.
 * [-0, +1, -] */
void lunado__ioloop_pushmethod(lua_State *L, lunado_ioloop *loop,
                               const char *name);

/* The loop that is argument `arg`, open or not.  [-0, +0, v] */
lunado_ioloop *lunado__ioloop_check_any(lua_State *L, int arg);

/* Pushes a new loop on a uv_loop_t; NULL: one of its own. */
lunado_ioloop *lunado__ioloop_new(lua_State *L, lunado_realm *realm,
                                  uv_loop_t *uv);

#endif
