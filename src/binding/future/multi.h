/* SPDX-License-Identifier: MIT */
/* multi.h - a Future of the results of many. */
#ifndef LUNADO_BINDING_FUTURE_MULTI_H
#define LUNADO_BINDING_FUTURE_MULTI_H

#include "binding/future/future.h"
#include "binding/state/realm.h"
#include "core/multi.h"

/* Pushes the functions of lunado.gen about many Futures into the table on
 * top. */
void lunado__multi_functions(lua_State *L);

/* Pushes a Future of the table of the results of the yieldables in the table
 * at idx, with quiet_exceptions at `quiet` (0: none).  [-0, +1, e] */
void lunado__multi_new(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* The same for a table that is nested `depth` deep in others, and for a Future
 * that only its waiter can reach.  [-0, +1, e] */
void lunado__multi_nested(lua_State *L, lunado_realm *realm, int idx,
                          int depth);

/* Replaces the list of n >= 2 yieldables on top by a Future with n results.
 * [-1, +1, e] */
void lunado__multi_spread(lua_State *L, lunado_realm *realm, int n);

/* True for a multi that only its one waiter can reach, or that has none. */
static inline bool lunado__multi_is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return future->flags & LUNADO_IS_PRIVATE &&
         (waiter == NULL || waiter->next == waiter);
}

/* Takes what the private multi at idx waits for back from its children.
 * [-0, +0, -] */
void lunado__multi_dissolve(lua_State *L, int idx);

/* Marks the children of the private multi at idx as lunado__late does.
 * [-0, +0, -] */
void lunado__multi_late(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* Pushes the table of the children of the Future at idx, which is pending and
 * of kind LUNADO_KIND_MULTI.  [-0, +1, -] */
void lunado__multi_children(lua_State *L, int idx);

/* --- for multilog.c ------------------------------------------------------- */

/* A part is in the holder of the children, a userdata whose user values are
 * these.  A private multi is its own holder.  What gen.multi gives is a Future
 * and no more; its holder is a bond (dependent.h), which the children hold, and
 * the Future, too.
 */

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
static inline void lunado__multi_child(lua_State *L, int results, int keys,
                                       int i) {
  if (keys == 0) {
    lua_rawgeti(L, results, i);
    return;
  }
  lua_rawgeti(L, keys, i);
  lua_rawget(L, results);
}

#endif
