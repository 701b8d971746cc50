/* SPDX-License-Identifier: MIT */
/* multi.h - gen.multi: one Future for the results of many. */
#ifndef LUNADO_BINDING_FUTURE_MULTI_H
#define LUNADO_BINDING_FUTURE_MULTI_H

#include "binding/future/future.h"
#include "binding/state/realm.h"
#include "core/multi.h"

/* Adds gen.multi, Multi and multi_future to the table on top. */
void lunado__multi_functions(lua_State *L);

/* Pushes a Future for the yieldables in the table at idx.  Its result is a
 * table of their results under the same keys.  The quiet_exceptions are at
 * `quiet` (0: none).  [-0, +1, e] */
void lunado__multi_new(lua_State *L, lunado_realm *realm, int idx, int quiet);

/* As lunado__multi_new, for a table nested `depth` deep in other tables and for
 * a private multi, which only its waiter can reach.  [-0, +1, e] */
void lunado__multi_nested(lua_State *L, lunado_realm *realm, int idx,
                          int depth);

/* Replaces the list of n >= 2 yieldables on top by a private multi with n
 * results.  [-1, +1, e] */
void lunado__multi_spread(lua_State *L, lunado_realm *realm, int n);

/* True for a private multi with at most one waiter. */
static inline bool lunado__multi_is_sole(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  return future->flags & LUNADO_IS_PRIVATE &&
         (waiter == NULL || waiter->next == waiter);
}

/* Makes the private multi at idx stop waiting for its children.  [-0, +0, -] */
void lunado__multi_dissolve(lua_State *L, int idx);

/* Marks the children of the private multi at idx as lunado__timedout_mark does.
 * [-0, +0, -] */
void lunado__multi_mark_timedout(lua_State *L, lunado_realm *realm, int idx,
                                 int quiet);

/* Pushes the next child after number *i for which the pending multi at idx
 * waits, sets *i to its number, and returns true.  Pushes nothing and returns
 * false if there is none.  [-0, +(0|1), -] */
bool lunado__multi_push_waited(lua_State *L, int idx, int *i);

/* Makes the pending multi at idx stop waiting for its child number i; the
 * failed Future at `failed` takes the child's place.  If it waited for no other
 * child, the multi is settled.  [-0, +0, -] */
void lunado__multi_replace(lua_State *L, lunado_realm *realm, int idx, int i,
                           int failed);

/* Pushes the table of the children of the pending Future at idx, which is of
 * kind LUNADO_KIND_MULTI.  [-0, +1, -] */
void lunado__multi_children(lua_State *L, int idx);

/* --- for multilog.c ------------------------------------------------------- */

/* A multi_part is inside the holder, the userdata that holds the children in
 * its user values.  A private multi is its own holder.  The Future that
 * gen.multi returns is shared: its holder is a bond (dependent.h), which the
 * children and the Future hold. */

/* User values of a holder, besides that of a Future or bond: the table of
 * results; the keys in order, or nil if they are 1 to n; quiet_exceptions. */
enum { MULTI_RESULTS = 2, MULTI_KEYS, MULTI_QUIET, MULTI_VALUES = MULTI_QUIET };

/* User value of a shared multi, besides that of a Future: the holder. */
enum { MULTI_HOLDER = 2 };

typedef struct {
  lunado_multi multi;
  int n;                    /* children */
  bool list;                /* the keys are 1 to n */
  bool spread;              /* the Future has n results, not a table of them */
  bool shared;              /* the part is in a bond */
  lunado_multi_node *nodes; /* one per child; in the same userdata */
} multi_part;

/* Pushes the holder of the multi at idx and returns the holder's part. */
multi_part *lunado__multi_push_holder(lua_State *L, int idx);

/* Pushes child number i.  The table of results is at `results`.  The list of
 * keys is at `keys`; 0 means that the keys are 1 to n. */
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
