/* SPDX-License-Identifier: MIT */
/* context.h - the current stack contexts. */
#ifndef LUNADO_BINDING_STATE_CONTEXT_H
#define LUNADO_BINDING_STATE_CONTEXT_H

#include "binding/state/realm.h"

/* Replaces the callable at idx by a function that calls it within the stack
 * contexts that are current now.  [-0, +0, e] */
void lunado__context_wrap(lua_State *L, const lunado_realm *realm, int idx);

/* Like lunado__context_wrap, but leaves the callable unchanged, at no cost, if
 * no contexts are current.  [-0, +0, e] */
static inline void lunado__context_wrap_if_any(lua_State *L,
                                               const lunado_realm *realm,
                                               int idx) {
  if (realm->contexts.current != NULL) lunado__context_wrap(L, realm, idx);
}

/* If lunado__context_wrap or core.on_behalf created the function at idx,
 * replaces it by the callable that it was created for; otherwise leaves the
 * value unchanged.  [-0, +0, -] */
void lunado__context_unwrap(lua_State *L, const lunado_realm *realm, int idx);

/* Makes the value on top the current contexts; false means that there are none.
 * [-1, +0, -] */
void lunado__context_set(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.stack_context to the table on top. */
void lunado__context_functions(lua_State *L);

#endif
