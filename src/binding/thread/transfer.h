/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - copying Lua values from one state to another.
 *
 * A parcel is a graph of values written down as bytes: it holds no pointer
 * into any Lua state, so that any thread may carry it from the state that
 * packed it to the one that unpacks it.
 *
 * Copied are nil, booleans, numbers, strings, tables and Lua functions with
 * their upvalues; what was one table, function or upvalue for its holders is
 * one for the holders of the copies, cycles included.  The globals table and
 * every upvalue named _ENV become the globals of the other state.  Metatables
 * stay behind, but for those of lunado's own exception classes.  Anything else
 * is refused, with the path to it.
 */
#ifndef LUNADO_BINDING_THREAD_TRANSFER_H
#define LUNADO_BINDING_THREAD_TRANSFER_H

#include <lua.h>
#include <stddef.h>

typedef struct lunado__parcel lunado__parcel;
typedef struct lunado__route lunado__route;

/* Packs the `count` values from stack index `first` on.  Pushes a userdata
 * that owns the parcel until it is moved out of it, and returns that parcel.
 * Raises where a value cannot be sent, or memory is short.  [-0, +1, e] */
lunado__parcel *lunado__encode(lua_State *L, int first, int count,
                               const lunado__route *route);

/* Has the function at idx sent as the one at `plain`, wherever it is met.
 * [-0, +0, m] */
void lunado__send_as(lua_State *L, int idx, int plain);

/* The parcel that the userdata at idx owns; NULL where it is none.
 * [-0, +0, m] */
lunado__parcel *lunado__toparcel(lua_State *L, int idx);

/* Pushes copies of what was packed; the parcel stays as it is, and may be
 * unpacked again.  [-0, +parcel->count, m] */
void lunado__decode(lua_State *L, const lunado__parcel *parcel);

/* Moves what is in `from` to `to`, which holds nothing; `from` is empty then.
 */
void lunado__parcel_move(lunado__parcel *to, lunado__parcel *from);

/* Frees what the parcel holds and leaves it empty. */
void lunado__parcel_free(lunado__parcel *parcel);

/* The bytes that the parcel takes up. */
size_t lunado__parcel_size(const lunado__parcel *parcel);

/* --- layout --------------------------------------------------------------- */

/* Where values are sent. */
struct lunado__route {
  const char *way; /* "to a worker": for "cannot send a userdata to a worker" */
  /* Pushes what the i-th of the values is called, i from 0 on. */
  void (*push_root)(lua_State *L, const lunado__route *route, int i);
  int self;                /* the table that loses two fields; -1: none does */
  const char *left_out[2]; /* their names */
  int level;  /* of the function whose line a refusal tells; 0: none */
  int folded; /* how many values come before the first, which they are: an
                 object that is called, behind its __call */
};

typedef struct {
  char *data;      /* owned */
  size_t length;   /* in use */
  size_t capacity; /* allocated */
} lunado__bytes;

/* All zeros: an empty parcel of no value. */
struct lunado__parcel {
  lunado__bytes births;   /* what makes each object, in order of number */
  lunado__bytes contents; /* the values packed, then what is in each object */
  size_t objects;         /* how many, numbered from 1 on */
  int count;              /* of the values packed */
};

#endif
