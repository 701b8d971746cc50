/* SPDX-License-Identifier: MIT */
/* finding.c - what a read wants, looked for in the bytes that have come. */
#include "binding/stream/finding.h"

#include <stdio.h>

#include "binding/error/exception.h"

/* The default of max_buffer_size: how many bytes a read may wait for. */
#define MAX_BUFFER ((size_t)100 * 1024 * 1024)

/* Pushes the text in quotes, as Lua's "%q" writes it, on one line. */
static void push_quoted(lua_State *L, const char *text, size_t length) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  luaL_addchar(&buffer, '"');
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    char escaped[8];
    if (c == '\n')
      luaL_addstring(&buffer, "\\n");
    else if (c == '"' || c == '\\') {
      luaL_addchar(&buffer, '\\');
      luaL_addchar(&buffer, (char)c);
    } else if (c < ' ' || c == 127) {
      (void)snprintf(escaped, sizeof escaped,
                     i + 1 < length && text[i + 1] >= '0' && text[i + 1] <= '9'
                         ? "\\%03d"
                         : "\\%d",
                     c);
      luaL_addstring(&buffer, escaped);
    } else {
      luaL_addchar(&buffer, (char)c);
    }
  }
  luaL_addchar(&buffer, '"');
  luaL_pushresult(&buffer);
}

/* For a read that must end within `max` bytes, and does not: pushes its error,
 * and returns LUNADO_FIND_NEVER. */
static ptrdiff_t exceeds(lua_State *L, int idx, lunado_iostream *self) {
  int top = lua_gettop(L);
  const char *delimiter = "\n";
  size_t length = 1;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_getiuservalue(L, idx, IOSTREAM_WHAT);
  if (self->want == IOSTREAM_DELIMITER)
    delimiter = lua_tolstring(L, -1, &length);
  push_quoted(L, delimiter, length);
  lua_pushfstring(L, "delimiter %s not found within %I bytes",
                  lua_tostring(L, -1), (LUAI_UACINT)self->count);
  lunado__exception_push(L, self->loop->realm, LUNADO_E_UNSATISFIABLE_READ,
                         "%s", lua_tostring(L, -1));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return LUNADO_FIND_NEVER;
}

/* Returns n, or LUNADO_FIND_NOT_YET if n is 0; LUNADO_FIND_NEVER, with the
 * error on top, if that is beyond `max`. */
static ptrdiff_t within(lua_State *L, int idx, lunado_iostream *self,
                        size_t n) {
  size_t size = n > 0 ? n : lunado_bytes_size(&self->in);
  if (size > self->count) return exceeds(L, idx, self);
  return n > 0 ? (ptrdiff_t)n : LUNADO_FIND_NOT_YET;
}

static ptrdiff_t find_bytes(lunado_iostream *self) {
  size_t size = lunado_bytes_size(&self->in);
  if (size >= self->count) return (ptrdiff_t)self->count;
  return self->partial && size > 0 ? (ptrdiff_t)size : LUNADO_FIND_NOT_YET;
}

static ptrdiff_t find_delimiter(lua_State *L, int idx, lunado_iostream *self) {
  size_t length, n;
  const char *delimiter;
  lua_getiuservalue(L, idx, IOSTREAM_WHAT);
  delimiter = lua_tolstring(L, -1, &length);
  n = lunado_bytes_find(&self->in, delimiter, length);
  lua_pop(L, 1);
  return within(L, idx, self, n);
}

/* Calls match(object), which returns the number of bytes, or nil, or nil and an
 * error. */
static ptrdiff_t find_match(lua_State *L, int idx) {
  ptrdiff_t n = LUNADO_FIND_NOT_YET;
  lua_getiuservalue(L, idx, IOSTREAM_WHAT);
  lua_getiuservalue(L, idx, IOSTREAM_OBJECT);
  lua_call(L, 1, 2);
  if (lua_isinteger(L, -2)) n = (ptrdiff_t)lua_tointeger(L, -2);
  if (!lua_isnil(L, -1)) {
    lua_remove(L, -2);
    return LUNADO_FIND_NEVER;
  }
  lua_pop(L, 2);
  return n;
}

ptrdiff_t lunado__finding_find(lua_State *L, int idx, lunado_iostream *self) {
  switch (self->want) {
  case IOSTREAM_BYTES:
    return find_bytes(self);
  case IOSTREAM_LINE:
    return within(L, idx, self, lunado_bytes_find(&self->in, "\n", 1));
  case IOSTREAM_DELIMITER:
    return find_delimiter(L, idx, self);
  case IOSTREAM_MATCH:
    return find_match(L, idx);
  default:
    return LUNADO_FIND_NOT_YET;
  }
}

bool lunado__finding_is_hopeless(lua_State *L, int idx, lunado_iostream *self) {
  size_t size = lunado_bytes_size(&self->in);
  if (size == 0 ||
      size <= lunado__iostream_limit(L, idx, "max_buffer_size", MAX_BUFFER))
    return false;
  lunado__exception_push(L, self->loop->realm, LUNADO_E_STREAM_BUFFER_FULL,
                         "Reached maximum read buffer size");
  return true;
}
