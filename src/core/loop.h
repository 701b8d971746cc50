/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the turn: ready callbacks, then timers and descriptors, then wait.
 *
 * A loop runs on a uv_loop_t, its own or a borrowed one; the code that drives
 * that (lunado_loop_run, or the owner with uv_run) drives the loop.
 *
 * A turn runs the callbacks that were ready when it began; what they make ready
 * belongs to the next turn.  Turns follow each other without asking the
 * operating system for a slice of at most a millisecond; then descriptors and
 * timers have their chance.
 *
 * Life cycle: new; run and stop as often as wanted; close; the
 * storage goes with the last reference.  Everything here belongs to one
 * thread, but for lunado_loop_ref, lunado_loop_unref and post.h.
 */
#ifndef LUNADO_CORE_LOOP_H
#define LUNADO_CORE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "core/heap.h"
#include "core/list.h"
#include "core/loopid.h"
#include "core/post.h"
#include "core/timer.h"

typedef struct lunado_callback lunado_callback;

/* Runs a callback, which is no longer ready by then.  It may make itself and
 * others ready, and stop and close the loop. */
typedef void (*lunado_callback_fn)(lunado_loop *loop,
                                   lunado_callback *callback);

/* The time of a loop that does not use the system's clock: seconds that never
 * go back. */
typedef struct lunado_clock lunado_clock;
struct lunado_clock {
  double (*now)(lunado_clock *clock);
  /* Nothing is ready and the next deadline is `when`: moves the time there.
   * NULL for a clock that moves by itself. */
  void (*skip_to)(lunado_clock *clock, double when);
};

/* Drives loop->uv as uv_run does, and returns what that returns. */
typedef int (*lunado_drive_cb)(lunado_loop *loop, uv_run_mode mode);

/* The loop is closed, and no callback or run of it is on the C stack. */
typedef void (*lunado_left_cb)(lunado_loop *loop);

/* How a run ended. */
enum {
  LUNADO_RUN_STOPPED, /* lunado_loop_stop, or uv_stop on the uv_loop_t */
  LUNADO_RUN_EMPTY    /* nothing is left that could ever happen */
};

/* --- life cycle ---------------------------------------------------------- */

/* Makes a loop on a uv_loop_t, which it borrows and which must outlive it;
 * NULL: on one of its own.  The caller holds the one reference.
 * Returns 0 or a negative libuv error, and then *loop is NULL. */
int lunado_loop_new(lunado_loop **loop, uv_loop_t *uv);

/* Stops everything that is the loop's: callbacks, timers and watchers are let
 * go without being run, those of the turn in progress as well, and messages are
 * refused.  On a uv_loop_t of its own no handle of the loop's is left once the
 * run, if any, has returned; on a borrowed one the loop's handles are closing
 * and need one more turn of the owner's uv_run.  Handles of others are left
 * alone: an own uv_loop_t is there until they are closed (ownuv.h).
 * Allowed from any callback, those of others on the uv_loop_t included. Closing
 * twice is harmless. */
void lunado_loop_close(lunado_loop *loop);

/* Lends the uv_loop_t of the loop's own to a library that goes on with it when
 * the loop is closed, as with a borrowed one.  False, and nothing has changed,
 * when the loop has none that is open, or has lent it already. */
bool lunado_loop_lend_uv(lunado_loop *loop);

/* Ends that.  With `open` the uv_loop_t is the loop's again, and is closed when
 * the loop is; without, the borrower has closed it. */
void lunado_loop_reclaim_uv(lunado_loop *loop, bool open);

/* One more, one less reference; the last frees the storage of a closed loop.
 * From any thread. */
void lunado_loop_ref(lunado_loop *loop);
void lunado_loop_unref(lunado_loop *loop);

/* --- running ------------------------------------------------------------- */

/* Runs turns until the loop is stopped, or, unless `forever`, until nothing
 * is left to wait for.  A loop that was stopped beforehand runs one turn.
 * Returns LUNADO_RUN_STOPPED or LUNADO_RUN_EMPTY; UV_EALREADY when it runs
 * already, UV_ECANCELED when it is closed. */
int lunado_loop_run(lunado_loop *loop, bool forever);

/* Ends the run after the turn in progress; before a run, makes it one turn
 * long. */
void lunado_loop_stop(lunado_loop *loop);

/* Ends the run at once: what is left of the turn in progress, and timers that
 * are due, come with the next run. */
void lunado_loop_break(lunado_loop *loop);

/* Has the loop look for messages before it begins with anything else.  From any
 * thread, and from signal handlers; holds until it is told that it was enough,
 * or the run is over. */
