/* SPDX-License-Identifier: MIT */
/*
 * loop.h - runs, and the slices and turns that they consist of.
 *
 * A loop runs on a uv_loop_t, its own or a borrowed one.  A run of the
 * uv_loop_t, by lunado_loop_run or by the lender's uv_run, drives the loop.
 *
 * A turn runs the callbacks that were ready when it began; callbacks that
 * become ready meanwhile run in the next turn.  For a slice of at most a
 * millisecond, turns follow each other without a system call; then descriptors
 * and timers are served.
 *
 * Life cycle: new; run and stop as often as wanted; close; the last
 * lunado_loop_unref frees the storage.  All functions must be called on the
 * loop's thread, except lunado_loop_ref, lunado_loop_unref, lunado_loop_urge
 * and those of post.h.
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

/* Runs a callback, which is no longer in the ready list.  It may make itself
 * and others ready, and stop and close the loop. */
typedef void (*lunado_callback_fn)(lunado_loop *loop,
                                   lunado_callback *callback);

/* The clock of a loop that does not use the system's.  Its time, in seconds,
 * must never go back. */
typedef struct lunado_clock lunado_clock;
struct lunado_clock {
  double (*now)(lunado_clock *clock);
  /* Moves the time to `when`, the next deadline; called while nothing is ready.
   * NULL: the clock moves by itself. */
  void (*skip_to)(lunado_clock *clock, double when);
};

/* Drives loop->uv like uv_run, and returns the result of uv_run. */
typedef int (*lunado_drive_cb)(lunado_loop *loop, uv_run_mode mode);

/* Called when the loop is closed and no callback or run of the loop is on the C
 * stack. */
typedef void (*lunado_unused_cb)(lunado_loop *loop);

/* How a run ended. */
enum {
  LUNADO_RUN_STOPPED, /* lunado_loop_stop, or uv_stop on the uv_loop_t */
  LUNADO_RUN_EMPTY    /* nothing is alive that could cause an event */
};

/* --- life cycle ---------------------------------------------------------- */

/* Makes a loop on `uv`, which is borrowed and must outlive the loop; NULL: on a
 * uv_loop_t of the loop's own.  The caller gets the only reference.
 * Returns 0, or a negative libuv error with *loop set to NULL. */
int lunado_loop_new(lunado_loop **loop, uv_loop_t *uv);

/* Closes the loop.  Its callbacks, timers and watchers are released without
 * being run, also those of the turn in progress.  Accepted messages are
 * handled, later ones are refused.
 *
 * On a borrowed uv_loop_t the loop's handles are closing afterwards and need
 * one more pass of the lender's uv_run.  On its own uv_loop_t no handle of the
 * loop's is left once the current run, if any, has returned.  Foreign handles
 * are not closed: a uv_loop_t of the loop's own lasts until they are closed
 * (ownuv.h).
 *
 * May be called from any callback, also from foreign callbacks on the
 * uv_loop_t.  Closing twice is harmless. */
void lunado_loop_close(lunado_loop *loop);

/* Lends the loop's own uv_loop_t to a library, which may use it after the loop
 * is closed, as if the loop had borrowed it.  Returns false and changes nothing
 * if the loop has no open uv_loop_t of its own, or has lent it already. */
bool lunado_loop_lend_uv(lunado_loop *loop);

/* Ends the loan.  If `open`, the loop owns the uv_loop_t again, which is closed
 * with the loop; otherwise the borrower has closed the uv_loop_t. */
void lunado_loop_reclaim_uv(lunado_loop *loop, bool open);

/* Add and release a reference; releasing the last frees the storage of a closed
 * loop.  May be called from any thread. */
void lunado_loop_ref(lunado_loop *loop);
void lunado_loop_unref(lunado_loop *loop);

/* --- running ------------------------------------------------------------- */

/* Runs turns until the loop is stopped or, unless `forever`, until nothing
 * keeps it alive.  A loop that was stopped beforehand runs one turn.
 * Returns LUNADO_RUN_STOPPED or LUNADO_RUN_EMPTY; UV_EALREADY if the loop is
 * running, UV_ECANCELED if it is closed. */
int lunado_loop_run(lunado_loop *loop, bool forever);

/* Ends the run after the turn in progress.  If no run is in progress, the next
 * run lasts one turn. */
void lunado_loop_stop(lunado_loop *loop);

/* Ends the run at once: the remaining callbacks of the turn in progress, and
 * the timers that are due, are deferred to the next run. */
void lunado_loop_break(lunado_loop *loop);

/* lunado_loop_urge makes the loop deliver its messages before it begins any
 * other callback or timer.  It lasts until lunado_loop_calm or the end of the
 * run.  May be called from any thread and from signal handlers. */
