/* SPDX-License-Identifier: MIT */
/*
 * received.h - the Failure whose error the running code was given last: at a
 * yield, by result(), exception() and their like.
 *
 * The task of the coroutine remembers it until the coroutine ends or is given
 * the next error.  Outside of coroutines the realm does, until the callback
 * returns, and no longer than the Failure is held elsewhere.  When the same
 * error is raised once more, or set on another Future, the new Failure takes
 * the remembered one as its inner one.  So the traceback begins where the error
 * was first raised.  A string is also the same behind a position, as
 * error(message) makes it.
 */
#ifndef LUNADO_BINDING_COROUTINE_RECEIVED_H
#define LUNADO_BINDING_COROUTINE_RECEIVED_H

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/task.h"
#include "binding/state/realm.h"

/* Remembers the Failure on top for the code that runs on L, and pops it.
 * `passing`: lunado's own code raises the error again on its way, and where
 * that is tells the user nothing.  [-1, +0, -] */
void lunado__received_note(lua_State *L, lunado_realm *realm, bool passing);

/* Remembers the Failure on top of the thread of the task at t, which is about
 * to be resumed with its error.  [-0, +0, -] */
static inline void lunado__received_note_at(lua_State *L, int t,
                                            lunado_task *task) {
  lua_pushvalue(task->thread, -1);
  lua_xmove(task->thread, L, 1);
  lua_setiuservalue(L, t, LUNADO_TASK_RECEIVED);
  task->flags = (task->flags | TASK_RECEIVED) & ~(uint32_t)TASK_PASSING;
}

/* Pushes the remembered Failure, and returns true, if it is that of the error
 * at `err`.  *passing as in lunado__received_note.  [-0, +(0|1), -] */
bool lunado__received_push(lua_State *L, lunado_realm *realm, int err,
                           bool *passing);

void lunado__received_open(lua_State *L, lunado_realm *realm);

/* Forgets what was remembered outside of coroutines.  [-0, +0, -] */
void lunado__received_forget(lua_State *L, lunado_realm *realm);

/* Pushes the Failure of the error at `err`, which is being raised on L: the one
 * that lunado's own code is raising again, else a new one with the functions
 * from `level` on.  It counts as observed.  [-0, +1, m] */
lunado_failure *lunado__received_raised(lua_State *L, lunado_realm *realm,
                                        int err, int level);

/* Replaces the Failure on top, which is about to be raised, by its error, and
 * remembers it for where the error is caught (received.h).  [-1, +1, -] */
void lunado__received_throw(lua_State *L, lunado_realm *realm);

/* Pushes a Failure of the error at `err`, which is not raised but handed to a
 * Future, with the active functions from `level` on.  If the running code was
 * given the same error before, its Failure becomes the inner one.  However
 * often an error is handed on, the chain stays short, and its end is where the
 * error was first raised.  [-0, +1, m] */
lunado_failure *lunado__received_handed(lua_State *L, lunado_realm *realm,
                                        int err, int level);

#endif
