/* SPDX-License-Identifier: MIT */
/*
 * dump.h - values as a string that another process can load.
 *
 * What a parcel contains is written without pointers, in an order of bytes that
 * does not depend on the machine:
 *
 *   magic, format, version of Lua        4 bytes, 1 byte, 1 byte
 *   number of values, number of objects  sizes
 *   the headers of the objects
 *   the values, then the contents of each object
 *   checksum of all that                 8 bytes
 *
 * A size has seven bits in each byte, the lowest first; the highest bit says
 * that another byte follows.  Numbers and the checksum begin with the lowest
 * byte.  See parcel.h for objects, headers and contents.
 */
#ifndef LUNADO_BINDING_THREAD_DUMP_H
#define LUNADO_BINDING_THREAD_DUMP_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#define LUNADO_DUMP_MAGIC "\x1bLnd"

enum {
  DUMP_MAGIC = 4,    /* length of the magic */
  DUMP_FORMAT = 1,   /* the number of this format */
  DUMP_HEAD = 6,     /* bytes before the number of values */
  DUMP_CHECKSUM = 8, /* bytes at the end */
  DUMP_LUA = LUA_VERSION_NUM / 100 * 16 + LUA_VERSION_NUM % 100
};

enum {
  DUMP_NIL = 'n',
  DUMP_FALSE = 'f',
  DUMP_TRUE = 't',
  DUMP_INTEGER = 'i', /* 8 bytes */
  DUMP_FLOAT = 'd',   /* 8 bytes, IEEE 754 */
  DUMP_STRING = 's',  /* size, bytes */
  DUMP_OBJECT = 'o',  /* size: the object's number */
  DUMP_GLOBALS = 'g',
  DUMP_JOIN = 'j', /* size, size: another function and its upvalue */
  DUMP_LAST = '.', /* no more upvalues */
  /* in headers: */
  DUMP_TABLE = 'T',    /* size, size: length of the list, number of fields */
  DUMP_FUNCTION = 'F', /* size, bytes: a function, whose upvalues follow */
  DUMP_BARE = 'B',     /* size, bytes: one whose only upvalue is _ENV */
  DUMP_BYTES = 'S',    /* size, bytes: a long string */
  DUMP_CLASS = 'C',    /* size, bytes: a class of errors, by name */
  DUMP_ERROR = 'E'     /* size, bytes: the class by name; then a table */
};

/* The greatest length of the name of a class with its ancestors, and how many
 * these are. */
enum { DUMP_CLASS_NAME = 4096, DUMP_CLASS_DEPTH = 100 };

/* The checksum of the bytes.  Any change of a single byte changes it. */
uint64_t lunado__dump_checksum(const char *data, size_t length);

/* Adds dumps to the table on top.  [-0, +0, m] */
void lunado__dump_functions(lua_State *L);

#endif
