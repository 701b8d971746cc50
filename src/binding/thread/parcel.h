/* SPDX-License-Identifier: MIT */
/*
 * parcel.h - how values are written down in a parcel.
 *
 * Objects are tables, Lua functions and strings of LUNADO_LONG_STRING bytes
 * and more.  Each gets a number where it is first met, is remembered under
 * it, and is written down when its turn comes: breadth first, so that neither
 * side recurses, however deep the graph, and the path to what is refused is
 * the shortest.
 *
 * An object is written in two places.  `births` has what is needed to make it
 * without any other object: a string's bytes, a function's code, the sizes of
 * a table.  `contents` has what refers to others.  The reader makes all
 * objects first and fills them then: a reference always finds its object.
 *
 * For transfer.h's own files.
 */
#ifndef LUNADO_BINDING_THREAD_PARCEL_H
#define LUNADO_BINDING_THREAD_PARCEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "binding/thread/transfer.h"

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
  /* in births: */
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
  int plain;                  /* stack index of lunado__send_as's table */
} lunado__packing;

/* Whether the function at idx is sent as another one, which is pushed then.
 * [-0, +(0|1), -] */
bool lunado__push_plain(lua_State *L, const lunado__packing *p, int idx);

/* Raises "cannot send a <what> <way>: <path>" for the value at `idx`, which
 * was met in the object at work.  [-0, +0, v] */
void lunado__refuse(lua_State *L, const lunado__packing *p, int idx,
                    const char *what);

#endif
