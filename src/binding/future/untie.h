/* SPDX-License-Identifier: MIT */
/* untie.h - releasing the timer, or the place in a wait queue, of a Future that
 * other code has settled. */
#ifndef LUNADO_BINDING_FUTURE_UNTIE_H
#define LUNADO_BINDING_FUTURE_UNTIE_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* To be called when code other than its timer or wait queue has settled the
 * Future at idx, whose kind is LUNADO_KIND_TIED or a later one.  Stops its
 * timer, and releases its place in a wait queue and the Future that it waits
 * for.  A second call does nothing.  [-0, +0, -] */
void lunado__untie(lua_State *L, lunado_realm *realm, int idx);

/* As lunado__untie, for Futures of all kinds. */
static inline void lunado__untie_tied(lua_State *L, lunado_realm *realm,
                                      int idx, const lunado_future *future) {
  if (future->kind >= LUNADO_KIND_TIED) lunado__untie(L, realm, idx);
}

#endif
