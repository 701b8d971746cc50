/* SPDX-License-Identifier: MIT */
/*
 * gc_canary.c - tells a finalizer whether its object was collected or the state
 * is being closed.
 *
 * A coroutine that is collected while it waits is nearly always a bug, and is
 * logged; but a coroutine that waits when the state is closed is not.
 */
#include "binding/coroutine/gc_canary.h"

#include "binding/state/class.h"
#include "binding/state/log.h"

/* --- collected, or closing? ----------------------------------------------- */

/* A collection clears weak references before it runs any finalizer; the closing
 * of a state does not.  Finalizers run in batches: a batch for each collection,
 * then the batch of the closing.  A batch goes from the youngest object to the
 * oldest.
 *
 * There is only a weak reference to a canary.  So it is in the batch of the
 * first collection after it was made; that batch may still be unfinished when
 * the state is closed.  The canary's companion has the same age, but a slot
 * holds it.  So it is in the batch of the closing, before all older objects. */
typedef struct {
  uint32_t sequence; /* of the canary, also in its companion */
  bool held;         /* this is the companion */
} lunado_canary;

/* True if the object with `sequence` was made after the object with `other`. */
static bool is_younger(uint32_t sequence, uint32_t other) {
  return (int32_t)(sequence - other) > 0;
}

/* Sets the n slots above the top to nil.  The frames of Lua functions have
 * slots that are not in use yet, but the collector traverses them.  If the
 * canary were left there, it would be taken for alive. */
static void wipe(lua_State *L, int n) {
  int top = lua_gettop(L);
  lua_settop(L, top + n);
  lua_settop(L, top);
}

/* True if there was a collection since the present canary was made. */
static bool was_collection(lua_State *L, const lunado_realm *realm) {
  bool cleared;
  lunado__getslot(L, realm, LUNADO_SLOT_CANARY);
  cleared = lua_rawgeti(L, -1, 1) == LUA_TNIL;
  lua_pop(L, 2);
  wipe(L, 2);
  return cleared;
}

static void push_canary(lua_State *L, uint32_t sequence, bool held) {
  lunado_canary *canary = lua_newuserdatauv(L, sizeof *canary, 0);
  canary->sequence = sequence;
  canary->held = held;
  luaL_setmetatable(L, "lunado.Canary");
}

/* Makes the next canary, and its companion. */
static void make_canary(lua_State *L, lunado_realm *realm) {
  uint32_t sequence = ++realm->collector.sequence;
  realm->collector.canary_lost =
      true; /* stays so if memory is too short for the next lines */
  push_canary(L, sequence, true);
  lunado__getslot(L, realm, LUNADO_SLOT_CANARY);
  push_canary(L, sequence, false);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
  lunado__setslot(L, realm, LUNADO_SLOT_COMPANION);
  wipe(L, 3);
  realm->collector.last_canary = realm->collector.canary;
  realm->collector.canary = sequence;
  realm->collector.canary_lost = false;
}

/* Logs the uncertain warnings.  A collection has just been noticed, so the
 * finalizers before it did not belong to the closing of the state. */
static void log_uncertain(lua_State *L, lunado_realm *realm) {
  lua_Unsigned n;
  lunado__getslot(L, realm, LUNADO_SLOT_UNCERTAIN);
  while ((n = lua_rawlen(L, -1)) > 0) {
    lua_rawgeti(L, -1, (lua_Integer)n);
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)n);
    lunado__log(L, realm, LUNADO_LOG_WARNING);
  }
  lua_pop(L, 1);
}

/* Ensures first that there is a canary.  Then there are four cases:
 *   - The weak reference to the canary is cleared.  The canary's batch is not
 *     over yet, so the closing's batch comes later: the object was collected.
 *   - Else, the object is younger than the canary.  No collection has taken
 *     place since the object was made: the state is being closed.
 *   - The object is older than the companion of the previous canary.  In the
 *     closing's batch that companion would have come first, and would have set
 *     `closing`: the object was collected.
 *   - The object is between the two.  It belongs to the closing; or, rarely, to
 *     a second collection that began before the finalizers of the first had
 * run, as when memory is short: the cause is uncertain. */
lunado_gc_cause lunado__gc_canary_cause(lua_State *L, lunado_realm *realm,
                                        uint32_t sequence) {
  if (realm->collector.canary_lost && !realm->collector.closing)
    make_canary(L, realm);
  if (realm->collector.closing) return LUNADO_GC_CLOSING;
  if (was_collection(L, realm)) return LUNADO_GC_COLLECTED;
  realm->collector.closing = is_younger(sequence, realm->collector.canary);
  if (realm->collector.closing) return LUNADO_GC_CLOSING;
  return is_younger(sequence, realm->collector.last_canary)
             ? LUNADO_GC_UNCERTAIN
             : LUNADO_GC_COLLECTED;
}

/* True if the companion with this `sequence` was held until the closing.  A
 * companion is released when the next canary is made.  If the companion is
 * collected after that, the finalizer of that canary runs first. */
static bool was_held(lua_State *L, const lunado_realm *realm,
                     uint32_t sequence) {
  if (sequence == realm->collector.canary) return true;
  return sequence == realm->collector.last_canary && !was_collection(L, realm);
}

void lunado__gc_canary_log(lua_State *L, lunado_realm *realm,
                           lunado_gc_cause cause) {
  if (cause == LUNADO_GC_COLLECTED) {
    lunado__log(L, realm, LUNADO_LOG_WARNING);
    return;
  }
  lunado__getslot(L, realm, LUNADO_SLOT_UNCERTAIN);
  lua_insert(L, -2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_pop(L, 1);
}

static int canary__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_canary *canary = lua_touserdata(L, 1);
  if (realm->collector.closing) return 0;
  if (canary->held) {
    realm->collector.closing = was_held(L, realm, canary->sequence);
  } else if (was_collection(L, realm)) {
    make_canary(L, realm);
    log_uncertain(L, realm);
  } else {
    realm->collector.closing = true;
  }
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", canary__gc}, {NULL, NULL}};

void lunado__gc_canary_open(lua_State *L, lunado_realm *realm) {
  (void)lunado__class_new(L, "lunado.Canary", NULL, metamethods);
  lua_pop(L, 1);
  make_canary(L, realm);
}
