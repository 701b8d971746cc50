/* SPDX-License-Identifier: MIT */
/*
 * encode.c - encoding values into a parcel.
 *
 * Any step may raise, so a userdata owns the buffers meanwhile.
 */
#include "binding/thread/encode.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "binding/error/classname.h"
#include "binding/thread/unsendable.h"
#include "core/alloc.h"

/* Up to this many consecutive nils are written as part of a table's list, so
 * that the copy of a list with holes has the same length. */
#define LIST_HOLE 8

/* --- writing -------------------------------------------------------------- */

/* Like lunado__parcel_take, but raises if memory is short.  [-0, +0, m] */
static inline char *put_room(lua_State *L, lunado__bytes *bytes, size_t size) {
  char *at = lunado__parcel_take(bytes, size);
  if (at == NULL) luaL_error(L, "not enough memory");
  return at;
}

/* [-0, +0, m] */
static inline void put_tag(lua_State *L, lunado__bytes *bytes, char tag) {
  *put_room(L, bytes, 1) = tag;
}

/* [-0, +0, m] */
static inline void put_size(lua_State *L, lunado__bytes *bytes, char tag,
                            size_t size) {
  char *at = put_room(L, bytes, 1 + sizeof size);
  *at = tag;
  memcpy(at + 1, &size, sizeof size);
}

/* [-0, +0, m] */
static void put_bytes(lua_State *L, lunado__bytes *bytes, char tag,
                      const char *data, size_t length) {
  put_size(L, bytes, tag, length);
  memcpy(put_room(L, bytes, length), data, length);
}

/* [-0, +0, m] */
static void put_number(lua_State *L, lunado__bytes *bytes, int idx) {
  char *at;
  if (lua_isinteger(L, idx)) {
    lua_Integer integer = lua_tointeger(L, idx);
    at = put_room(L, bytes, 1 + sizeof integer);
    *at = TAG_INTEGER;
    memcpy(at + 1, &integer, sizeof integer);
  } else {
    lua_Number number = lua_tonumber(L, idx);
    at = put_room(L, bytes, 1 + sizeof number);
    *at = TAG_FLOAT;
    memcpy(at + 1, &number, sizeof number);
  }
}

/* [-0, +0, m] */
static void put_short_string(lua_State *L, lunado__bytes *bytes,
                             const char *string, size_t length) {
  char *at = put_room(L, bytes, 2 + length);
  *at = TAG_STRING;
  at[1] = (char)length;
  memcpy(at + 2, string, length);
}

/* --- encoding ------------------------------------------------------------- */

/* True if the table at `idx` has `__copy = false` in its metatable.
 * [-0, +0, m] */
static bool is_marked(lua_State *L, int idx) {
  bool marked;
  if (luaL_getmetafield(L, idx, "__copy") == LUA_TNIL) return false;
  marked = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  return marked;
}

/* Raises unless the value at `idx` is an object that can be sent.
 * [-0, +0, e] */
static void check_object(lua_State *L, lunado__packing *p, int idx) {
  switch (lua_type(L, idx)) {
  case LUA_TSTRING:
    break;
  case LUA_TTABLE:
    if (is_marked(L, idx))
      lunado__unsendable_raise(L, p, idx, "table marked __copy = false");
    break;
  case LUA_TFUNCTION:
    if (lua_iscfunction(L, idx))
      lunado__unsendable_raise(L, p, idx, "C function");
    break;
  case LUA_TLIGHTUSERDATA:
    lunado__unsendable_raise(L, p, idx, "light userdata");
    break;
  default:
    lunado__unsendable_raise(L, p, idx, luaL_typename(L, idx));
  }
}

/* Records `number` for the object or upvalue with this identity.
 * [-0, +0, m] */
static void remember(lua_State *L, lunado__packing *p, const void *identity,
                     size_t number) {
  lua_pushinteger(L, (lua_Integer)number);
  lua_rawsetp(L, p->known, identity);
}

