/* SPDX-License-Identifier: MIT */
/* head.h - the lines of an answer, or trailers behind its body, for Lua. */
#ifndef LUNADO_CURL_HEAD_H
#define LUNADO_CURL_HEAD_H

#include <lua.h>
#include <stddef.h>

/* Pushes a table:
 *   1, 2, 3, 4, ...   name and value of each header, without the blanks around
 *                     the value
 *   code, reason      of the status line; nil: there is none
 *   text              all lines as they came
 * A line that continues another one is part of that.  Lines that are no headers
 * are skipped, as browsers do, and so is a line without its end.  The data is
 * changed.  `code` is that of the first line if it is a status line, 0 if it is
 * none.  [-0, +1, m] */
void lunado__head_push(lua_State *L, char *data, size_t n, int code);

/* Returns the code of a status line, which needs no end; 0: it has none. */
int lunado__head_code(const char *line, size_t n);

#endif
