/* SPDX-License-Identifier: MIT */
/*
 * dependent.c - the bonds of Futures that get their outcome from others.
 *
 * A dependent, its bonds and its witness find each other through a list with
 * weak values: the dependent, followed by those bonds that only their sources
 * hold.  Each dependent has its own list, because a Lua table never shrinks by
 * itself.
 *
 * The witness of a ticket is in an ephemeron table, and the ticket is not
 * flagged as a dependent: its bonds never hold it.
 */
#include "binding/future/dependent.h"

#include "binding/future/future.h"
#include "binding/state/class.h"

/* User values of a witness: the dependent, which the witness holds until the
 * bonds have forgotten their sources; the bond that the dependent holds, or
 * nil; the list. */
enum { WITNESS_DEPENDENT = 1, WITNESS_BOND, WITNESS_LIST };

/* Indices of the list: the dependent, and the first bond. */
enum { LIST_DEPENDENT = 1, LIST_BONDS };

typedef struct {
  lua_Integer last; /* last index of the list that is in use */
} witness;

/* Its address is the key of the witness in a table of owners. */
static const char witness_key = 0;

/* --- looking -------------------------------------------------------------- */

void lunado__dependent_push(lua_State *L, int idx) {
  if (lua_getiuservalue(L, idx, LUNADO_BOND_DEPENDENT) != LUA_TTABLE) return;
  lua_rawgeti(L, -1, LIST_DEPENDENT);
  lua_remove(L, -2);
}

/* Pushes the witness of the pending Future at idx, or nil. */
static witness *push_witness(lua_State *L, int idx) {
  const lunado_future *future = lua_touserdata(L, idx);
  if (future->kind == LUNADO_KIND_TICKET) {
    lunado__getslot(L, lunado__realm_find(L), LUNADO_SLOT_CHAINED);
    lua_pushvalue(L, idx);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
  }
  if (!(future->flags & LUNADO_IS_DEPENDENT)) {
    lua_pushnil(L);
    return NULL;
  }
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lua_rawgetp(L, -1, &witness_key);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

/* --- holding -------------------------------------------------------------- */

/* Sets the value at `value` as user value 1 of the bond on top, and pops the
 * bond. */
static void set_dependent(lua_State *L, int value) {
  lua_pushvalue(L, value);
  lua_setiuservalue(L, -2, LUNADO_BOND_DEPENDENT);
  lua_pop(L, 1);
}

void lunado__dependent_hold(lua_State *L, int idx, bool hold) {
  int top = lua_gettop(L), list = top + 2;
  int value = hold ? idx : list;
  const witness *self;
  if (!lua_checkstack(L, 8)) return;
  self = push_witness(L, idx);
  lua_getiuservalue(L, top + 1, WITNESS_LIST);
  if (lua_getiuservalue(L, top + 1, WITNESS_BOND) != LUA_TNIL)
    set_dependent(L, value);
  for (lua_Integer i = LIST_BONDS; i <= self->last; i++) {
    lua_settop(L, list);
    if (lua_rawgeti(L, list, i) != LUA_TNIL) set_dependent(L, value);
  }
  lua_settop(L, top);
}

void lunado__dependent_move(lua_State *L, int from, int to) {
  lua_rawgetp(L, from, &witness_key);
  if (lua_isnil(L, -1))
    lua_pop(L, 1);
  else
    lua_rawsetp(L, to, &witness_key);
}

/* --- binding -------------------------------------------------------------- */

/* Pushes a new witness of the Future at idx, and the witness's list. */
static witness *push_new_witness(lua_State *L, lunado_realm *realm, int idx) {
  witness *self = lua_newuserdatauv(L, sizeof *self, WITNESS_LIST);
  self->last = LIST_DEPENDENT;
  lua_createtable(L, LIST_BONDS, 0);
  lunado__getslot(L, realm, LUNADO_SLOT_WEAK);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, LIST_DEPENDENT);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, WITNESS_LIST);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -3, WITNESS_DEPENDENT);
  lua_pushvalue(L, -2);
  lunado__class_set(L, realm->types.witness);
  lua_pop(L, 1);
  return self;
}

