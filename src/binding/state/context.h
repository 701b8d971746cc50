/* SPDX-License-Identifier: MIT */
/* context.h - the place where the current stack contexts are kept. */
#ifndef LUNADO_BINDING_STATE_CONTEXT_H
#define LUNADO_BINDING_STATE_CONTEXT_H

#include "binding/state/realm.h"

/* Replaces the callable at idx by one that runs within the stack contexts that
 * are current now.  [-0, +0, e] */
void lunado__context_wrap(lua_State *L, const lunado_realm *realm, int idx);

/* The same where no context may be current, which costs nothing. */
static inline void lunado__context_capture(lua_State *L,
                                           const lunado_realm *realm, int idx) {
  if (realm->contexts.current != NULL) lunado__context_wrap(L, realm, idx);
}

/* Replaces what lunado__context_wrap or core.on_behalf has made, at idx, by
 * what it was made of; leaves all else alone.  [-0, +0, -] */
void lunado__context_unwrap(lua_State *L, const lunado_realm *realm, int idx);

/* Makes the value on top the current contexts; false: none.  [-1, +0, -] */
void lunado__context_set(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.stack_context to the table on top. */
void lunado__context_functions(lua_State *L);

#endif