/* Returns the number recorded for this identity, or 0.  [-0, +0, -] */
static size_t recall(lua_State *L, lunado__packing *p, const void *identity) {
  size_t number;
  lua_rawgetp(L, p->known, identity);
  number = (size_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return number;
}

/* Makes the table `known`, with room for a function that has few upvalues.
 * Most parcels contain no object and do not need the table.  [-0, +0, m] */
static void make_known(lua_State *L, lunado__packing *p) {
  lua_createtable(L, 4, 4);
  lua_replace(L, p->known);
}

/* Assigns the next number to the object at `idx`.  [-0, +0, e] */
static size_t number_object(lua_State *L, lunado__packing *p, int idx) {
  size_t number = p->parcel.objects + 1;
  check_object(L, p, idx);
  memcpy(put_room(L, &p->parents, sizeof number), &p->current, sizeof number);
  lua_pushvalue(L, idx);
  lua_rawseti(L, p->known, (lua_Integer)number);
  remember(L, p, lua_topointer(L, idx), number);
  return p->parcel.objects = number;
}

/* [-0, +0, e] */
static void put_object(lua_State *L, lunado__packing *p, int idx) {
  const void *identity = lua_topointer(L, idx);
  size_t number;
  if (identity == p->globals) {
    put_tag(L, &p->parcel.bodies, TAG_GLOBALS);
    return;
  }
  if (p->parcel.objects == 0) make_known(L, p);
  number = recall(L, p, identity);
  if (number == 0) number = number_object(L, p, idx);
  put_size(L, &p->parcel.bodies, TAG_OBJECT, number);
}

/* Writes the value at the absolute or negative index `idx`.  [-0, +0, e] */
static void put_value(lua_State *L, lunado__packing *p, int idx) {
  lunado__bytes *bodies = &p->parcel.bodies;
  switch (lua_type(L, idx)) {
  case LUA_TNIL:
    put_tag(L, bodies, TAG_NIL);
    break;
  case LUA_TBOOLEAN:
    put_tag(L, bodies, lua_toboolean(L, idx) ? TAG_TRUE : TAG_FALSE);
    break;
  case LUA_TNUMBER:
    put_number(L, bodies, idx);
    break;
  case LUA_TSTRING: {
    size_t length;
    const char *string = lua_tolstring(L, idx, &length);
    if (length < LUNADO_LONG_STRING)
      put_short_string(L, bodies, string, length);
    else
      put_object(L, p, lua_absindex(L, idx));
    break;
  }
  case LUA_TFUNCTION:
    if (lunado__parcel_push_substitute(L, p, idx)) {
      put_object(L, p, lua_gettop(L));
      lua_pop(L, 1);
      break;
    } /* fall through */
  default:
    put_object(L, p, lua_absindex(L, idx));
  }
}

/* True if the integer key at `key` continues a list of `length` elements; *nils
 * is then the number of nils between the list and the key.  [-0, +0, -] */
static bool continues_list(lua_State *L, int key, size_t length, size_t *nils) {
  lua_Integer index;
  if (!lua_isinteger(L, key)) return false;
  index = lua_tointeger(L, key);
  if (index <= 0 || (size_t)index <= length) return false;
  *nils = (size_t)index - length - 1;
  return *nils <= LIST_HOLE;
}

/* True if the key at idx names a field that is not sent.  [-0, +0, -] */
static bool is_left_out(lua_State *L, const lunado__route *route, int idx) {
  const char *name;
  if (lua_type(L, idx) != LUA_TSTRING) return false;
  name = lua_tostring(L, idx);
  return strcmp(name, route->left_out[0]) == 0 ||
         strcmp(name, route->left_out[1]) == 0;
}

/* Writes the contents of the table on top: first a list without keys, as far as
 * lua_next returns it in order, then the other fields.
 * [-0, +0, e] */
static void write_fields(lua_State *L, lunado__packing *p) {
  bool self = lua_topointer(L, -1) == p->self;
  size_t length = 0, fields = 0, nils;
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    if (self && is_left_out(L, p->route, -2)) continue;
    if (fields == 0 && continues_list(L, -2, length, &nils)) {
      length += nils + 1;
      while (nils-- > 0) put_tag(L, &p->parcel.bodies, TAG_NIL);
    } else {
      fields++;
      put_value(L, p, -2);
    }
    put_value(L, p, -1);
  }
  put_size(L, &p->parcel.headers, TAG_TABLE, length);
  memcpy(put_room(L, &p->parcel.headers, sizeof fields), &fields,
         sizeof fields);
}

