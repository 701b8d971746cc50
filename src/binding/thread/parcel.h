/* SPDX-License-Identifier: MIT */
/*
 * parcel.h - copying Lua values from one state to another.
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
 *
 * Objects are tables, Lua functions and strings of LUNADO_LONG_STRING bytes
 * and more.  Each gets a number where it is first met, is remembered under
 * it, and is written down when its turn comes: breadth first, so that neither
 * side recurses, however deep the graph, and the path to what is refused is
 * the shortest.
 *
 * An object is written in two places.  `headers` has what is needed to make it
 * without any other object: a string's bytes, a function's code, the sizes of
 * a table.  `bodies` has what refers to others.  The reader makes all
 * objects first and fills them then: a reference always finds its object.
 */
#ifndef LUNADO_BINDING_THREAD_PARCEL_H
#define LUNADO_BINDING_THREAD_PARCEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/state/realm.h"

typedef struct lunado__parcel lunado__parcel;
typedef struct lunado__route lunado__route;

/* Has the function at idx sent as the one at `plain`, wherever it is met.
 * [-0, +0, m] */
void lunado__parcel_substitute(lua_State *L, int idx, int plain);

/* Returns the parcel of the userdata at idx, which lunado__encode has pushed.
 * [-0, +0, -] */
lunado__parcel *lunado__parcel_at(lua_State *L, int idx);

/* Moves what is in `from` to `to`, which holds nothing; `from` is empty then.
 */
void lunado__parcel_move(lunado__parcel *to, lunado__parcel *from);

/* Frees what the parcel holds and leaves it empty. */
void lunado__parcel_free(lunado__parcel *parcel);

/* The bytes that the parcel takes up.  Only tests call it. */
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
  lunado__bytes headers; /* what makes each object, in order of number */
  lunado__bytes bodies;  /* the values packed, then what is in each object */
  size_t objects;        /* how many, numbered from 1 on */
  int count;             /* of the values packed */
};

/* --- for encode.c and decode.c -------------------------------------------- */

/* Strings of this length and more are sent once, however many refer to them;
 * to copy a shorter one is cheaper than to remember it.  Below, the length is
 * one byte. */
#define LUNADO_LONG_STRING 128

/* Upvalues are counted from 1 to 255; which one of which function is one
 * number. */
#define LUNADO_UPVALUE_BITS 8

enum {
  TAG_NIL,
  TAG_FALSE,
  TAG_TRUE,
  TAG_INTEGER, /* lua_Integer */
  TAG_FLOAT,   /* lua_Number */
  TAG_STRING,  /* unsigned char, bytes: less than LUNADO_LONG_STRING of them */
  TAG_OBJECT,  /* size_t: its number */
  TAG_GLOBALS, /* the globals of the state that reads */
  /* instead of the value of an upvalue: */
  TAG_JOIN, /* size_t: the one that it is the same as, written before */
  TAG_LAST, /* there are no more upvalues */
  /* in headers: */
  TAG_TABLE, /* size_t, size_t: length of the list part, number of fields */
  TAG_CODE,  /* size_t, bytes: a function as lua_dump writes it */
  TAG_BYTES, /* size_t, bytes: a string */
  TAG_CLASS, /* size_t, bytes: a class of errors, by name */
  TAG_ERROR  /* size_t, bytes: its class; then as a table */
};

/* A parcel in the making.  It lives in a userdata that frees what it owns. */
typedef struct {
  lunado__parcel parcel;      /* owned until it is handed over */
  lunado__bytes parents;      /* owned; for each object the number of the one
                                 where it was first met */
  const lunado__route *route; /* borrowed */
  const void *globals;        /* the identity of the globals table */
  const void *self;           /* the identity of the value route->self */
  size_t current;             /* the object at work; 0: the values themselves */
  int first;                  /* stack index of the values */
  int known;                  /* stack index of a table: number -> object, its
                                 identity -> number, and the identity of an
                                 upvalue -> which one of which function */
  int plain; /* stack index of lunado__parcel_substitute's table */
} lunado__packing;

/* Where `size` more bytes go, which then count; NULL when memory is short. */
char *lunado__parcel_take(lunado__bytes *bytes, size_t size);

/* Frees the bytes and leaves none. */
void lunado__parcel_free_bytes(lunado__bytes *bytes);

/* Pushes an empty packing, a place for its table of what is known, and the
 * table of functions that are sent as others.  [-0, +3, m] */
lunado__packing *lunado__parcel_new_packing(lua_State *L);

/* Whether the function at idx is sent as another one, which is pushed then.
 * [-0, +(0|1), -] */
bool lunado__parcel_push_substitute(lua_State *L, const lunado__packing *p,
                                    int idx);

#endif
