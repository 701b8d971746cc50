/* SPDX-License-Identifier: MIT */
/*
 * undump.c - concurrent.loads: the values of a string that dumps has made.
 *
 * The string may be anything: the checksum finds what was damaged on the way,
 * and each length and reference is checked all the same, so that a string
 * without functions can do no harm.  Lua does not check the bytecode of
 * functions.
 */
#include "binding/thread/undump.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "binding/error/classname.h"
#include "binding/thread/dump.h"

/* A read position in the string, which is argument 1. */
typedef struct {
  lua_State *L;
  const char *at;  /* the next byte */
  const char *end; /* of the part that is read */
  size_t count;    /* number of objects */
  size_t expected; /* the least number of bytes that the tables whose headers
                      were read still need */
} reader;

/* The table number -> object. */
enum { OBJECTS = 2 };

static int corrupted(lua_State *L) {
  return luaL_argerror(L, 1, "the string is truncated or corrupted");
}

/* --- reading -------------------------------------------------------------- */

static size_t bytes_left(const reader *r) { return (size_t)(r->end - r->at); }

/* Returns the next `length` bytes and skips them. */
static const char *read_bytes(reader *r, size_t length) {
  const char *at = r->at;
  if (length > bytes_left(r)) corrupted(r->L);
  r->at += length;
  return at;
}

static char read_tag(reader *r) { return *read_bytes(r, 1); }

static size_t read_size(reader *r) {
  size_t size = 0;
  for (unsigned shift = 0; shift < sizeof size * CHAR_BIT; shift += 7) {
    size_t byte = (unsigned char)*read_bytes(r, 1), bits = byte & 0x7f;
    if (bits << shift >> shift != bits) break; /* too large */
    size |= bits << shift;
    if (byte < 0x80) return size;
  }
  return (size_t)corrupted(r->L);
}

/* Returns the size of something that has at least `each` bytes for each
 * element, which are still to come. */
static size_t read_count(reader *r, size_t each) {
  size_t count = read_size(r);
  if (count > bytes_left(r) / each) corrupted(r->L);
  return count;
}

static uint64_t read_word(reader *r) {
  const char *at = read_bytes(r, 8);
  uint64_t word = 0;
  for (int i = 7; i >= 0; i--) word = word << 8 | (unsigned char)at[i];
  return word;
}

static size_t read_object(reader *r) {
  size_t number = read_size(r);
  if (number < 1 || number > r->count) corrupted(r->L);
  return number;
}

/* --- values --------------------------------------------------------------- */

static void push_number(reader *r, char tag) {
  uint64_t word = read_word(r);
  lua_Number number;
  if (tag == DUMP_INTEGER) {
    lua_pushinteger(r->L, (lua_Integer)word);
    return;
  }
  memcpy(&number, &word, sizeof number);
  lua_pushnumber(r->L, number);
}

/* Pushes the value with this tag.  [-0, +1, v] */
static void push_value(reader *r, char tag) {
  lua_State *L = r->L;
  switch (tag) {
  case DUMP_NIL:
    lua_pushnil(L);
    break;
  case DUMP_FALSE:
  case DUMP_TRUE:
    lua_pushboolean(L, tag == DUMP_TRUE);
    break;
  case DUMP_INTEGER:
  case DUMP_FLOAT:
    push_number(r, tag);
    break;
  case DUMP_STRING: {
    size_t length = read_size(r);
    lua_pushlstring(L, read_bytes(r, length), length);
    break;
  }
  case DUMP_OBJECT:
    lua_rawgeti(L, OBJECTS, (lua_Integer)read_object(r));
    break;
  case DUMP_GLOBALS:
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    break;
  default:
    corrupted(L);
  }
}

static void push_next_value(reader *r) { push_value(r, read_tag(r)); }

/* --- making objects ------------------------------------------------------- */

/* Tables of the size that their headers claim must have their elements in the
 * rest of the string, all together. */
static void make_table(reader *r) {
  size_t length = read_count(r, 1), fields = read_count(r, 2);
  r->expected += length + 2 * fields;
  if (r->expected > bytes_left(r) || r->expected > INT_MAX) corrupted(r->L);
  lua_createtable(r->L, (int)length, (int)fields);
}

static void make_function(reader *r) {
  size_t length = read_size(r);
  const char *code = read_bytes(r, length);
  if (luaL_loadbufferx(r->L, code, length, "=?", "b") == LUA_OK) return;
  lua_pushfstring(r->L, "cannot load a function: %s", lua_tostring(r->L, -1));
  luaL_argerror(r->L, 1, lua_tostring(r->L, -1));
}

/* Pushes a class.  Its name is lines: the class's own name and those of its
 * ancestors. */
static void make_class(reader *r) {
  size_t length = read_size(r);
  const char *name = read_bytes(r, length);
  int depth = 0;
  for (size_t i = 0; i < length; i++) {
    if (name[i] == '\0' || name[i] == '\r') corrupted(r->L);
    depth += name[i] == '\n';
    if (depth > DUMP_CLASS_DEPTH) corrupted(r->L);
  }
  if (length == 0 || length > DUMP_CLASS_NAME || name[length - 1] != '\n')
    corrupted(r->L);
  lunado__classname_find(r->L, name, length);
}

static void make_error(reader *r) {
  make_class(r);
  if (read_tag(r) != DUMP_TABLE) corrupted(r->L);
  make_table(r);
  lua_insert(r->L, -2);
  lua_setmetatable(r->L, -2);
}