static inline void lunado_loop_urge(lunado_loop *loop);
static inline void lunado_loop_calm(lunado_loop *loop);

/* True while the loop is urged: a callback that does much should then leave the
 * rest for later. */
static inline bool lunado_loop_urged(const lunado_loop *loop);

/* Cancels a lunado_loop_stop or uv_stop that was called while the loop was not
 * running, so that the next run is not cut short. */
void lunado_loop_clear_stop(lunado_loop *loop);

/* Stops the loop once, `ms` milliseconds from now; 0 cancels this.  Uses the
 * system's time even if the loop has another clock.  Does not keep a run
 * alive. */
void lunado_loop_set_limit(lunado_loop *loop, uint64_t ms);

/* True after the limit has stopped the loop, until lunado_loop_set_limit is
 * called again. */
static inline bool lunado_loop_limited(const lunado_loop *loop);

/* True if other code has closed the loop's handles, as the owner of a borrowed
 * uv_loop_t may do when it walks all handles.  Such a loop does nothing any
 * more, does not use the uv_loop_t, and should be closed. */
static inline bool lunado_loop_taken(const lunado_loop *loop);

/* True while a run or a callback of the loop is on the C stack. */
static inline bool lunado_loop_running(const lunado_loop *loop);

/* The monotonic time in seconds, with a fraction.  Works on a closed loop
 * too. */
double lunado_loop_time(lunado_loop *loop);

/* Uses `clock` from now on (borrowed until replaced; NULL: the system's).
 * Deadlines do not change.  A clock with `skip_to` stands still while a
 * callback is ready or running, while a request of libuv's is pending, and
 * while lunado_loop_keep_alive keeps the loop alive. */
void lunado_loop_set_clock(lunado_loop *loop, lunado_clock *clock);

/* Sets the length of a slice in nanoseconds; the default is a millisecond. */
void lunado_loop_set_slice(lunado_loop *loop, uint64_t ns);

/* Drives runs with `drive` from now on; NULL: with uv_run. */
void lunado_loop_set_drive(lunado_loop *loop, lunado_drive_cb drive);

/* Calls `unused` once, when the loop is closed and no longer running.  From
 * then on the loop does not use its owner. */
void lunado_loop_set_unused(lunado_loop *loop, lunado_unused_cb unused);

/* --- ready callbacks ------------------------------------------------------ */

/* Makes a callback in the caller's storage, which must not move while the
 * callback is ready. */
void lunado_callback_init(lunado_callback *callback, lunado_callback_fn cb);

/* Appends the callback to the ready list, unless it is ready already.  On a
 * closed loop this does nothing. */
void lunado_loop_ready(lunado_loop *loop, lunado_callback *callback);

/* Like lunado_loop_ready, for a callback that leaves part of its turn for later
 * because the slice has expired.  A stopped run calls it once more before it
 * ends. */
void lunado_loop_ready_rest(lunado_loop *loop, lunado_callback *callback);

/* Removes the callback from the ready list, if it is there. */
void lunado_callback_cancel(lunado_callback *callback);

/* True when the slice has expired, so that a callback which does much should
 * leave the rest for later.  Cheap enough to call at each step. */
static inline bool lunado_loop_slice_expired(lunado_loop *loop);

/* --- for owners of pending events ----------------------------------------- */

/* lunado_loop_keep_alive keeps a run from ending as empty, until
 * lunado_loop_release has been called as often. */
void lunado_loop_keep_alive(lunado_loop *loop);
void lunado_loop_release(lunado_loop *loop);

/* Enclose code that loop->uv calls: first lunado__loop_enter, last either
 * lunado__loop_leave or lunado__loop_exit.  lunado__loop_leave updates libuv's
 * time, which then includes the time of the call.
 *
 * lunado__loop_exit does not update it, and must be used where libuv may be
 * running its timers.  There, libuv would go on with the timers that are due by
 * the updated time, and a timer whose callback takes longer than its period
 * would keep libuv there for ever. */
void lunado__loop_enter(lunado_loop *loop);
void lunado__loop_leave(lunado_loop *loop);
void lunado__loop_exit(lunado_loop *loop);

/* --- layout: private to the core, visible so that owners can embed it ---- */

struct lunado_callback {
  lunado_link link; /* in loop->ready while ready */
  lunado_callback_fn cb;
};