/* Pushes the witness of the Future at idx and the witness's list; *made tells
 * whether it had to be made. */
static witness *ensure_witness(lua_State *L, lunado_realm *realm, int idx,
                               bool *made) {
  witness *self = push_witness(L, idx);
  *made = self == NULL;
  if (self != NULL) {
    lua_getiuservalue(L, -1, WITNESS_LIST);
    return self;
  }
  lua_pop(L, 1);
  return push_new_witness(L, realm, idx);
}

/* Puts the witness at `source` into the table of owners of the pending Future
 * at idx.  If the Future has no such table, the table at `owners` becomes
 * it. */
static void give_witness(lua_State *L, int idx, int source, int owners) {
  lunado_future *future = lua_touserdata(L, idx);
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE) {
    lua_pushvalue(L, source);
    lua_rawsetp(L, -2, &witness_key);
    lua_pop(L, 1);
    return;
  }
  if (future->waiters != NULL)
    lua_rawsetp(L, owners, future->waiters);
  else
    lua_pop(L, 1);
  lua_pushvalue(L, source);
  lua_rawsetp(L, owners, &witness_key);
  lua_pushvalue(L, owners);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
}

/* Closes the gaps of collected bonds in the list at idx. */
static void compact(lua_State *L, witness *self, int idx) {
  lua_Integer kept = LIST_DEPENDENT;
  for (lua_Integer i = LIST_BONDS; i <= self->last; i++) {
    if (lua_rawgeti(L, idx, i) == LUA_TNIL || ++kept == i) {
      lua_pop(L, 1);
      continue;
    }
    lua_rawseti(L, idx, kept);
    lua_pushnil(L);
    lua_rawseti(L, idx, i);
  }
  self->last = kept;
}

/* Appends the bond on top to the list at idx, and pops the bond. */
static void add_bond(lua_State *L, witness *self, int idx) {
  if (self->last >= 8 && (self->last & (self->last - 1)) == 0)
    compact(L, self, idx);
  lua_rawseti(L, idx, self->last + 1);
  self->last++;
}

void lunado__dependent_bind_ticket(lua_State *L, lunado_realm *realm,
                                   int dependent, int bond) {
  int source = lua_gettop(L) + 1, list = source + 1;
  witness *self;
  bool made;
  luaL_checkstack(L, 12, NULL);
  self = ensure_witness(L, realm, dependent, &made);
  if (made) {
    lunado__getslot(L, realm, LUNADO_SLOT_CHAINED);
    lua_pushvalue(L, dependent);
    lua_pushvalue(L, source);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  lua_pushvalue(L, bond);
  add_bond(L, self, list);
  lua_pushvalue(L, bond);
  set_dependent(L, list);
  lua_settop(L, source - 1);
}

/* Creates all objects first: no finalizer runs after the test whether the
 * Future is pending. */
void lunado__dependent_bind(lua_State *L, lunado_realm *realm, int dependent,
                            int bond, bool hold_bond) {
  lunado_future *future = lua_touserdata(L, dependent);
  int source = lua_gettop(L) + 1, list = source + 1, owners = source + 2;
  witness *self;
  bool made;
  luaL_checkstack(L, 12, NULL);
  self = ensure_witness(L, realm, dependent, &made);
  lua_createtable(L, 0, 2);
  if (lunado_future_pending(future)) {
    lua_pushvalue(L, bond);
    if (hold_bond)
      lua_setiuservalue(L, source, WITNESS_BOND);
    else
      add_bond(L, self, list);
    if (!(future->flags & LUNADO_IS_DEPENDENT)) {
      give_witness(L, dependent, source, owners);
      future->flags |= LUNADO_IS_DEPENDENT;
    }
    lua_pushvalue(L, bond);
    set_dependent(L, future->waiters != NULL ? dependent : list);
  }
  lua_settop(L, source - 1);
}

/* --- forgetting ----------------------------------------------------------- */

/* Makes the bond on top forget its sources; the dependent is at 2. */
static void forget_sources(lua_State *L, lunado_realm *realm) {
  const lunado_bond *bond = lua_touserdata(L, -1);
  bond->forget(L, realm, lua_gettop(L), 2);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, LUNADO_BOND_DEPENDENT);
}

