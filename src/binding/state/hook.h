/* SPDX-License-Identifier: MIT */
/*
 * hook.h - calls in the middle of a change, which no debug hook may see.
 *
 * Lua calls a hook of the user's for functions of C, too.  Where one of ours is
 * called only so that an error of it is caught, while an object is neither as
 * it was nor as it will be, the hook is off.
 */
#ifndef LUNADO_BINDING_STATE_HOOK_H
#define LUNADO_BINDING_STATE_HOOK_H

#include <lua.h>
#include <stddef.h>

#include "binding/state/realm.h"

typedef struct {
  lua_Hook hook; /* NULL: there is none */
  int mask;
  int count;
} lunado__hook;

/* Takes the hook of the thread off.  [-0, +0, -] */
static inline lunado__hook lunado__hook_off(lua_State *L) {
  lunado__hook self = {lua_gethook(L), 0, 0};
  if (self.hook == NULL) return self;
  self.mask = lua_gethookmask(L);
  self.count = lua_gethookcount(L);
  lua_sethook(L, NULL, 0, 0);
  return self;
}

/* Puts it back.  [-0, +0, -] */
static inline void lunado__hook_on(lua_State *L, const lunado__hook *self) {
  if (self->hook != NULL) lua_sethook(L, self->hook, self->mask, self->count);
}

#endif
