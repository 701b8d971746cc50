/* SPDX-License-Identifier: MIT */
/*
 * hook.h - protected calls that no debug hook may see.
 *
 * Lua calls the user's debug hook for C functions, too.  The binding calls some
 * of its own C functions only to catch their errors, while an object is halfway
 * through a change.  The hook is off during such a call, so that it never sees
 * the object in that state.
 */
#ifndef LUNADO_BINDING_STATE_HOOK_H
#define LUNADO_BINDING_STATE_HOOK_H

#include <lua.h>
#include <stddef.h>

#include "binding/state/realm.h"

typedef struct {
  lua_Hook hook; /* NULL: the thread has no hook */
  int mask;
  int count;
} lunado__hook;

/* Turns off the debug hook of the thread, and returns it.  [-0, +0, -] */
static inline lunado__hook lunado__hook_off(lua_State *L) {
  lunado__hook self = {lua_gethook(L), 0, 0};
  if (self.hook == NULL) return self;
  self.mask = lua_gethookmask(L);
  self.count = lua_gethookcount(L);
  lua_sethook(L, NULL, 0, 0);
  return self;
}

/* Restores the hook that lunado__hook_off returned.  [-0, +0, -] */
static inline void lunado__hook_on(lua_State *L, const lunado__hook *self) {
  if (self->hook != NULL) lua_sethook(L, self->hook, self->mask, self->count);
}

#endif
