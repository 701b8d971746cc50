/* SPDX-License-Identifier: MIT */
/*
 * multipart.h - what a multi is made of: for multi.c and multilog.c.
 *
 * A part is in the holder of the children, a userdata whose user values are
 * these.  A private multi is its own holder.  What gen.multi gives is a Future
 * and no more; its holder is a bond (dependent.h), which the children hold, and the
 * Future, too.
 */
#ifndef LUNADO_BINDING_FUTURE_MULTIPART_H
#define LUNADO_BINDING_FUTURE_MULTIPART_H

#include "binding/future/future.h"
#include "binding/future/dependent.h"
#include "core/multi.h"

/* User values of a holder, beside that of a Future or bond: the table of
 * results, the keys in order (nil where they are 1 to n), quiet_exceptions. */
enum { MULTI_RESULTS = 2, MULTI_KEYS, MULTI_QUIET, MULTI_VALUES = MULTI_QUIET };

/* That of a Future that is not its own holder, beside its own. */
enum { MULTI_HOLDER = 2 };

typedef struct {
  lunado_multi multi;
  int n;       /* children */
  bool list;   /* their keys are 1 to n */
  bool spread; /* the results are values of their own, not a table */
  bool shared; /* it is in a bond */
  lunado_multi_node *nodes; /* n of them; in the same userdata */
} multi_part;

/* Pushes the holder of the multi at idx, and returns its part. */
multi_part *lunado__multi_push_holder(lua_State *L, int idx);

/* Pushes child number i.  The table of results is at `results`; the keys are at
 * `keys`, 0: they are 1 to n. */
static inline void lunado__multi_get(lua_State *L, int results, int keys,
                                     int i) {
  if (keys == 0) {
    lua_rawgeti(L, results, i);
    return;
  }
  lua_rawgeti(L, keys, i);
  lua_rawget(L, results);
}

/* Logs the errors of the multi at idx but for that of the Failure at `failure`,
 * which it raises, and for quiet ones; also those that the multis among its
 * children have left to it.  [-0, +0, -] */
void lunado__multi_log(lua_State *L, lunado_realm *realm, int idx, int failure);

#endif
