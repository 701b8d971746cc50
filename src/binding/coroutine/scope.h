/* SPDX-License-Identifier: MIT */
/*
 * scope.h - scopes: parts of a coroutine that can be cancelled, or in which
 * nothing from outside is raised.
 *
 * A scope is a to-be-closed userdata.  It opens in the running coroutine, and
 * is in the list of its task (cancel.h) until it is closed.
 */
#ifndef LUNADO_BINDING_COROUTINE_SCOPE_H
#define LUNADO_BINDING_COROUTINE_SCOPE_H

#include "binding/state/realm.h"

typedef enum {
  LUNADO_SCOPE_TIMEOUT, /* is cancelled at its deadline */
  LUNADO_SCOPE_GROUP,   /* a TaskGroup's */
  LUNADO_SCOPE_SHIELD   /* holds off the notices of the scopes around it */
} lunado_scope_kind;

/* User values of a scope: its task, while it is open; the scope around it, or
 * the notice for the whole coroutine, or nil; its notice, once it is cancelled;
 * of a group, a function(notice) that cancels its children. */
enum {
  SCOPE_TASK = 1,
  SCOPE_OUTER,
  SCOPE_NOTICE,
  SCOPE_CHILDREN,
  SCOPE_VALUES = SCOPE_CHILDREN
};

typedef struct {
  lunado_timer timer;  /* of a timeout */
  lunado_ioloop *loop; /* valid while the timer is running */
  uint32_t anchor;     /* of the scope, while the timer is running */
  uint8_t kind;        /* lunado_scope_kind */
  bool open;           /* it is in the list of its task */
  bool cancelled;      /* it has a notice */
  bool expired;        /* its deadline has passed while it was open */
  bool told;           /* of a group: SCOPE_CHILDREN was called */
} lunado_scope;

/* Ends the scope at idx, whose coroutine has ended without closing it.
 * [-0, +0, -] */
void lunado__scope_abandon(lua_State *L, int idx);

/* Makes the class of scopes, once per state.  [-0, +0, m] */
void lunado__scope_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__scope_functions(lua_State *L);

#endif
