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
#include "binding/thread/code.h"
#include "binding/thread/unsendable.h"

/* Up to this many consecutive nils are written as part of a table's list, so
 * that the copy of a list with holes has the same length. */
#define LIST_HOLE 8

/* An upvalue with a greater number is searched for in a table. */
#define FEW_UPVALUES 8

/* --- writing -------------------------------------------------------------- */

/* Like lunado__bytes_take, but raises if memory is short.  [-0, +0, m] */
static inline char *put_room(lua_State *L, lunado__bytes *bytes, size_t size) {
  char *at = lunado__bytes_take(bytes, size);
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

/* Records the object at idx under its number and its identity.
 * [-0, +0, m] */
static void list_object(lua_State *L, lunado__packing *p, int idx,
                        size_t number) {
  lua_pushvalue(L, idx);
  lua_rawseti(L, p->known, (lua_Integer)number);
  remember(L, p, lua_topointer(L, idx), number);
}

static size_t upvalue_id(size_t function, int n) {
  return function << LUNADO_UPVALUE_BITS | (size_t)n;
}

/* Replaces the only object by a table, with the object and its upvalues that
 * were written.  [-0, +0, m] */
static void list_known(lua_State *L, lunado__packing *p) {
  int only;
  if (p->listed) return;
  lua_pushvalue(L, p->known);
  only = lua_gettop(L);
  lua_createtable(L, 4, 4);
  lua_replace(L, p->known);
  p->listed = true;
  list_object(L, p, only, 1);
  for (int n = p->upvalues; n >= 1; n--)
    remember(L, p, lua_upvalueid(L, only, n), upvalue_id(1, n));
  lua_pop(L, 1);
}

/* Assigns the next number to the object at `idx`.  Most parcels have one
 * object, or none, and do without a table.  [-0, +0, e] */
static size_t number_object(lua_State *L, lunado__packing *p, int idx) {
  size_t number = p->parcel.objects + 1;
  check_object(L, p, idx);
  memcpy(put_room(L, &p->parents, sizeof number), &p->current, sizeof number);
  if (number == 1) {
    lua_pushvalue(L, idx);
    lua_replace(L, p->known);
  } else {
    list_known(L, p);
    list_object(L, p, idx, number);
  }
  return p->parcel.objects = number;
}

/* Returns the number of the object at `idx`, or 0 if it has none.
 * [-0, +0, -] */
static size_t find_object(lua_State *L, lunado__packing *p, int idx) {
  if (p->listed) return recall(L, p, lua_topointer(L, idx));
  return p->parcel.objects == 1 &&
         lua_topointer(L, idx) == lua_topointer(L, p->known);
}

/* [-0, +0, e] */
static void put_object(lua_State *L, lunado__packing *p, int idx) {
  size_t number;
  if (lua_topointer(L, idx) == p->globals) {
    put_tag(L, &p->parcel.bodies, TAG_GLOBALS);
    return;
  }
  number = find_object(L, p, idx);
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

/* Writes a reference to the code of the function on top.  The decoding state
 * may keep functions that do not differ from each other.  But two of one parcel
 * must stay two, so it loads the second one anew.  Returns
 * whether it may keep this one.  [-0, +0, m] */
static bool write_code(lua_State *L, lunado__packing *p) {
  char *at = put_room(L, &p->parcel.headers, 1 + sizeof(lunado__code *));
  lunado__code *code = lunado__code_of(L, p->book);
  bool kept = code->bare && code->sent_in != p->serial;
  *at = kept ? TAG_KEPT : TAG_CODE;
  code->sent_in = p->serial;
  memcpy(at + 1, &code, sizeof code);
  p->parcel.codes++;
  return kept;
}

/* Returns the number of the upvalue that was written before as the n-th upvalue
 * of the function on top, whose value is above it; 0 if there is none.
 * [-0, +0, m] */
static size_t find_upvalue(lua_State *L, lunado__packing *p, int n) {
  const void *identity = lua_upvalueid(L, -2, n);
  if (n > FEW_UPVALUES) list_known(L, p);
  if (p->listed) return recall(L, p, identity);
  for (int i = 1; i < n; i++)
    if (lua_upvalueid(L, -2, i) == identity) return upvalue_id(1, i);
  return 0;
}

/* Writes the n-th upvalue, whose value is on top, of the function below it.
 * [-0, +0, e] */
static void write_upvalue(lua_State *L, lunado__packing *p, const char *name,
                          int n) {
  lunado__bytes *bodies = &p->parcel.bodies;
  size_t joined;
  if (strcmp(name, "_ENV") == 0) {
    put_tag(L, bodies, TAG_GLOBALS);
    return;
  }
  joined = find_upvalue(L, p, n);
  if (joined != 0) {
    put_size(L, bodies, TAG_JOIN, joined);
    return;
  }
  if (p->listed)
    remember(L, p, lua_upvalueid(L, -2, n), upvalue_id(p->current, n));
  else
    p->upvalues = n;
  put_value(L, p, -1);
}

/* Writes the function on top.  [-0, +0, e] */
static void write_function(lua_State *L, lunado__packing *p) {
  const char *name;
  int n;
  if (write_code(L, p)) return;
  for (n = 1; (name = lua_getupvalue(L, -1, n)) != NULL; n++) {
    write_upvalue(L, p, name, n);
    lua_pop(L, 1);
  }
  put_tag(L, &p->parcel.bodies, TAG_LAST);
}

/* Writes a reference to the string on top, and adds it to the list of lent
 * strings.  [-0, +0, m] */
static void lend_string(lua_State *L, lunado__packing *p, const char *string,
                        size_t length) {
  int packing = p->known - 1;
  char *at = put_room(L, &p->parcel.headers, 1 + sizeof string + sizeof length);
  if (p->parcel.lent == 0) {
    lua_newtable(L);
    lua_setiuservalue(L, packing, 1);
  }
  lua_getiuservalue(L, packing, 1);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  lua_pop(L, 1);
  *at = TAG_LENT;
  memcpy(at + 1, &string, sizeof string);
  memcpy(at + 1 + sizeof string, &length, sizeof length);
  p->parcel.lent += length;
}

/* Writes the long string on top.  [-0, +0, m] */
static void write_string(lua_State *L, lunado__packing *p) {
  size_t length;
  const char *string = lua_tolstring(L, -1, &length);
  if (length < LUNADO_LENT_STRING || !p->route->lends)
    put_bytes(L, &p->parcel.headers, TAG_BYTES, string, length);
  else
    lend_string(L, p, string, length);
}

/* Writes object number p->current.  [-0, +0, e] */
static void write_object(lua_State *L, lunado__packing *p) {
  if (p->listed)
    lua_rawgeti(L, p->known, (lua_Integer)p->current);
  else
    lua_pushvalue(L, p->known);
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
  lua_pop(L, 3);
  return &p->parcel;
}
