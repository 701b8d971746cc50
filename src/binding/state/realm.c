/* SPDX-License-Identifier: MIT */
/*
 * realm.c - the data of one Lua state.
 *
 * The registry has the realm under an address.  So the realm survives the
 * clearing of package.loaded, and a second require finds it.
 */
#include "binding/state/realm.h"

#include "binding/state/class.h"
#include "binding/state/log.h"

static const char realm_key = 0;

void lunado__getslot(lua_State *L, const lunado_realm *realm, int slot) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->table);
  lua_rawgeti(L, -1, slot);
  lua_remove(L, -2);
}

void lunado__setslot(lua_State *L, const lunado_realm *realm, int slot) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->table);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
}

static void push_upvalues(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &realm_key);
  lua_getiuservalue(L, -1, 1);
}

void lunado__pushfunction(lua_State *L, lua_CFunction function) {
  push_upvalues(L);
  lua_pushcclosure(L, function, LUNADO_UPVALUES);
}

void lunado__pushclosure(lua_State *L, lua_CFunction function, int idx) {
  idx = lua_absindex(L, idx);
  push_upvalues(L);
  lua_pushvalue(L, idx);
  lua_pushcclosure(L, function, LUNADO_UPVALUES + 1);
}

void lunado__setfunctions(lua_State *L, const luaL_Reg *functions) {
  push_upvalues(L);
  luaL_setfuncs(L, functions, LUNADO_UPVALUES);
}

/* Every slot is set from the start, so a later store allocates nothing and
 * cannot fail. */
static void make_slots(lua_State *L, lunado_realm *realm) {
  lua_createtable(L, LUNADO_SLOT_COUNT, 0);
  for (int slot = 1; slot <= LUNADO_SLOT_COUNT; slot++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, slot);
  }
  realm->table = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void set_table(lua_State *L, lunado_realm *realm, int slot,
                      const char *mode) {
  lua_newtable(L);
  if (mode != NULL) lunado__class_setweak(L, mode);
  lunado__setslot(L, realm, slot);
}

static void make_tables(lua_State *L, lunado_realm *realm) {
  set_table(L, realm, LUNADO_SLOT_LOOPS, NULL);
  set_table(L, realm, LUNADO_SLOT_DEFERRED, NULL);
  set_table(L, realm, LUNADO_SLOT_WRAPPED_TASKS, "k");
  set_table(L, realm, LUNADO_SLOT_WATCHED, "k");
  set_table(L, realm, LUNADO_SLOT_QUIET, "k");
  set_table(L, realm, LUNADO_SLOT_CHAINED, "k");
  set_table(L, realm, LUNADO_SLOT_CANCELLERS, "k");
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lunado__setslot(L, realm, LUNADO_SLOT_WEAK);
  set_table(L, realm, LUNADO_SLOT_CONVERTERS, NULL);
  set_table(L, realm, LUNADO_SLOT_CLASSES, NULL);
  set_table(L, realm, LUNADO_SLOT_LOADED, NULL);
  set_table(L, realm, LUNADO_SLOT_CANARY, "v");
  set_table(L, realm, LUNADO_SLOT_UNCERTAIN, NULL);
}

static lua_State *main_thread(lua_State *L) {
  lua_State *main;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  main = lua_tothread(L, -1);
  lua_pop(L, 1);
  return main;
}

/* The last of the binding's finalizers to run.  If memory was too short even to
 * call the finalizer of a collected loop, Lua forgets that finalizer.  The core
 * of such a loop is still in the list here; if the loop was closed, it is
 * unreferenced now. */
static int realm__gc(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  while (!lunado_list_empty(&realm->loops.cores)) {
    lunado_loop *core =
        lunado_container_of(realm->loops.cores.next, lunado_loop, kin);
    lunado_link_remove(&core->kin);
    if (core->closed) lunado_loop_unref(core);
  }
  return 0;
}

static void set_finalizer(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, realm__gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
}

/* (filler) → the realm.  The realm is in the registry before its parts are
 * made, because their functions have it as an upvalue.  If memory runs out
 * midway, the caller removes it from the registry. */
static int make(lua_State *L) {
  lunado_realm_filler filler = (lunado_realm_filler)lua_touserdata(L, 1);
  lunado_realm *realm = lua_newuserdatauv(L, sizeof *realm, 1);
  *realm = (lunado_realm){0};
  lunado_link_init(&realm->loops.cores);
  set_finalizer(L);
  realm->main = main_thread(L);
  realm->table = LUA_NOREF;
  realm->idle.reuse = true;
  realm->logging.level = LUNADO_LOG_WARNING;
  lunado_settler_init(&realm->futures.settler);
  luaL_newmetatable(L, "lunado.Future"); /* realm mt */
  realm->types.future = lua_topointer(L, -1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &realm_key);
  make_slots(L, realm);
  make_tables(L, realm);
  realm->filler = filler;
  (*filler)(L, realm);
  lua_pushlightuserdata(L, realm);
  return 1;
}

lunado_realm *lunado__realm_find(lua_State *L) {
  lunado_realm *realm;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &realm_key);
  realm = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return realm;
}

lunado_realm *lunado__realm_make(lua_State *L, lunado_realm_filler filler) {
  lunado_realm *realm = lunado__realm_find(L);
  if (realm != NULL) return realm;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_pushcfunction(L, make);
  lua_pushlightuserdata(L, (void *)filler);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &realm_key);
    lua_error(L);
  }
  realm = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return realm;
}

/* The registry has the prepared filler under the address of this variable. */
static const char filler_key = 0;

void lunado__realm_prepare(lua_State *L, lunado_realm_filler filler) {
  lua_pushlightuserdata(L, (void *)filler);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &filler_key);
}

lunado_realm *lunado__realm(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  lunado_realm_filler filler;
  if (realm != NULL) return realm;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &filler_key);
  filler = (lunado_realm_filler)lua_touserdata(L, -1);
  lua_pop(L, 1);
  return lunado__realm_make(L, filler);
}