/* Writes the name of the class on top and pops it.  [-1, +0, m] */
static void write_class(lua_State *L, lunado__packing *p, char tag) {
  size_t length;
  const char *name;
  lunado__classname_give(L, -1);
  name = lua_tolstring(L, -1, &length);
  put_bytes(L, &p->parcel.headers, tag, name, length);
  lua_pop(L, 2);
}

/* Writes the table on top.  [-0, +0, e] */
static void write_table(lua_State *L, lunado__packing *p) {
  if (lunado__classname_is_class(L, -1)) {
    lua_pushvalue(L, -1);
    write_class(L, p, TAG_CLASS);
    return;
  }
  if (lua_getmetatable(L, -1)) {
    if (lunado__classname_is_class(L, -1))
      write_class(L, p, TAG_ERROR);
    else
      lua_pop(L, 1);
  }
  write_fields(L, p);
}

static int dump_writer(lua_State *L, const void *chunk, size_t size,
                       void *bytes) {
  char *at;
  (void)L;
  if (size == 0) return 0;
  at = lunado__parcel_take(bytes, size);
  if (at == NULL) return 1;
  memcpy(at, chunk, size);
  return 0;
}

/* Writes the code of the function on top, with its line numbers.
 * [-0, +0, m] */
static void write_code(lua_State *L, lunado__packing *p) {
  lunado__bytes *headers = &p->parcel.headers;
  size_t start, length = 0;
  put_size(L, headers, TAG_CODE, length);
  start = headers->length;
  if (lua_dump(L, dump_writer, headers, 0) != 0)
    luaL_error(L, "not enough memory");
  length = headers->length - start;
  memcpy(headers->data + start - sizeof length, &length, sizeof length);
}

static size_t upvalue_id(size_t function, int n) {
  return function << LUNADO_UPVALUE_BITS | (size_t)n;
}

/* Writes the n-th upvalue, whose value is on top, of the function below it.
 * [-0, +0, e] */
static void write_upvalue(lua_State *L, lunado__packing *p, const char *name,
                          int n) {
  lunado__bytes *bodies = &p->parcel.bodies;
  const void *identity = lua_upvalueid(L, -2, n);
  size_t joined;
  if (strcmp(name, "_ENV") == 0) {
    put_tag(L, bodies, TAG_GLOBALS);
    return;
  }
  joined = recall(L, p, identity);
  if (joined != 0) {
    put_size(L, bodies, TAG_JOIN, joined);
  } else {
    remember(L, p, identity, upvalue_id(p->current, n));
    put_value(L, p, -1);
  }
}

/* Writes the function on top.  [-0, +0, e] */
static void write_function(lua_State *L, lunado__packing *p) {
  const char *name;
  int n;
  write_code(L, p);
  for (n = 1; (name = lua_getupvalue(L, -1, n)) != NULL; n++) {
    write_upvalue(L, p, name, n);
    lua_pop(L, 1);
  }
  put_tag(L, &p->parcel.bodies, TAG_LAST);
}

/* Writes the long string on top.  [-0, +0, m] */
static void write_string(lua_State *L, lunado__packing *p) {
  size_t length;
  const char *string = lua_tolstring(L, -1, &length);
  put_bytes(L, &p->parcel.headers, TAG_BYTES, string, length);
}

/* Writes object number p->current.  [-0, +0, e] */
static void write_object(lua_State *L, lunado__packing *p) {
  lua_rawgeti(L, p->known, (lua_Integer)p->current);
  switch (lua_type(L, -1)) {
  case LUA_TTABLE:
    write_table(L, p);
    break;
  case LUA_TFUNCTION:
    write_function(L, p);
    break;
  default:
    write_string(L, p);
  }
  lua_pop(L, 1);
}

lunado__parcel *lunado__encode(lua_State *L, int first, int count,
                               const lunado__route *route) {
  lunado__packing *p;
  int i;
  luaL_checkstack(L, 20, NULL);
  first = lua_absindex(L, first);
  p = lunado__parcel_new_packing(L);
  p->route = route;
  p->first = first;
  if (route->self >= 0)
    p->self = lua_topointer(L, first + route->folded + route->self);
  p->parcel.count = count;
  for (i = 0; i < count; i++) put_value(L, p, first + i);
  while (p->current < p->parcel.objects) {
    p->current++;
    write_object(L, p);
  }
  lunado__parcel_free_bytes(&p->parents);
  lua_pop(L, 2);
  return &p->parcel;
}
