/* SPDX-License-Identifier: MIT */
/*
 * decode.c - decoding the values of a parcel.
 *
 * Only lunado__encode makes parcels, so their contents are trusted.
 */
#include "binding/thread/decode.h"

#include <assert.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "binding/error/classname.h"
#include "binding/thread/code.h"

/* A read position in one buffer of a parcel. */
typedef struct {
  const char *at;  /* the next byte, borrowed from the parcel */
  const char *end; /* for asserts */
  int objects;     /* stack index of the table number -> object; of the object
                      if there is only one */
  bool listed;     /* it is a table */
} reader;

static reader start_reading(const lunado__bytes *bytes, int objects,
                            bool listed) {
  reader r;
  r.listed = listed;
  r.at = bytes->data;
  r.end = bytes->data == NULL ? NULL : bytes->data + bytes->length;
  r.objects = objects;
  return r;
}

/* Returns the next `size` bytes and skips them. */
static inline const char *read_bytes(reader *r, size_t size) {
  const char *at = r->at;
  assert(size <= (size_t)(r->end - at) && "a parcel ends where it was closed");
  r->at += size;
  return at;
}

static inline size_t read_size(reader *r) {
  size_t size;
  memcpy(&size, read_bytes(r, sizeof size), sizeof size);
  return size;
}

static int size_hint(size_t size) {
  return size < INT_MAX ? (int)size : INT_MAX;
}

/* Pushes the object with this number.  [-0, +1, -] */
static void push_object(lua_State *L, const reader *r, size_t number) {
  if (r->listed)
    lua_rawgeti(L, r->objects, (lua_Integer)number);
  else
    lua_pushvalue(L, r->objects);
}

/* [-0, +1, m] */
static void push_number(lua_State *L, reader *r, char tag) {
  if (tag == TAG_INTEGER) {
    lua_Integer integer;
    memcpy(&integer, read_bytes(r, sizeof integer), sizeof integer);
    lua_pushinteger(L, integer);
  } else {
    lua_Number number;
    memcpy(&number, read_bytes(r, sizeof number), sizeof number);
    lua_pushnumber(L, number);
  }
}

/* [-0, +1, m] */
static void push_value(lua_State *L, reader *r, char tag) {
  switch (tag) {
  case TAG_NIL:
    lua_pushnil(L);
    break;
  case TAG_FALSE:
    lua_pushboolean(L, 0);
    break;
  case TAG_TRUE:
    lua_pushboolean(L, 1);
    break;
  case TAG_INTEGER:
  case TAG_FLOAT:
    push_number(L, r, tag);
    break;
  case TAG_STRING: {
    size_t length = (unsigned char)*read_bytes(r, 1);
    lua_pushlstring(L, read_bytes(r, length), length);
    break;
  }
  case TAG_OBJECT:
    push_object(L, r, read_size(r));
    break;
  default:
    assert(tag == TAG_GLOBALS && "values are written with known tags");
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  }
}

/* [-0, +1, m] */
static inline void push_next_value(lua_State *L, reader *r) {
  char tag = *read_bytes(r, 1);
  push_value(L, r, tag);
}

/* [-0, +1, m] */
static void make_table(lua_State *L, reader *r) {
  size_t length = read_size(r), fields = read_size(r);
  lua_createtable(L, size_hint(length), size_hint(fields));
}

/* [-0, +1, m] */
static void make_function(lua_State *L, reader *r, char tag) {
  lunado__code *code;
  memcpy(&code, read_bytes(r, sizeof code), sizeof code);
  if (tag == TAG_KEPT)
    lunado__code_push_kept(L, code);
  else
    lunado__code_load(L, code);
}

/* [-0, +1, m] */
static void make_lent_string(lua_State *L, reader *r) {
  const char *string;
  memcpy(&string, read_bytes(r, sizeof string), sizeof string);
  lua_pushlstring(L, string, read_size(r));
}

/* [-0, +1, m] */
static void make_class(lua_State *L, reader *r) {
  size_t length = read_size(r);
  lunado__classname_find(L, read_bytes(r, length), length);
}

