/* SPDX-License-Identifier: MIT */
/*
 * interrupt.h - what ends a run from outside: an error of a debug hook in C.
 *
 * The standalone interpreter turns Ctrl-C into such an error, and hosts limit
 * their scripts by one.  The error does not belong to the callback in which it
 * is raised: it ends the run of the loop, and the run raises it.
 */
#ifndef LUNADO_BINDING_LOOP_INTERRUPT_H
#define LUNADO_BINDING_LOOP_INTERRUPT_H

#include "binding/state/realm.h"

/* Finds out what this release of Lua tells of hooks: until 5.4.3 it does not
 * name one that was called from a C function.  [-0, +0, m] */
void lunado__interrupt_open(lua_State *L, lunado_realm *realm);

/* True if it was a debug hook in C that raised the error for which L runs a
 * message handler.  [-0, +0, m] */
bool lunado__interrupt_is_raised(lua_State *L, const lunado_realm *realm);

/* Has the Failure on top end the run that is going on, if it is an interrupt;
 * else, and where no loop runs, returns false.  [-0, +0, -] */
bool lunado__interrupt_note(lua_State *L, lunado_realm *realm);

/* After a run: pushes the Failure that is to be raised in place of its
 * outcome, or returns false.  [-0, +(0|1), -] */
bool lunado__interrupt_take(lua_State *L, lunado_realm *realm);

/* Has SIGINT wake the loop, which is about to run on L, after whoever handles
 * the signal has done so; a process in which nobody does is left alone.
 * Returns false, and changes nothing, where there is nothing to do. */
bool lunado__interrupt_watch(const lua_State *L, lunado_ioloop *loop);

/* Ends that, after lunado__interrupt_watch has returned true, or where it may
 * have for this loop. */
void lunado__interrupt_unwatch(const lunado_ioloop *loop);

#endif
