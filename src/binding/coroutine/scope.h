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

#include "binding/state/class.h"
#include "binding/state/realm.h"

typedef enum {
  LUNADO_SCOPE_TIMEOUT, /* is cancelled at its deadline */
  LUNADO_SCOPE_GROUP,   /* a TaskGroup's */
  LUNADO_SCOPE_SHIELD   /* holds off the notices of the scopes around it */
} lunado_scope_kind;

/* User values of a scope: its task, while it is open; the scope around it, or
 * the notice for the whole coroutine, or nil; its notice, once it is cancelled;
 * of a group's, the group (group.h). */
enum {
  SCOPE_TASK = 1,
  SCOPE_OUTER,
  SCOPE_NOTICE,
  SCOPE_GROUP,
  SCOPE_VALUES = SCOPE_GROUP
};

typedef struct {
  lunado_timer timer;  /* of a timeout */
  lunado_ioloop *loop; /* valid while the timer is running */
  uint32_t anchor;     /* of the scope, while the timer is running */
  uint8_t kind;        /* lunado_scope_kind */
  bool open;           /* it is in the list of its task */
  bool cancelled;      /* it has a notice */
  bool expired;        /* its deadline has passed while it was open */
} lunado_scope;

/* The scope at idx; NULL if the value there is what ends a list of scopes.
 * [-0, +0, -] */
static inline lunado_scope *lunado__scope_at(lua_State *L,
                                             const lunado_realm *realm,
                                             int idx) {
  return lunado__toclass(L, idx, realm->types.scope);
}

/* Ends the scope on top, the innermost of a coroutine that has ended without
 * closing it, and those around it, and the groups to which they belong.
 * Replaces it by what ends the list: a notice or nil.  [-1, +1, -] */
void lunado__scope_abandon(lua_State *L, lunado_realm *realm);

/* Pushes an open scope for the group at idx.  Raises where lunado does not run
 * the coroutine.  [-0, +1, v] */
void lunado__scope_push_group(lua_State *L, lunado_realm *realm, int idx);

/* Cancels the scope at idx with the notice on top, and pops the notice.  Does
 * nothing else if the scope is closed or was cancelled.  [-1, +0, -] */
void lunado__scope_cancel(lua_State *L, lunado_realm *realm, int idx);

/* True if the value at `err` is the error of the scope's own notice.
 * [-0, +0, -] */
bool lunado__scope_is_own(lua_State *L, int idx, int err);

/* True if the coroutine that opened the scope at idx is running, and can wait.
 * [-0, +0, -] */
bool lunado__scope_is_inside(lua_State *L, const lunado_realm *realm, int idx);

/* Raises if the scope at idx is open, and L is not the coroutine that has
 * opened it.  [-0, +0, v] */
void lunado__scope_check_thread(lua_State *L, int idx);

/* Closes the scope at idx, and those within it.  Returns true if its coroutine
 * is running, and not being closed by coroutine.close.  Raises if another
 * coroutine than its own calls this.  [-0, +0, v] */
bool lunado__scope_close(lua_State *L, lunado_realm *realm, int idx);

/* Raises the error of the notice that is due for the running coroutine, if
 * there is one.  [-0, +0, v] */
void lunado__scope_raise_due(lua_State *L, lunado_realm *realm);

/* Makes the class of scopes, once per state.  [-0, +0, m] */
void lunado__scope_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__scope_functions(lua_State *L);

#endif
