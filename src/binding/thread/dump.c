/* SPDX-License-Identifier: MIT */
/*
 * dump.c - concurrent.dumps: values as a string that another process can load.
 *
 * The values are encoded into a parcel, with all its refusals, and the parcel
 * is written anew, without what only this process understands.
 */
#include "binding/thread/dump.h"

#include <lauxlib.h>
#include <limits.h>
#include <string.h>

#include "binding/thread/code.h"
#include "binding/thread/encode.h"
#include "binding/thread/parcel.h"

/* --- writing -------------------------------------------------------------- */

static void add_size(luaL_Buffer *to, size_t size) {
  for (; size >= 0x80; size >>= 7)
    luaL_addchar(to, (char)(unsigned char)((size & 0x7f) | 0x80));
  luaL_addchar(to, (char)size);
}

static void add_bytes(luaL_Buffer *to, char tag, const char *data,
                      size_t length) {
  luaL_addchar(to, tag);
  add_size(to, length);
  luaL_addlstring(to, data, length);
}

/* Adds eight bytes, the lowest first. */
static void add_word(luaL_Buffer *to, uint64_t word) {
  for (int i = 0; i < 8; i++, word >>= 8)
    luaL_addchar(to, (char)(unsigned char)(word & 0xff));
}

/* --- the parcel ----------------------------------------------------------- */

/* Returns the bytes at *at, and skips them. */
static const char *read_bytes(const char **at, size_t length) {
  const char *data = *at;
  *at += length;
  return data;
}

static size_t read_size(const char **at) {
  size_t size;
  memcpy(&size, read_bytes(at, sizeof size), sizeof size);
  return size;
}

static const lunado__code *read_code(const char **at) {
  const lunado__code *code;
  memcpy(&code, read_bytes(at, sizeof code), sizeof code);
  return code;
}

/* Writes a table's header. */
static void copy_table(luaL_Buffer *to, const char **at) {
  luaL_addchar(to, DUMP_TABLE);
  add_size(to, read_size(at));
  add_size(to, read_size(at));
}

static void copy_code(luaL_Buffer *to, const char **at, char tag) {
  const lunado__code *code = read_code(at);
  add_bytes(to, tag, code->bytes, code->length);
}

/* Writes the name of a class.  What distinguishes it from another class of the
 * same name, from '\r' to the end of a line, is an address of this process. */
static void copy_class(luaL_Buffer *to, const char **at, char tag) {
  size_t length = read_size(at), kept = 0;
  const char *name = read_bytes(at, length);
  bool marked = false;
  int depth = 0;
  char short_name[DUMP_CLASS_NAME];
  for (size_t i = 0; i < length; i++) {
    marked = name[i] == '\r' || (marked && name[i] != '\n');
    if (marked) continue;
    depth += name[i] == '\n';
    if (kept == sizeof short_name || depth > DUMP_CLASS_DEPTH)
      luaL_error(to->L, "cannot send an error in a string whose class has too "
                        "long a name or too many ancestors");
    short_name[kept++] = name[i];
  }
  add_bytes(to, tag, short_name, kept);
}

/* Writes the header at *at. */
static void copy_header(luaL_Buffer *to, const char **at) {
  char tag = *read_bytes(at, 1);
  switch (tag) {
  case TAG_TABLE:
    copy_table(to, at);
    break;
  case TAG_CODE:
    copy_code(to, at, DUMP_FUNCTION);
    break;
  case TAG_KEPT:
    copy_code(to, at, DUMP_BARE);
    break;
  case TAG_CLASS:
    copy_class(to, at, DUMP_CLASS);
    break;
  case TAG_ERROR:
    copy_class(to, at, DUMP_ERROR);
    (void)read_bytes(at, 1); /* TAG_TABLE */
    copy_table(to, at);
    break;
  default: { /* TAG_BYTES: nothing is lent */
    size_t length = read_size(at);
    add_bytes(to, DUMP_BYTES, read_bytes(at, length), length);
  }
  }
}

/* Writes the value at *at, whose tag was read. */
static void copy_value(luaL_Buffer *to, const char **at, char tag) {
  static const char tags[] = {
      [TAG_NIL] = DUMP_NIL,       [TAG_FALSE] = DUMP_FALSE,
      [TAG_TRUE] = DUMP_TRUE,     [TAG_INTEGER] = DUMP_INTEGER,
      [TAG_FLOAT] = DUMP_FLOAT,   [TAG_STRING] = DUMP_STRING,
      [TAG_OBJECT] = DUMP_OBJECT, [TAG_GLOBALS] = DUMP_GLOBALS};
  if (tag == TAG_STRING) {
    size_t length = (unsigned char)*read_bytes(at, 1);
    add_bytes(to, DUMP_STRING, read_bytes(at, length), length);
    return;
  }
  luaL_addchar(to, tags[(unsigned char)tag]);
  if (tag == TAG_INTEGER || tag == TAG_FLOAT) {
    uint64_t word; /* both types have 64 bits */
    memcpy(&word, read_bytes(at, sizeof word), sizeof word);
    add_word(to, word);
  } else if (tag == TAG_OBJECT) {
    add_size(to, read_size(at));
  }
}