struct lunado_loop {
  void *owner;          /* the owner's; the core never reads it */
  uv_loop_t *uv;        /* borrowed, or own */
  uv_loop_t *own;       /* ownuv.h's; NULL: none */
  uv_timer_t timer;     /* armed for the earliest deadline.  `data` of every
                           handle here is NULL, because other libraries walk the
                           loop */
  uv_idle_t idle;       /* active while callbacks are ready, or a deadline has
                           passed or can be skipped to: then libuv does not
                           wait */
  uv_prepare_t prepare; /* always active, never referenced: checks new watchers,
                           and updates the time from which libuv computes its
                           wait */
  uv_async_t async;     /* wakes the loop for messages; kept_alive keeps it
                           referenced */
  uv_check_t check;     /* open while `own` is open and not lent: ends the
                           polling part of a pass of `own` */
  uv_timer_t limit;     /* open once a limit was set; never referenced */
  lunado_link ready;    /* callbacks, in order */
  lunado_link turn;     /* callbacks of the turn in progress, not yet run */
  lunado_link watchers; /* poll.h's */
  lunado_link streams;  /* the open streams */
  lunado_link processes; /* process.h's: the running programs */
  char *read_buffer;     /* stream.h's; NULL: no stream has been read yet */
  lunado_link fresh;     /* watchers that libuv has yet to hand to the system */
  lunado_link checked; /* watchers that libuv hands to the system when it polls
                          next */
  lunado_link refused; /* watchers that the system would refuse; `refusal`
                          calls them */
  lunado_callback refusal; /* ready while `refused` is not empty */
  lunado_heap heap;        /* running timers */
  lunado_clock *clock;     /* borrowed; NULL: uv_hrtime */
  lunado_mailbox mail;     /* messages from other threads */
  lunado_loopid id;        /* loopid.h's; 0: none */
  lunado_link kin;         /* in a list of the owner's; the owner removes it */
  lunado_drive_cb drive;   /* uv_run, or the owner's replacement */
  lunado_unused_cb unused; /* NULL: none, or it was called */
  lunado_link works;       /* jump.h's: finished works, not yet dispatched */
  uv_async_cb works_cb;    /* libuv's own function that dispatches them */
  uv_loop_t *shown;        /* the uv_loop_t on which works_cb is called; NULL:
                              the works are not guarded */
  double armed;            /* deadline the timer handle is armed for */
  double due;              /* timers up to here are running; -inf: none are */
  double overdue;          /* timers up to here were deferred to the next slice;
                              -inf: none were */
  uint64_t slice;          /* the length of a slice in nanoseconds */
  uint64_t slice_end;      /* uv_hrtime when the slice expires */
  uint64_t looked;         /* uv_hrtime when the clock was last looked at */
  unsigned steps;    /* callbacks, timers and calls of lunado_loop_slice_expired
                        before the next look at the clock */
  unsigned stride;   /* steps between two looks */
  uint32_t turn_age; /* while timers run: `ages` of the heap when they began */
  unsigned depth;    /* callbacks and runs of the loop on the C stack */
  unsigned kept_alive; /* lunado_loop_keep_alive minus lunado_loop_release */
  unsigned handles;    /* open handles of the loop's own */
  unsigned accepted;   /* open streams that lunado_stream_accept has made */
  unsigned requests;   /* of streams; they end soon after their streams are
                          closed */
  atomic_uint refs;    /* references to this storage */
  bool running;        /* inside lunado_loop_run */
  bool forever;        /* the run keeps the loop alive */
  bool stopped;        /* by lunado_loop_stop */
  bool broken;         /* by lunado_loop_break: the rest of the turn is deferred
                          to the next run */
  bool
      turn_deferred; /* callbacks of the turn were deferred to the next slice */
  atomic_bool urged; /* messages are delivered before anything else begins */
  bool closed;
  bool has_limit; /* `limit` is open */
  bool limited;   /* the limit has stopped the loop */
  bool owns_uv;   /* uv == own, and own is open */
  bool was_lent;  /* own is or was lent, so it may have foreign requests */
  bool polling;   /* a pass of own is between `prepare` and `check` */
  bool closing_handles; /* handles were closing at the last `check` */
  bool check_closing;   /* `check` is being closed */
  bool check_open;      /* `check` is open, or being closed */
  bool close_later;     /* own is closed once it has no foreign handle and no
                          request any more */
  bool lent;            /* own is lent, so it is not closed with the loop */
  bool inactive;        /* nothing was awaited on the last pass, and nothing has
                           happened since */
};

/* Looks at the clock; returns true if the slice has expired.  Sets the stride
 * so that looks are about 50 us apart. */
bool lunado__loop_look(lunado_loop *loop);

/* Begins a slice now. */
void lunado__loop_begin_slice(lunado_loop *loop);

/* Delivers messages if the loop is urged. */
void lunado__loop_deliver_urgent(lunado_loop *loop);

/* Starts the idle handle: libuv does not wait, and its next pass runs callbacks
 * and timers. */
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
