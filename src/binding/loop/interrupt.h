/* SPDX-License-Identifier: MIT */
/*
 * interrupt.h - interrupts: errors that a debug hook in C raises to end a run
 * from outside.
 *
 * The standalone interpreter turns Ctrl-C into such an error, and hosts use
 * such errors to limit the time of their scripts.  The error does not belong to
 * the callback in which it is raised: it ends the run of the loop, and the run
 * raises it.
 */
#ifndef LUNADO_BINDING_LOOP_INTERRUPT_H
#define LUNADO_BINDING_LOOP_INTERRUPT_H

#include "binding/state/realm.h"

/* Finds out what this release of Lua reports about hooks: up to 5.4.3 it does
 * not name a hook that was called from a C function.  [-0, +0, m] */
void lunado__interrupt_open(lua_State *L, lunado_realm *realm);

/* To be called from a message handler: true if the error was raised by a debug
 * hook in C.  [-0, +0, m] */
bool lunado__interrupt_is_raised(lua_State *L, const lunado_realm *realm);

/* If the Failure on top is an interrupt and a loop is running, ends the run
 * with it and returns true; else returns false.  [-0, +0, -] */
bool lunado__interrupt_note(lua_State *L, lunado_realm *realm);

/* After a run: if it was interrupted, pushes the Failure that must be raised in
 * place of the run's result, and returns true; else returns false.
 * [-0, +(0|1), -] */
bool lunado__interrupt_take(lua_State *L, lunado_realm *realm);

/* Makes SIGINT wake the loop, which is about to run on L, after the process's
 * own handler of the signal was called.  Returns false and changes nothing if
 * the process has no such handler, if L is not the main thread, or if another
 * loop of the process is woken already. */
bool lunado__interrupt_watch(const lua_State *L, lunado_ioloop *loop);

/* Undoes lunado__interrupt_watch.  Has no effect if lunado__interrupt_watch has
 * not returned true for the loop. */
void lunado__interrupt_unwatch(const lunado_ioloop *loop);

#endif
