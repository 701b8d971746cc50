/* SPDX-License-Identifier: MIT */
/*
 * parcel.h - copying Lua values from one state to another.
 *
 * A parcel is a graph of values, encoded as bytes.  Any thread may carry it
 * from the encoding state to the decoding state.
 *
 * Strings of LUNADO_LENT_STRING bytes and more are *lent*, not copied: the
 * parcel has a pointer to the string of the encoding state.  So whoever encodes
 * anchors the lent strings until the parcel is decoded.
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
 * other object: a string's bytes, a reference to a function's code, the sizes
 * of a table. `bodies` has the part that may refer to other objects.  The
 * decoder first makes all objects and then fills them, so the object of a
 * reference always exists.
 */
#ifndef LUNADO_BINDING_THREAD_PARCEL_H
#define LUNADO_BINDING_THREAD_PARCEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/state/realm.h"
#include "binding/thread/bytes.h"

typedef struct lunado__parcel lunado__parcel;
typedef struct lunado__route lunado__route;

/* Makes the encoder send the function at `substitute` wherever it meets the
 * function at idx.  [-0, +0, m] */
void lunado__parcel_substitute(lua_State *L, int idx, int substitute);

/* Returns the parcel of the userdata at idx, which lunado__encode has pushed.
 * [-0, +0, -] */
lunado__parcel *lunado__parcel_at(lua_State *L, int idx);

/* Pushes the list of the strings that the parcel of the userdata at idx has
 * borrowed; nil if it has borrowed none.  [-0, +1, -] */
void lunado__parcel_push_lent(lua_State *L, int idx);

/* Returns how many bytes lunado__parcel_move stores at `room`.  0 if the parcel
 * is large, because then its buffers are moved. */
size_t lunado__parcel_room(const lunado__parcel *parcel);

/* Moves the contents of the parcel of the userdata at idx, which ends its use,
 * to `to`, which must own nothing.  `room` has lunado__parcel_room bytes, which
 * `to` then borrows; if it is NULL, the buffers are moved.  [-0, +0, -] */
void lunado__parcel_move(lua_State *L, int idx, lunado__parcel *to, char *room);

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
  bool lends;              /* long strings are lent */
  int folded; /* how many __call values precede a callable object; all of them
                 have the name of that object */
};

/* An empty parcel is all zeros. */
struct lunado__parcel {
  lunado__bytes headers; /* the headers of the objects, by number */
  lunado__bytes bodies;  /* the values, then the contents of each object */
  size_t objects;        /* number of objects, which are numbered from 1 */
  size_t codes;          /* of these, functions; each header has a reference */
  size_t lent;           /* bytes of lent strings */
  int count;             /* number of values */
};

/* --- for encode.c and decode.c -------------------------------------------- */

/* A string of at least this length is an object, so it is sent once, however
 * many references it has.  It is cheaper to copy a shorter string than to
 * record it.  The length of a shorter string is written as one byte. */
#define LUNADO_LONG_STRING 128

/* A string of at least this length is lent. */
#define LUNADO_LENT_STRING ((size_t)64 * 1024)

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
  TAG_CODE,  /* lunado__code *, owned: a function */
  TAG_KEPT,  /* lunado__code *, owned: a function that the decoding state may
                have loaded before */
  TAG_BYTES, /* size_t, bytes: a string */
  TAG_LENT,  /* const char *, borrowed; size_t: a string */
  TAG_CLASS, /* size_t, bytes: a class of errors, by name */
  TAG_ERROR  /* size_t, bytes: the class by name; then a table */
};

/* A parcel during encoding.  It is a userdata, whose finalizer frees the
 * buffers.  Its user values are the list of lent strings, or nil; the book of
 * codes; and the table of substitutes.  Each state
 * keeps one userdata, with its buffers, for its next parcel. */
typedef struct {
  lunado__parcel parcel;      /* owned until it is moved out */
  lunado__bytes parents;      /* owned; for each object, the number of the
                                 object in which it was first met */
  const lunado__route *route; /* borrowed */
  const void *globals;        /* the identity of the globals table */
  const void *self;           /* the identity of the value route->self */
  size_t current;             /* the object being written; 0: the values */
  int first;                  /* stack index of the values */
  bool busy;                  /* the parcel is in use */
  bool listed;                /* `known` has a table */
  int upvalues; /* while not listed: upvalues of the only object that were
                   written */
  int known; /* stack index of the only object; or of a table: number -> object;
                identity of an object -> number; identity of an upvalue ->
                number of the upvalue and its function */
  int book;  /* stack index of the book of codes */
  int substitutes; /* stack index of the table function -> substitute */
  uint64_t serial; /* of the parcel among those of the process */
} lunado__packing;

/* Pushes an empty packing, a nil for its `known`, the book, and the table of
 * substitutes.  [-0, +4, m] */
lunado__packing *lunado__parcel_new_packing(lua_State *L);

/* If the function at idx has a substitute, pushes the substitute and returns
 * true.  [-0, +(0|1), -] */
bool lunado__parcel_push_substitute(lua_State *L, const lunado__packing *p,
                                    int idx);

#endif
