/* SPDX-License-Identifier: MIT */
/*
 * waitcycle.h - which coroutines wait for a walk (walk.h): a walk does not make
 * a coroutine wait for one of those.
 *
 * An ancestor of a task or Future is a task that waits for it, directly or
 * through others.  The owner of a group waits for the children from their spawn
 * on.  A walk marks the ancestors of where it began, and the tasks through
 * which it goes, with a number (task->pass).  It does so only when it is to go
 * on with a coroutine.
 *
 * Each child of a group begins a branch of the walk, which has a number of its
 * own.  What was passed in a branch that has ended is no ancestor.
 */
#ifndef LUNADO_BINDING_COROUTINE_WAITCYCLE_H
#define LUNADO_BINDING_COROUTINE_WAITCYCLE_H

#include "binding/state/realm.h"

/* A walk that is under way; on the C stack. */
struct lunado_walk {
  lunado_walk *former; /* the one that was under way before, or NULL */
  lua_State *L;
  int start;       /* the stack index of where it began */
  int branch;      /* that of the innermost branch; 0: none */
  uint32_t number; /* of the marks outside of branches */
  bool marked;     /* the ancestors have marks */
  bool all;        /* not enough memory: every task counts as an ancestor */
};

/* A branch takes three slots of the stack: its number, if the walk has marks;
 * the index of the branch around it, or 0; the task with which it began. */
enum { LUNADO_BRANCH_SIZE = 3 };

/* Begins a walk from the task or Future at `start`; nil: from nowhere.
 * [-0, +0, -] */
void lunado__waitcycle_begin(lua_State *L, lunado_realm *realm,
                             lunado_walk *self, int start);

/* Ends the innermost walk.  [-0, +0, -] */
void lunado__waitcycle_end(lunado_realm *realm);

/* Inserts a branch of the innermost walk, without a task yet, below the value
 * on top.  [-0, +3, -] */
void lunado__waitcycle_branch(lua_State *L, lunado_realm *realm);

/* The innermost branch ends, and one of the task at t begins in its place.
 * [-0, +0, -] */
void lunado__waitcycle_next_branch(lua_State *L, lunado_realm *realm, int t);

/* Ends the innermost branch, which is on top, and pops it.  [-3, +0, -] */
void lunado__waitcycle_end_branch(lua_State *L, lunado_realm *realm);

/* True if the innermost walk must not go on with the task: it is an ancestor,
 * or was passed.  [-0, +0, -] */
bool lunado__waitcycle_has(lunado_realm *realm, const lunado_task *task);

/* To be called when the innermost walk goes through the task at t.
 * [-0, +0, -] */
void lunado__waitcycle_pass(lua_State *L, lunado_realm *realm, int t);

/* Tells that the task at t will wait for the pending Future at idx once that
 * was given up.  Pushes a tie, or nil if the Future needs none.  Neither index
 * may be relative.  [-0, +1, m] */
void lunado__waitcycle_tie(lua_State *L, int idx, int t);

/* Undoes lunado__waitcycle_tie, whose result is on top, and pops it.
 * [-1, +0, -] */
void lunado__waitcycle_untie(lua_State *L, int idx);

#endif
