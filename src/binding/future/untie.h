/* SPDX-License-Identifier: MIT */
/* untie.h - Futures that other code has settled before their timer or line. */
#ifndef LUNADO_BINDING_FUTURE_UNTIE_H
#define LUNADO_BINDING_FUTURE_UNTIE_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* The Future at idx was settled by other code than its timer or line: it
 * lets its timer go, its place and what it waits for.  To be called for those
 * of a kind from LUNADO_KIND_TIED on, and harmless twice.  [-0, +0, -] */
void lunado__untie(lua_State *L, lunado_realm *realm, int idx);

/* The same for all kinds. */
static inline void lunado__untie_tied(lua_State *L, lunado_realm *realm,
                                      int idx, const lunado_future *future) {
  if (future->kind >= LUNADO_KIND_TIED) lunado__untie(L, realm, idx);
}

#endif