/* Writes the upvalues of a function. */
static void copy_upvalues(luaL_Buffer *to, const char **at) {
  char tag;
  while ((tag = *read_bytes(at, 1)) != TAG_LAST) {
    if (tag == TAG_JOIN) {
      size_t id = read_size(at);
      luaL_addchar(to, DUMP_JOIN);
      add_size(to, id >> LUNADO_UPVALUE_BITS);
      add_size(to, id & ((1 << LUNADO_UPVALUE_BITS) - 1));
    } else {
      copy_value(to, at, tag);
    }
  }
  luaL_addchar(to, DUMP_LAST);
}

static void copy_values(luaL_Buffer *to, const char **at, size_t count) {
  while (count-- > 0) {
    char tag = *read_bytes(at, 1);
    copy_value(to, at, tag);
  }
}

/* Writes the fields of a table: the values of the list, then keys and values.
 * The table's header is at *headers. */
static void copy_fields(luaL_Buffer *to, const char **headers,
                        const char **at) {
  size_t length = read_size(headers), fields = read_size(headers);
  copy_values(to, at, length);
  copy_values(to, at, 2 * fields);
}

/* Writes the contents of the object whose header is at *headers. */
static void copy_contents(luaL_Buffer *to, const char **headers,
                          const char **at) {
  char tag = *read_bytes(headers, 1);
  switch (tag) {
  case TAG_ERROR:
    (void)read_bytes(headers, read_size(headers) + 1);
    copy_fields(to, headers, at);
    break;
  case TAG_TABLE:
    copy_fields(to, headers, at);
    break;
  case TAG_CODE:
  case TAG_KEPT:
    (void)read_code(headers);
    if (tag == TAG_CODE) copy_upvalues(to, at);
    break;
  default:
    (void)read_bytes(headers, read_size(headers));
  }
}

static void copy_parcel(luaL_Buffer *to, const lunado__parcel *parcel) {
  const char *headers = parcel->headers.data, *at = parcel->bodies.data;
  add_size(to, (size_t)parcel->count);
  add_size(to, parcel->objects);
  for (size_t i = 0; i < parcel->objects; i++) copy_header(to, &headers);
  copy_values(to, &at, (size_t)parcel->count);
  headers = parcel->headers.data;
  for (size_t i = 0; i < parcel->objects; i++) copy_contents(to, &headers, &at);
}

/* --- dumps ---------------------------------------------------------------- */

static uint64_t word_at(const char *data) {
  uint64_t word = 0;
  for (int i = 7; i >= 0; i--) word = word << 8 | (unsigned char)data[i];
  return word;
}

/* FNV-1a, eight bytes at a time. */
uint64_t lunado__dump_checksum(const char *data, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u ^ length;
  for (; length >= 8; data += 8, length -= 8) {
    hash = (hash ^ word_at(data)) * 0x100000001b3u;
    hash ^= hash >> 32;
  }
  for (; length > 0; data++, length--)
    hash = (hash ^ (unsigned char)*data) * 0x100000001b3u;
  return hash ^ hash >> 29;
}

static void push_name(lua_State *L, const lunado__route *route, int i) {
  (void)route;
  lua_pushfstring(L, "argument #%d", i + 1);
}

/* dumps(...) → a string from which loads makes copies of the values, in another
 * process if need be.  The values are those that submit of an executor sends;
 * raises for any other. */
static int concurrent_dumps(lua_State *L) {
  lunado__route route = {"in a string", push_name, -1, {NULL, NULL}, 1,
                         false,         0};
  lunado__parcel parcel;
  luaL_Buffer to;
  int count = lua_gettop(L);
  (void)lunado__encode(L, 1, count, &route);
  luaL_buffinit(L, &to);
  luaL_addlstring(&to, LUNADO_DUMP_MAGIC, DUMP_MAGIC);
  luaL_addchar(&to, DUMP_FORMAT);
  luaL_addchar(&to, DUMP_LUA);
  copy_parcel(&to, lunado__parcel_at(L, count + 1));
  add_word(&to, lunado__dump_checksum(luaL_buffaddr(&to), luaL_bufflen(&to)));
  luaL_pushresult(&to);
  lunado__parcel_move(L, count + 1, &parcel, NULL);
  lunado__parcel_free(&parcel);
  return 1;
}

static const luaL_Reg functions[] = {{"dumps", concurrent_dumps}, {NULL, NULL}};

void lunado__dump_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