static inline void lunado_loop_urge(lunado_loop *loop);
static inline void lunado_loop_calm(lunado_loop *loop);

/* True in between: whoever does much leaves the rest for later. */
static inline bool lunado_loop_urged(const lunado_loop *loop);

/* Takes back what stopped a loop at rest, by lunado_loop_stop or uv_stop: its
 * next run is not cut short. */
void lunado_loop_clear_stop(lunado_loop *loop);

/* Stops the loop once, after so many milliseconds of the system's time from
 * now, whatever clock it has; 0: does not.  Keeps no run from ending. */
void lunado_loop_set_limit(lunado_loop *loop, uint64_t ms);

/* True from when the limit has stopped the loop until the next is set. */
static inline bool lunado_loop_limited(const lunado_loop *loop);

/* True when other code has closed the loop's handles: the owner of a
 * borrowed uv_loop_t may walk it and close all there is.  Such a loop does
 * nothing any more, and does not touch the uv_loop_t; close it. */
static inline bool lunado_loop_taken(const lunado_loop *loop);

/* True while a run, or any callback of the loop, is on the C stack. */
static inline bool lunado_loop_running(const lunado_loop *loop);

/* Seconds, monotonic, with a fraction.  Also on a closed loop. */
double lunado_loop_time(lunado_loop *loop);

/* Takes the time from `clock` (borrowed until replaced; NULL: the system's)
 * from now on.  Deadlines stay as they are.  A clock that skips stands still
 * while anything is ready, calls back, or is awaited: a request of libuv's, or
 * what has a hold. */
void lunado_loop_set_clock(lunado_loop *loop, lunado_clock *clock);

/* Slices last so many nanoseconds from now on; at first a millisecond. */
void lunado_loop_set_slice(lunado_loop *loop, uint64_t ns);

/* Runs are driven by `drive` from now on; NULL: by uv_run. */
void lunado_loop_set_drive(lunado_loop *loop, lunado_drive_cb drive);

/* Has `left` called, once, when a closed loop has been left for good: from
 * then on the loop has no use for its owner. */
void lunado_loop_set_left(lunado_loop *loop, lunado_left_cb left);

/* --- ready callbacks ------------------------------------------------------ */

/* Makes a callback of the caller's storage, which stays where it is while the
 * callback is ready. */
void lunado_callback_init(lunado_callback *callback, lunado_callback_fn cb);

/* Puts the callback behind those that are ready, unless it is among them.  On a
 * closed loop this does nothing. */
void lunado_loop_ready(lunado_loop *loop, lunado_callback *callback);

/* As that, for a callback that leaves a part of its turn for later because the
 * slice is used up: a run that is stopped has it called once more before it
 * ends. */
void lunado_loop_ready_rest(lunado_loop *loop, lunado_callback *callback);

/* Takes the callback back if it is ready.  Only tests call it. */
void lunado_callback_cancel(lunado_callback *callback);

/* For callbacks that do much: true when the slice is used up, so that the rest
 * should be left for later.  Cheap enough to ask at each step. */
static inline bool lunado_loop_slice_expired(lunado_loop *loop);

/* --- for the owners of things that may happen ---------------------------- */

/* Keeps a run from ending as empty, until released as often. */
void lunado_loop_keep_alive(lunado_loop *loop);
void lunado_loop_release(lunado_loop *loop);

/* Around code that the loop's uv_loop_t calls for other code. To leave adds
 * the work to libuv's time; not so to exit, as it must be where libuv may be
 * running its timers: it goes on with those that are due by that time, and
 * one that works for longer than it waits would keep it there for ever. */