/* [-0, +1, m] */
static void make_object(lua_State *L, reader *r) {
  char tag = *read_bytes(r, 1);
  switch (tag) {
  case TAG_TABLE:
    make_table(L, r);
    break;
  case TAG_CODE:
  case TAG_KEPT:
    make_function(L, r, tag);
    break;
  case TAG_LENT:
    make_lent_string(L, r);
    break;
  case TAG_BYTES: {
    size_t length = read_size(r);
    lua_pushlstring(L, read_bytes(r, length), length);
    break;
  }
  case TAG_CLASS:
    make_class(L, r);
    break;
  default: /* TAG_ERROR */
    make_class(L, r);
    make_object(L, r);
    lua_insert(L, -2);
    lua_setmetatable(L, -2);
  }
}

/* Fills the table on top, whose header is next in `headers`.  [-0, +0, m] */
static void fill_table(lua_State *L, reader *headers, reader *r) {
  size_t length = read_size(headers), fields = read_size(headers), i;
  for (i = 1; i <= length; i++) {
    char tag = *read_bytes(r, 1);
    if (tag == TAG_NIL) continue;
    push_value(L, r, tag);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  for (i = 0; i < fields; i++) {
    push_next_value(L, r);
    push_next_value(L, r);
    lua_rawset(L, -3);
  }
}

/* Sets the upvalues of the function on top.  [-0, +0, m] */
static void fill_function(lua_State *L, reader *r) {
  char tag;
  int n;
  for (n = 1; (tag = *read_bytes(r, 1)) != TAG_LAST; n++) {
    if (tag == TAG_JOIN) {
      size_t id = read_size(r);
      push_object(L, r, id >> LUNADO_UPVALUE_BITS);
      lua_upvaluejoin(L, -2, n, -1,
                      (int)(id & ((1 << LUNADO_UPVALUE_BITS) - 1)));
      lua_pop(L, 1);
    } else {
      push_value(L, r, tag);
      lua_setupvalue(L, -2, n);
    }
  }
}

/* Fills the object on top.  [-0, +0, m] */
static void fill_object(lua_State *L, reader *headers, reader *r) {
  char tag = *read_bytes(headers, 1);
  if (tag == TAG_ERROR) {
    (void)read_bytes(headers, read_size(headers));
    tag = *read_bytes(headers, 1);
  }
  switch (tag) {
  case TAG_TABLE:
    fill_table(L, headers, r);
    break;
  case TAG_CODE:
  case TAG_KEPT:
    (void)read_bytes(headers, sizeof(lunado__code *));
    if (tag == TAG_CODE) fill_function(L, r);
    break;
  case TAG_LENT:
    (void)read_bytes(headers, sizeof(char *) + sizeof(size_t));
    break;
  default:
    (void)read_bytes(headers, read_size(headers));
  }
}

/* Pushes the object, or the table of the objects, none of which is filled yet;
 * nothing if the parcel has none.  [-0, +(0|1), m] */
static void make_objects(lua_State *L, const lunado__parcel *parcel) {
  reader headers = start_reading(&parcel->headers, 0, false);
  if (parcel->objects == 1) make_object(L, &headers);
  if (parcel->objects <= 1) return;
  lua_createtable(L, size_hint(parcel->objects), 0);
  for (size_t i = 1; i <= parcel->objects; i++) {
    make_object(L, &headers);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
}

void lunado__decode(lua_State *L, const lunado__parcel *parcel) {
  int objects = lua_gettop(L) + 1;
  reader headers, bodies;
  if (!lua_checkstack(L, parcel->count + LUA_MINSTACK))
    luaL_error(L, "stack overflow (too many values from another state)");
  make_objects(L, parcel);
  headers = start_reading(&parcel->headers, objects, parcel->objects > 1);
  bodies = start_reading(&parcel->bodies, objects, parcel->objects > 1);
  for (int n = 0; n < parcel->count; n++) push_next_value(L, &bodies);
  if (parcel->objects == 0) return;
  for (size_t i = 1; i <= parcel->objects; i++) {
    push_object(L, &headers, i);
    fill_object(L, &headers, &bodies);
    lua_pop(L, 1);
  }
  lua_remove(L, objects);
}