/* Called when the dependent was collected or settled: makes its bonds forget
 * their sources.  A bond that is still in the list has live sources, because
 * only the sources hold it. */
static int witness__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const witness *self = lunado__toclass(L, 1, realm->types.witness);
  if (self == NULL) return 0;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, WITNESS_DEPENDENT);
  lua_getiuservalue(L, 1, WITNESS_LIST);
  if (lua_getiuservalue(L, 1, WITNESS_BOND) != LUA_TNIL)
    forget_sources(L, realm);
  for (lua_Integer i = LIST_BONDS; i <= self->last; i++) {
    lua_settop(L, 3);
    if (lua_rawgeti(L, 3, i) != LUA_TNIL) forget_sources(L, realm);
  }
  return 0;
}

/* --- bonds of Lua's ------------------------------------------------------- */

/* User values besides the dependent: the table that contains the bond, and the
 * bond's key in that table. */
enum {
  ENTRY_TABLE = LUNADO_BOND_DEPENDENT + 1,
  ENTRY_KEY,
  ENTRY_VALUES = ENTRY_KEY
};

static void forget_entry(lua_State *L, lunado_realm *realm, int bond,
                         int dependent) {
  int table = lua_gettop(L) + 1;
  (void)realm, (void)dependent;
  if (!lua_checkstack(L, 4)) return;
  lua_getiuservalue(L, bond, ENTRY_TABLE);
  lua_getiuservalue(L, bond, ENTRY_KEY);
  lua_pushvalue(L, -1);
  lua_rawget(L, table);
  if (lua_rawequal(L, -1, bond)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawset(L, table);
  }
  lua_settop(L, table - 1);
}

/* bond(future, t, key): sets t[key] to a bond, which holds the pending Future
 * while the Future has a waiter.  The bond is removed from t when the Future is
 * collected or settled. */
static int core_bond(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_bond *self;
  (void)lunado__checkfuture(L, realm, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  self = lua_newuserdatauv(L, sizeof *self, ENTRY_VALUES);
  self->forget = forget_entry;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, ENTRY_TABLE);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, ENTRY_KEY);
  lua_pushvalue(L, 4);
  lunado__class_set(L, realm->types.bond);
  lua_pop(L, 1);
  lunado__dependent_bind(L, realm, 1, 4, false);
  lua_rawset(L, 2);
  return 0;
}

/* dependent(bond) → the bond's Future; nil if it was collected. */
static int core_dependent(lua_State *L) {
  if (lunado__toclass(L, 1, lunado__realm_upvalue(L)->types.bond) == NULL)
    luaL_typeerror(L, 1, "bond");
  lunado__dependent_push(L, 1);
  return 1;
}

/* is_awaited(future) → whether the Future has a waiter. */
static int core_is_awaited(lua_State *L) {
  const lunado_future *future =
      lunado__checkfuture(L, lunado__realm_upvalue(L), 1);
  lua_pushboolean(L, future->waiters != NULL);
  return 1;
}

static const luaL_Reg functions[] = {{"bond", core_bond},
                                     {"dependent", core_dependent},
                                     {"is_awaited", core_is_awaited},
                                     {NULL, NULL}};

void lunado__dependent_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

static const luaL_Reg metamethods[] = {{"__gc", witness__gc}, {NULL, NULL}};

void lunado__dependent_open(lua_State *L, lunado_realm *realm) {
  realm->types.witness =
      lunado__class_new(L, "lunado.Witness", NULL, metamethods);
  realm->types.bond = lunado__class_new(L, "lunado.Bond", NULL, NULL);
  lua_pop(L, 2);
}