void lunado__loop_enter(lunado_loop *loop);
void lunado__loop_leave(lunado_loop *loop);
void lunado__loop_exit(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_callback {
  lunado_link link; /* in loop->ready while ready */
  lunado_callback_fn cb;
};

struct lunado_loop {
  void *owner;          /* the owner's; the core never looks */
  uv_loop_t *uv;        /* borrowed, or own */
  uv_loop_t *own;       /* ownuv.h's; NULL: none */
  uv_timer_t timer;     /* the earliest deadline; data is NULL, as in every
                           handle here: other libraries walk the loop */
  uv_idle_t idle;       /* active while callbacks are ready, a deadline has
                           passed or can be skipped to: libuv does not wait
                           then */
  uv_prepare_t prepare; /* always active, never counts as alive: checks new
                           watchers, and has libuv compute its wait from the
                           time that it is */
  uv_async_t async;     /* wakes the loop for messages; counts as alive while
                           there are holds */
  uv_check_t check;     /* open while there is a uv_loop_t of its own: tells
                           how far a pass of that has come */
  uv_timer_t limit;     /* open once a limit was set; never counts as alive */
  lunado_link ready;    /* callbacks, in order */
  lunado_link turn;     /* callbacks of the turn in progress, not yet run */
  lunado_link watchers; /* poll.h's */
  lunado_link fresh;    /* those that libuv has yet to hand to the system */
  lunado_link checked;  /* those that it hands on when it polls next */
  lunado_link refused;  /* those that the system would refuse, to be told */
  lunado_callback refusal; /* ready while there are any */
  lunado_heap heap;        /* running timers */
  lunado_clock *clock;     /* borrowed; NULL: uv_hrtime */
  lunado_mailbox mail;     /* messages from other threads */
  lunado_loopid address;   /* loopid.h's; 0: none */
  lunado_link kin;         /* in a list of its owner's, who takes it out */
  lunado_drive_cb drive;   /* uv_run, or what stands for it */
  lunado_left_cb left;     /* not called yet; NULL: there is none */
  lunado_link works;       /* jump.h's: finished works, not yet told of */
  uv_async_cb works_cb;    /* libuv's own function for them */
  uv_loop_t *shown;        /* what that is called with; NULL: those of this loop
                              are not guarded */
  double armed;            /* deadline the timer handle is armed for */
  double due;              /* while timers run: those up to here; else -inf */
  double overdue;          /* timers up to here were left for the next slice;
                              -inf: none were */
  uint64_t slice;          /* how long one is, in nanoseconds */
  uint64_t slice_end;      /* uv_hrtime when the slice is used up */
  uint64_t looked;         /* uv_hrtime when the clock was last looked at */
  unsigned steps;    /* callbacks, timers and questions whether the loop is
                        tired that are left before looking again */
  unsigned stride;   /* steps between two looks */
  uint32_t ages;     /* timers started so far */
  uint32_t turn_age; /* while timers run: `ages` when that began */
  unsigned depth;    /* callbacks and runs of the loop on the C stack */
  unsigned holds;    /* lunado_loop_keep_alive less lunado_loop_release */
  unsigned handles;  /* open handles of the loop's own */
  atomic_uint refs;  /* references to this storage */
  bool running;      /* inside lunado_loop_run */
  bool forever;      /* and this run has a hold of its own */
  bool stopped;      /* stop was asked for */
  bool broken;       /* and what is left of the turn is for the next run */
  bool torn;         /* callbacks of the turn were left for the next slice */
  atomic_bool urged; /* a message is to come before anything else */
  bool closed;
  bool has_limit;       /* `limit` is open */
  bool limited;         /* the limit has stopped the loop */
  bool owns_uv;         /* uv == own, and own is open */
  bool shared;          /* own was lent */
  bool polling;         /* own is between the handles `prepare` and `check` */
  bool closing_handles; /* handles were closing when it left `check` */
  bool unwatched;       /* and closing */
  bool watched;         /* `check` is open */
  bool leaving;         /* own ends when nothing of others' is on it any more */
  bool lent;            /* own is not closed with the loop */
  bool quiet;           /* nothing has happened since the last pass, on which
                           time could have been skipped */
};

/* Looks at the clock; sets the stride so that looks are some 50 us apart. */
bool lunado__loop_look(lunado_loop *loop);

/* A slice begins now. */
void lunado__loop_begin_slice(lunado_loop *loop);

/* Delivers what the loop was urged to look for. */
void lunado__loop_heed(lunado_loop *loop);

/* Keeps libuv from waiting, and has it look for work on its next pass. */
void lunado__loop_wake(lunado_loop *loop);

static inline bool lunado_loop_limited(const lunado_loop *loop) {
  return loop->limited;
}

static inline void lunado_loop_urge(lunado_loop *loop) {
  atomic_store_explicit(&loop->urged, true, memory_order_relaxed);
}

static inline void lunado_loop_calm(lunado_loop *loop) {
  atomic_store_explicit(&loop->urged, false, memory_order_relaxed);
}

static inline bool lunado_loop_urged(const lunado_loop *loop) {
  return atomic_load_explicit(&loop->urged, memory_order_relaxed);
}

static inline bool lunado_loop_taken(const lunado_loop *loop) {
  return !loop->closed && uv_is_closing((const uv_handle_t *)&loop->async);
}

static inline bool lunado_loop_running(const lunado_loop *loop) {
  return loop->running || loop->depth > 0;
}

static inline bool lunado_loop_slice_expired(lunado_loop *loop) {
  if (loop->steps > 0) {
    loop->steps--;
    return false;
  }
  return lunado__loop_look(loop);
}

#endif
