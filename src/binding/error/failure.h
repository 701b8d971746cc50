/* SPDX-License-Identifier: MIT */
/*
 * failure.h - the outcome of a failed Future: an error, where it was raised,
 * and whether any caller has observed it.
 *
 * A Failure is a userdata of its own, so that only failed Futures have a
 * finalizer: it logs an error that was never observed.  A Failure stores the
 * functions that were active, and their lines.  The text is made only when it
 * is asked for.
 */
#ifndef LUNADO_BINDING_ERROR_FAILURE_H
#define LUNADO_BINDING_ERROR_FAILURE_H

#include "binding/state/class.h"
#include "binding/state/realm.h"

/* User values of a Failure; the functions of the frames follow. */
enum {
  LUNADO_FAILURE_ERROR = 1, /* any value but nil */
  LUNADO_FAILURE_INNER,     /* the Failure from which the error was received
                               before it was raised or handed on; or nil */
  LUNADO_FAILURE_TEXT,      /* the traceback as text, if it was passed in or
                               extended by raised_during; or nil */
  LUNADO_FAILURE_FRAMES
};

struct lunado_failure {
  lunado_realm
      *realm;     /* the state's, borrowed; it lasts until the state ends */
  bool observed;  /* a caller took the error, or it was logged */
  bool interrupt; /* a debug hook in C raised the error, not the callback that
                     was running */
  bool queued;  /* a function is queued, to be called with the failed Future */
  bool logged;  /* it was, beside another error or after a timeout; not logged
                   again, though no caller observed it */
  bool passing; /* lunado's own code raises the error again on its way */
  uint8_t handed; /* how often the error was handed on since it was raised */
  uint8_t count;  /* frames */
  uint32_t home;  /* number of the loop on which a waiter will get the error; 0:
                     none will */
  int last; /* the level of its thread's last function, where it was made */
  struct lunado_failure_frame {
    const char *name;     /* name of the function, borrowed from its caller's
                             constants: the next frame holds the caller */
    const char *namewhat; /* a string literal in Lua's code */
    int line;             /* current line; -1: unknown */
    bool tail;            /* the function was called by a tail call */
  } frames[];             /* innermost first */
};

/* Makes the class of Failures, and the Failure that stands for "not enough
 * memory".  [-0, +0, m] */
void lunado__failure_open(lua_State *L, lunado_realm *realm);

/* Pushes a Failure with the error at `err` and the active functions of L from
 * `level` on (-1: without functions).  A nil error becomes "<no error object>".
 * [-0, +1, m] */
lunado_failure *lunado__failure_new(lua_State *L, lunado_realm *realm, int err,
                                    int level);

/* The same for the thread of a coroutine that lunado runs: the function at its
 * base need not be looked at.  [-0, +1, m] */
lunado_failure *lunado__failure_in_coroutine(lua_State *L, lunado_realm *realm,
                                             int err, int level);

/* Pushes the Failure that stands for "not enough memory".  [-0, +1, -] */
void lunado__failure_nomemory(lua_State *L, lunado_realm *realm);

/* Replaces the error on top by a Failure without frames, or, if there is no
 * memory, by the Failure for "not enough memory".  Leaves a Failure unchanged.
 * [-1, +1, -] */
void lunado__failure_wrap(lua_State *L, lunado_realm *realm);

/* Returns the Failure at idx, or NULL.  [-0, +0, -] */
static inline lunado_failure *lunado__failure_at(lua_State *L,
                                                 const lunado_realm *realm,
                                                 int idx) {
  return lunado__toclass(L, idx, realm->types.failure);
}

/* True if the value at `failure` is the Failure of the error at `err`.  A nil
 * error matches any Failure.  [-0, +0, -] */
bool lunado__failure_is_of(lua_State *L, int failure, int err);

/* Hands the Failure on to another Future.  From now on that Future's holder has
 * to observe it. */
static inline void lunado__failure_hand_on(lunado_failure *failure) {
  failure->observed = failure->queued = false;
  failure->home = 0;
}

/* True if the error of the Failure at idx is a CancelledError, which is never
 * logged.  [-0, +0, -] */
bool lunado__failure_is_cancelled(lua_State *L, lunado_realm *realm, int idx);

/* Pushes the error of the Failure at idx, and marks the Failure as observed.
 * [-0, +1, -] */
void lunado__failure_observe(lua_State *L, int idx);

/* Replaces the Failure on top by its origin: the first Failure of its chain,
 * made where the error came from.  [-1, +1, -] */
void lunado__failure_origin(lua_State *L);

/* Records that the error of the Failure at idx was logged.  It is not logged
 * again, whichever Futures it came through.  [-0, +0, -] */
void lunado__failure_mark_logged(lua_State *L, lunado_realm *realm, int idx);

/* Removes the frame of `function` and those of its callers from the Failure on
 * top.  The functions that `function` called keep their frames.  Returns the
 * number of these.  [-0, +0, -] */
int lunado__failure_cut(lua_State *L, lua_CFunction function);

/* Records that the error of the Failure at idx was raised while the error of
 * the Failure at `first` was handled.  The traceback at idx then continues with
 * the error at `first` and its traceback.  Both indices are absolute.
 * [-0, +0, m] */
void lunado__failure_raised_during(lua_State *L, int idx, int first);

/* Pushes the traceback of the Failure at idx.  [-0, +1, m] */
void lunado__failure_traceback(lua_State *L, int idx);

/* Pushes the error of the Failure at idx as text, whatever its type.
 * [-0, +1, m] */
void lunado__failure_errortext(lua_State *L, int idx);

/* Pushes the error of the Failure at idx as text, followed by the traceback, if
 * there is one, on the next lines.  [-0, +1, m] */
void lunado__failure_text(lua_State *L, int idx);

/* Replaces the error on top, which went through the message handler, by its
 * Failure.  [-1, +1, -] */
void lunado__failure_take(lua_State *L, lunado_realm *realm);

#endif
