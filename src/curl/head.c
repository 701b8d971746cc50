/* SPDX-License-Identifier: MIT */
/* head.c - the lines of an answer, or trailers behind its body, for Lua. */
#include "curl/head.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

/* --- characters ----------------------------------------------------------- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Pushes the text from `begin` up to `end`, without the blanks around it. */
static void push_trimmed(lua_State *L, const char *begin, const char *end) {
  while (begin < end && is_space(*begin)) begin++;
  while (begin < end && is_space(end[-1])) end--;
  lua_pushlstring(L, begin, (size_t)(end - begin));
}

/* --- lines ---------------------------------------------------------------- */

/* Replaces the line breaks before lines that begin with blanks, and these
 * blanks, by a space.  Returns the number of bytes that are left. */
static size_t unfold(char *data, size_t n) {
  size_t to = 0;
  for (size_t at = 0; at < n; at++) {
    if (data[at] == '\n' && at + 1 < n && is_blank(data[at + 1])) {
      while (at + 1 < n && is_blank(data[at + 1])) at++;
      if (to > 0 && data[to - 1] == '\r') to--;
      data[to++] = ' ';
    } else {
      data[to++] = data[at];
    }
  }
  return to;
}

static int count_lines(const char *data, const char *end) {
  int count = 0;
  while (count < INT_MAX / 2 &&
         (data = memchr(data, '\n', (size_t)(end - data))) != NULL) {
    data++;
    count++;
  }
  return count;
}

int lunado__head_code(const char *line, size_t n) {
  size_t at = 0;
  int code = 0;
  while (at < n && line[at] != ' ') at++;
  while (at < n && line[at] == ' ') at++;
  for (int i = 0; i < 3 && at < n; i++, at++) {
    if (!is_digit(line[at])) return 0;
    code = code * 10 + (line[at] - '0');
  }
  return code;
}

/* Sets `code` and `reason` of the table on top.  The line is a status line with
 * the code, and ends with a line feed. */
static void set_status(lua_State *L, const char *line, int code) {
  const char *reason;
  while (*line != ' ') line++;
  while (*line == ' ') line++;
  while (is_digit(*line)) line++;
  if (*line == ' ') line++;
  reason = line;
  while (*line != '\r' && *line != '\n') line++;
  lua_pushinteger(L, code);
  lua_setfield(L, -2, "code");
  lua_pushlstring(L, reason, (size_t)(line - reason));
  lua_setfield(L, -2, "reason");
}

/* Appends name and value of the line to the table on top, in which `count`
 * strings are, if the line is a header.  Returns how many are in it then. */
static lua_Integer read_header(lua_State *L, const char *line, const char *end,
                               lua_Integer count) {
  const char *colon = memchr(line, ':', (size_t)(end - line));
  if (colon == NULL || colon == line || is_space(*line)) return count;
  lua_pushlstring(L, line, (size_t)(colon - line));
  lua_rawseti(L, -2, count + 1);
  push_trimmed(L, colon + 1, end);
  lua_rawseti(L, -2, count + 2);
  return count + 2;
}

void lunado__head_push(lua_State *L, char *data, size_t n, int code) {
  const char *line = data, *end;
  lua_Integer count = 0;
  lua_createtable(L, 2 * count_lines(data, data + n), 3);
  lua_pushlstring(L, data, n);
  lua_setfield(L, -2, "text");
  n = unfold(data, n);
  while ((end = memchr(line, '\n', n - (size_t)(line - data))) != NULL) {
    if (line == data && code > 0)
      set_status(L, line, code);
    else
      count = read_header(L, line, end, count);
    line = end + 1;
  }
}
