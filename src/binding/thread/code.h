/* SPDX-License-Identifier: MIT */
/*
 * code.h - the code of Lua functions, dumped once and shared between threads.
 *
 * A code is what lua_dump writes of a function.  It never changes, and has a
 * number that no other code of the process gets.  Parcels refer to codes and do
 * not copy them.
 *
 * The state that sends functions has a *book* of the codes that it has dumped.
 * The state of a worker keeps functions that it has loaded, by their numbers.
 */
#ifndef LUNADO_BINDING_THREAD_CODE_H
#define LUNADO_BINDING_THREAD_CODE_H

#include <lua.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  atomic_size_t refs; /* any thread may take and release a reference */
  uint64_t number;
  bool bare; /* the functions have no upvalue but _ENV, so they do not differ
                from each other */
  uint64_t hash;    /* of the bytes */
  uint64_t sent_in; /* the encoder's: the last parcel that refers to it */
  size_t length;
  char bytes[];
} lunado__code;

/* Pushes a new book.  [-0, +1, m] */
void lunado__code_push_book(lua_State *L);

/* Returns a reference to the code of the Lua function on top.  The book is at
 * the absolute index `in`.  [-0, +0, m] */
lunado__code *lunado__code_of(lua_State *L, int in);

/* Releases a reference. */
void lunado__code_release(lunado__code *code);

/* Makes the state keep the functions that lunado__code_push_kept loads.
 * [-0, +0, m] */
void lunado__code_keep(lua_State *L);

/* Pushes a new function with this code.  [-0, +1, m] */
void lunado__code_load(lua_State *L, const lunado__code *code);

/* Pushes a function with this code, whose functions are bare: the one that the
 * state keeps, if it does.  Its _ENV is the globals table.  [-0, +1, m] */
void lunado__code_push_kept(lua_State *L, const lunado__code *code);

#endif
