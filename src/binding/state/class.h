/* SPDX-License-Identifier: MIT */
/* class.h - metatables of userdata, and the test for them. */
#ifndef LUNADO_BINDING_STATE_CLASS_H
#define LUNADO_BINDING_STATE_CLASS_H

#include "binding/state/realm.h"

/* Pushes the metatable `name`, and returns its identity.  The first use creates
 * it, with `metamethods` and with a table of `methods` as __index.  The
 * registry holds it under its name and under its identity.  [-0, +1, m] */
const void *lunado__class_new(lua_State *L, const char *name,
                              const luaL_Reg *methods,
                              const luaL_Reg *metamethods);

/* Makes a metatable as lunado__class_new does, but puts it into the slot, and
 * returns its identity.  luv stores callbacks in the registry, and crashes if
 * memory is short when the registry grows: so each entry there may matter.
 * [-0, +0, m] */
const void *lunado__class_new_in_slot(lua_State *L, lunado_realm *realm,
                                      int slot, const char *name,
                                      const luaL_Reg *methods,
                                      const luaL_Reg *metamethods);

/* Sets the metatable of the userdata on top to the one that lunado__class_new
 * returned.  [-0, +0, m] */
void lunado__class_set(lua_State *L, const void *mt);

/* Returns the userdata at idx if `mt` is its metatable, else NULL.  This is how
 * the type of a userdata is tested, with an identity of realm->types; the few
 * places that test otherwise say why.  [-0, +0, -] */
static inline void *lunado__toclass(lua_State *L, int idx, const void *mt) {
  void *object = lua_touserdata(L, idx);
  if (object == NULL || !lua_getmetatable(L, idx)) return NULL;
  if (lua_topointer(L, -1) != mt) object = NULL;
  lua_pop(L, 1);
  return object;
}

/* Pushes a userdata of zeros that only C uses: all it has is the finalizer `gc`
 * and `values` user values.  `name` is static.  The registry gets the metatable
 * only when it is complete, so if memory runs out before that, the next call
 * makes it anew.  Works without a realm.  [-0, +1, m] */
void *lunado__class_private(lua_State *L, size_t size, int values,
                            const char *name, lua_CFunction gc);

/* Makes the table on top weak: "k", "v" or "kv".  [-0, +0, m] */
void lunado__class_setweak(lua_State *L, const char *mode);

#endif
