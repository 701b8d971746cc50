/* SPDX-License-Identifier: MIT */
/* failure.h - OpenSSL's errors, kept until Lua asks for them. */
#ifndef LUNADO_TLS_FAILURE_H
#define LUNADO_TLS_FAILURE_H

#include <lua.h>
#include <stdbool.h>

typedef struct {
  bool is_set;
  unsigned long code; /* OpenSSL's; 0: it has reported none */
  long verify; /* why the peer's certificate was refused; 0: it was not */
  const char *reason; /* static; NULL: that of the code */
} lunado_failure;

/* Takes an error of this thread's queue, which is empty afterwards: the first
 * one, which says why something of a file was not found; or the last one, which
 * says what has ended a connection.  `otherwise` (static) is the reason if the
 * queue is empty. */
lunado_failure lunado__failure_first(const char *otherwise);
lunado_failure lunado__failure_last(const char *otherwise);

/* Pushes { reason =, library =, code =, verify_code =, verify_message = },
 * without the fields that do not apply.  [-0, +1, m] */
void lunado__failure_push(lua_State *L, const lunado_failure *failure);

#endif
