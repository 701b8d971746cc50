/* SPDX-License-Identifier: MIT */
/*
 * parcel.h - copying Lua values from one state to another.
 *
 * A parcel is a graph of values, encoded as bytes.  It has no pointer into any
 * Lua state, so any thread may carry it from the encoding state to the decoding
 * state.
 *
 * A parcel can contain nil, booleans, numbers, strings, tables, and Lua
 * functions with their upvalues.  References are preserved: a table, function
 * or upvalue that is shared, or part of a cycle, is copied once.  The globals
 * table and every upvalue named _ENV become the globals of the other state.
 * Metatables are not copied, except those of lunado's own exception classes.
 * For any other value the encoder raises an error with the path to the value.
 *
 * Objects are tables, Lua functions and strings of LUNADO_LONG_STRING bytes and
 * more.  Each object gets a number when it is first met, and objects are
 * written in the order of their numbers.  This is breadth first, so neither
 * side recurses, however deep the graph is, and the path to a refused value is
 * the shortest one.
 *
 * An object is written in two places.  `headers` has the part that needs no
 * other object: a string's bytes, a function's code, the sizes of a table.
 * `bodies` has the part that may refer to other objects.  The decoder first
 * makes all objects and then fills them, so the object of a reference always
 * exists.
 */
#ifndef LUNADO_BINDING_THREAD_PARCEL_H
#define LUNADO_BINDING_THREAD_PARCEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/state/realm.h"

typedef struct lunado__parcel lunado__parcel;
typedef struct lunado__route lunado__route;

/* Makes the encoder send the function at `substitute` wherever it meets the
 * function at idx.  [-0, +0, m] */
void lunado__parcel_substitute(lua_State *L, int idx, int substitute);

/* Returns the parcel of the userdata at idx, which lunado__encode has pushed.
 * [-0, +0, -] */
lunado__parcel *lunado__parcel_at(lua_State *L, int idx);

/* Moves the contents of `from` to `to`, which must own nothing, and empties
 * `from`. */
void lunado__parcel_move(lunado__parcel *to, lunado__parcel *from);

/* Frees the buffers of the parcel and leaves it empty. */
void lunado__parcel_free(lunado__parcel *parcel);

/* Returns the number of encoded bytes.  Only tests call this. */
size_t lunado__parcel_size(const lunado__parcel *parcel);

/* --- layout --------------------------------------------------------------- */

/* How values are sent: names and options. */
struct lunado__route {
  const char *way; /* such as "to a worker", for the message "cannot send a
                      userdata to a worker" */
  /* Pushes the name of the i-th value, counted from 0. */
  void (*push_root)(lua_State *L, const lunado__route *route, int i);
  int self;                /* index of the table that is sent without two
                              fields; -1: none */
  const char *left_out[2]; /* the names of the two fields */
  int level;               /* luaL_where level of an error's line; 0: none */
  int folded; /* how many __call values precede a callable object; all of them
                 have the name of that object */
};

typedef struct {
  char *data;      /* owned */
  size_t length;   /* in use */
  size_t capacity; /* allocated */
} lunado__bytes;

/* An empty parcel is all zeros. */
struct lunado__parcel {
  lunado__bytes headers; /* the headers of the objects, by number */
  lunado__bytes bodies;  /* the values, then the contents of each object */
  size_t objects;        /* number of objects, which are numbered from 1 */
  int count;             /* number of values */
};

/* --- for encode.c and decode.c -------------------------------------------- */

/* A string of at least this length is an object, so it is sent once, however
 * many references it has.  It is cheaper to copy a shorter string than to
 * record it.  The length of a shorter string is written as one byte. */
#define LUNADO_LONG_STRING 128

/* The number of an upvalue, 1 to 255, has this many bits.  It is combined with
 * the number of its function into one size_t. */
#define LUNADO_UPVALUE_BITS 8

enum {
  TAG_NIL,
  TAG_FALSE,
  TAG_TRUE,
  TAG_INTEGER, /* lua_Integer */
  TAG_FLOAT,   /* lua_Number */
  TAG_STRING,  /* unsigned char, bytes: fewer than LUNADO_LONG_STRING bytes */
  TAG_OBJECT,  /* size_t: the object's number */
  TAG_GLOBALS, /* the globals of the decoding state */
  /* instead of the value of an upvalue: */
  TAG_JOIN, /* size_t: an earlier upvalue that is the same variable */
  TAG_LAST, /* no more upvalues */
  /* in headers: */
  TAG_TABLE, /* size_t, size_t: length of the list part, number of fields */
  TAG_CODE,  /* size_t, bytes: a function as lua_dump writes it */
  TAG_BYTES, /* size_t, bytes: a string */
  TAG_CLASS, /* size_t, bytes: a class of errors, by name */
  TAG_ERROR  /* size_t, bytes: the class by name; then a table */
};

/* A parcel during encoding.  It is a userdata, whose finalizer frees the
 * buffers. */
typedef struct {
  lunado__parcel parcel;      /* owned until it is moved out */
  lunado__bytes parents;      /* owned; for each object, the number of the
                                 object in which it was first met */
  const lunado__route *route; /* borrowed */
  const void *globals;        /* the identity of the globals table */
  const void *self;           /* the identity of the value route->self */
  size_t current;             /* the object being written; 0: the values */
  int first;                  /* stack index of the values */
  int known;                  /* stack index of a table: number -> object;
                                 identity of an object -> number; identity of an
                                 upvalue -> number of the upvalue and its
                                 function */
  int substitutes; /* stack index of the table of substitutes, or of nil */
} lunado__packing;

/* Appends `size` uninitialized bytes and returns their address; NULL if memory
 * is short. */
char *lunado__parcel_take(lunado__bytes *bytes, size_t size);

/* Frees the buffer and leaves it empty. */
void lunado__parcel_free_bytes(lunado__bytes *bytes);

/* Pushes an empty packing, a nil that becomes its table `known`, and the table
 * of substitutes (or nil).  [-0, +3, m] */
lunado__packing *lunado__parcel_new_packing(lua_State *L);

/* If the function at idx has a substitute, pushes the substitute and returns
 * true.  [-0, +(0|1), -] */
bool lunado__parcel_push_substitute(lua_State *L, const lunado__packing *p,
                                    int idx);

#endif
