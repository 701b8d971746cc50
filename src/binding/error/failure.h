/* SPDX-License-Identifier: MIT */
/*
 * failure.h - the outcome of a failed Future: an error, where it was raised,
 * and whether any caller has observed it.
 *
 * A Failure is a userdata of its own, so that only failed Futures have a
 * finalizer: it logs an error that was never observed.  It keeps the functions
 * that were active and their lines; the text is made when asked for.
 */
#ifndef LUNADO_BINDING_ERROR_FAILURE_H
#define LUNADO_BINDING_ERROR_FAILURE_H

#include "binding/state/class.h"
#include "binding/state/realm.h"

/* User values of a Failure; the functions of the frames follow. */
enum {
  LUNADO_FAILURE_ERROR = 1, /* any value but nil */
  LUNADO_FAILURE_INNER,     /* Failure of the Future whose error came through
                               an await; or nil */
  LUNADO_FAILURE_TEXT,      /* traceback that was given or made; or nil */
  LUNADO_FAILURE_FRAMES
};

struct lunado_failure {
  bool observed;  /* a caller took the error, or it was logged */
  bool interrupt; /* a debug hook in C raised it; no callback's own */
  bool queued;    /* a function was put into a queue to be called with it */
  bool told;      /* it was logged beside another error, or too late */
  uint8_t handed; /* how often the error was handed on since it was raised */
  uint32_t home;  /* number of the loop on which a waiter will get the error;
                     0: none will */
  int count;      /* frames */
  struct lunado_failure_frame {
    const char *name;     /* of the function, borrowed from its caller's
                             constants: the next frame holds the caller */
    const char *namewhat; /* a literal of Lua's */
    int line;             /* current line; -1: unknown */
    bool tail;            /* called by a tail call */
  } frames[];             /* innermost first */
};

void lunado__failure_open(lua_State *L, lunado_realm *realm);

/* Pushes a Failure with the error at `err` and the active functions of L from
 * `level` on (-1: none).  A nil error becomes "<no error object>".
 * [-0, +1, m] */
lunado_failure *lunado__failure_new(lua_State *L, lunado_realm *realm, int err,
                                    int level);

/* Pushes the Failure that stands for "not enough memory".  [-0, +1, -] */
void lunado__failure_nomemory(lua_State *L, lunado_realm *realm);

/* Replaces the error on top by a Failure with no frames, or by the one for no
 * memory; leaves a Failure alone.  [-1, +1, -] */
void lunado__failure_wrap(lua_State *L, lunado_realm *realm);

/* The Failure at idx, or NULL.  [-0, +0, -] */
static inline lunado_failure *lunado__failure_at(lua_State *L,
                                                 const lunado_realm *realm,
                                                 int idx) {
  return lunado__toclass(L, idx, realm->types.failure);
}

/* True if the value at `failure` is the Failure of the error at `err`; an
 * error that is nil is that of any.  [-0, +0, -] */
bool lunado__failure_is_of(lua_State *L, int failure, int err);

/* Hands the Failure on to another Future, whose holder is to look at it from
 * now on. */
static inline void lunado__failure_hand_on(lunado_failure *failure) {
  failure->observed = failure->queued = false;
  failure->home = 0;
}

/* Pushes the error of the Failure at idx, which counts as observed now.
 * [-0, +1, -] */
void lunado__failure_observe(lua_State *L, int idx);

/* Replaces the Failure on top by the first one of its chain: that of the Future
 * from which the error came through all others.  [-1, +1, -] */
void lunado__failure_origin(lua_State *L);

/* The error of the Failure at idx was logged: it is not again, whatever it came
 * through.  [-0, +0, -] */
void lunado__failure_told(lua_State *L, lunado_realm *realm, int idx);

/* Drops the frames of the Failure on top from that of `function` on, which
 * called what raised the error.  Returns how many are left.  [-0, +0, -] */
int lunado__failure_cut(lua_State *L, lua_CFunction function);

/* The error of the Failure at idx was raised while that of the one at `first`
 * was handled: its traceback goes on with that error, and the traceback of it.
 * Neither index is relative.  [-0, +0, m] */
void lunado__failure_raised_during(lua_State *L, int idx, int first);

/* Pushes the traceback of the Failure at idx.  [-0, +1, m] */
void lunado__failure_traceback(lua_State *L, int idx);

/* Pushes the error of the Failure at idx as text, whatever it is.
 * [-0, +1, m] */
void lunado__failure_errortext(lua_State *L, int idx);

/* Pushes the error as text, and its traceback below; "<error>" and the
 * traceback, where there is one, as one string.  [-0, +1, m] */
void lunado__failure_text(lua_State *L, int idx);

/* Replaces the error on top, which went through that handler, by its Failure.
 * [-1, +1, -] */
void lunado__failure_take(lua_State *L, lunado_realm *realm);

#endif