/* Pushes the object whose header is next.  [-0, +1, v] */
static void make_object(reader *r) {
  switch (read_tag(r)) {
  case DUMP_TABLE:
    make_table(r);
    break;
  case DUMP_FUNCTION:
  case DUMP_BARE: /* Lua has set its _ENV */
    make_function(r);
    break;
  case DUMP_BYTES: {
    size_t length = read_size(r);
    lua_pushlstring(r->L, read_bytes(r, length), length);
    break;
  }
  case DUMP_CLASS:
    make_class(r);
    break;
  case DUMP_ERROR:
    make_error(r);
    break;
  default:
    corrupted(r->L);
  }
}

/* --- filling objects ------------------------------------------------------ */

/* Fills the table on top, whose header is next in `headers`. */
static void fill_table(reader *headers, reader *r) {
  lua_State *L = r->L;
  size_t length = read_size(headers), fields = read_size(headers);
  for (size_t i = 1; i <= length; i++) {
    push_next_value(r);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  for (size_t i = 0; i < fields; i++) {
    push_next_value(r);
    if (lua_isnil(L, -1) || !lua_rawequal(L, -1, -1)) corrupted(L); /* NaN */
    push_next_value(r);
    lua_rawset(L, -3);
  }
}

/* True if the value at idx is a Lua function with an n-th upvalue. */
static bool has_upvalue(lua_State *L, int idx, size_t n) {
  if (!lua_isfunction(L, idx) || n < 1 || n > UCHAR_MAX ||
      lua_getupvalue(L, idx, (int)n) == NULL)
    return false;
  lua_pop(L, 1);
  return true;
}

/* Makes the n-th upvalue of the function on top the same variable as another
 * one. */
static void join_upvalue(reader *r, int n) {
  lua_State *L = r->L;
  size_t other;
  lua_rawgeti(L, OBJECTS, (lua_Integer)read_object(r));
  other = read_size(r);
  if (!has_upvalue(L, -1, other)) corrupted(L);
  lua_upvaluejoin(L, -2, n, -1, (int)other);
  lua_pop(L, 1);
}

/* Sets the upvalues of the function on top. */
static void fill_function(reader *r) {
  char tag;
  for (int n = 1; (tag = read_tag(r)) != DUMP_LAST; n++) {
    if (!has_upvalue(r->L, -1, (size_t)n)) corrupted(r->L);
    if (tag == DUMP_JOIN) {
      join_upvalue(r, n);
    } else {
      push_value(r, tag);
      (void)lua_setupvalue(r->L, -2, n);
    }
  }
}

/* Fills the object on top, whose header is next in `headers`. */
static void fill_object(reader *headers, reader *r) {
  char tag = read_tag(headers);
  if (tag == DUMP_ERROR) {
    (void)read_bytes(headers, read_size(headers));
    tag = read_tag(headers);
  }
  if (tag == DUMP_TABLE) {
    fill_table(headers, r);
    return;
  }
  (void)read_bytes(headers, read_size(headers));
  if (tag == DUMP_FUNCTION) fill_function(r);
}

/* --- loads ---------------------------------------------------------------- */

/* Returns a reader of what is between the head and the checksum of argument 1,
 * after checking both. */
static reader check_string(lua_State *L) {
  size_t length;
  const char *data;
  reader r = {.L = L};
  int lua;
  luaL_checktype(L, 1, LUA_TSTRING);
  data = lua_tolstring(L, 1, &length);
  if (length < DUMP_HEAD || memcmp(data, LUNADO_DUMP_MAGIC, DUMP_MAGIC) != 0)
    luaL_argerror(L, 1, "not a string that dumps has made");
  if (data[DUMP_MAGIC] != DUMP_FORMAT)
    luaL_argerror(L, 1, "the string was made by another version of lunado");
  lua = (unsigned char)data[DUMP_MAGIC + 1];
  if (lua != DUMP_LUA)
    luaL_argerror(
        L, 1,
        lua_pushfstring(L, "the string was made by Lua %d.%d, this is %s",
                        lua / 16, lua % 16, LUA_VERSION));
  if (length < DUMP_HEAD + DUMP_CHECKSUM) corrupted(L);
  length -= DUMP_CHECKSUM;
  r.at = data + length;
  r.end = r.at + DUMP_CHECKSUM;
  if (read_word(&r) != lunado__dump_checksum(data, length)) corrupted(L);
  r.at = data + DUMP_HEAD;
  r.end = data + length;
  return r;
}

/* Pushes the table of the objects, none of which is filled yet. */
static void make_objects(reader *r) {
  lua_createtable(r->L, r->count < INT_MAX ? (int)r->count : INT_MAX, 0);
  for (size_t i = 1; i <= r->count; i++) {
    make_object(r);
    lua_rawseti(r->L, OBJECTS, (lua_Integer)i);
  }
}

static void fill_objects(reader *headers, reader *r) {
  for (size_t i = 1; i <= r->count; i++) {
    lua_rawgeti(r->L, OBJECTS, (lua_Integer)i);
    fill_object(headers, r);
    lua_pop(r->L, 1);
  }
}

/* loads(string) → copies of the values that dumps was given.  Raises if the
 * string is not what dumps has made with this version of Lua. */
static int concurrent_loads(lua_State *L) {
  reader r = check_string(L), headers;
  size_t values;
  lua_settop(L, 1);
  values = read_count(&r, 1);
  r.count = read_count(&r, 1);
  if (values > INT_MAX - LUA_MINSTACK) corrupted(L);
  luaL_checkstack(L, (int)values + LUA_MINSTACK, "too many values");
  headers = r;
  make_objects(&r);
  for (size_t i = 0; i < values; i++) push_next_value(&r);
  fill_objects(&headers, &r);
  if (r.at != r.end) corrupted(L);
  return (int)values;
}

static const luaL_Reg functions[] = {{"loads", concurrent_loads}, {NULL, NULL}};

void lunado__undump_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
