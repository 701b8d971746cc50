/* SPDX-License-Identifier: MIT */
/* naming.c - functions and places in messages, as the user wrote them. */
#include "binding/state/naming.h"

#include <string.h>

#include "binding/state/context.h"
#include "binding/state/text.h"

/* A function may stand for another, which may stand for a third.  Such a chain
 * is followed for at most so many steps. */
#define STANDS_FOR_MAX 8

/* --- lunado's own functions ----------------------------------------------- */

/* False for a stripped chunk.  All stripped chunks have the same source. */
static bool has_source(const lua_Debug *ar) {
  return strcmp(ar->source, "=?") != 0;
}

/* loaded[name] = module.  The caller is the main chunk of one of lunado's
 * modules: its source is recorded as lunado's own. */
static int loaded__newindex(lua_State *L) {
  lua_Debug ar;
  lua_settop(L, 3);
  lua_rawset(L, 1);
  if (!lua_getstack(L, 1, &ar) || !lua_getinfo(L, "S", &ar) || !has_source(&ar))
    return 0;
  lunado__getslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_SOURCES);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, ar.source);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, ar.short_src);
  return 0;
}

void lunado__naming_open(lua_State *L, lunado_realm *realm) {
  lua_newtable(L);
  lunado__setslot(L, realm, LUNADO_SLOT_SOURCES);
  lunado__getslot(L, realm, LUNADO_SLOT_LOADED);
  lua_createtable(L, 0, 1);
  lunado__pushfunction(L, loaded__newindex);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* True if `source` is the source, or the short source, of one of lunado's
 * modules. */
static bool is_own_source(lua_State *L, const lunado_realm *realm,
                          const char *source) {
  bool own;
  lunado__getslot(L, realm, LUNADO_SLOT_SOURCES);
  lua_pushstring(L, source);
  own = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return own;
}

bool lunado__naming_is_own(lua_State *L, const lunado_realm *realm,
                           const lua_Debug *ar) {
  return is_own_source(L, realm, ar->source);
}

/* Pushes "file:line" of the user's innermost active function, and returns true.
 * If none is active, returns false, and sets *own to the record of lunado's
 * innermost active function; own->currentline is 0 if there is none either. */
static bool push_user_place(lua_State *L, const lunado_realm *realm,
                            lua_State *thread, lua_Debug *own) {
  lua_Debug ar;
  own->currentline = 0;
  for (int level = 0; lua_getstack(thread, level, &ar); level++) {
    lua_getinfo(thread, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    if (!lunado__naming_is_own(L, realm, &ar)) {
      lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
      return true;
    }
    if (own->currentline == 0) *own = ar;
  }
  return false;
}

void lunado__naming_pushplace(lua_State *L, const lunado_realm *realm,
                              lua_State *thread) {
  lua_Debug own;
  if (push_user_place(L, realm, thread, &own)) return;
  if (own.currentline > 0)
    lua_pushfstring(L, "%s:%d", own.short_src, own.currentline);
  else
    lua_pushliteral(L, "?");
}

/* --- functions that stand for others -------------------------------------- */

/* The upvalues 3 and 4 of a function that on_behalf(fn, impl) returned. */
enum { BEHALF_IMPL = LUNADO_UPVALUES + 1, BEHALF_FN };

static int behalf_done(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return lua_gettop(L);
}

static int behalf_call(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(BEHALF_IMPL));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, behalf_done);
  return lua_gettop(L);
}

void lunado__naming_unwrap(lua_State *L, int idx) {
  if (lua_tocfunction(L, idx) != behalf_call) return;
  (void)lua_getupvalue(L, idx, BEHALF_FN);
  lua_replace(L, idx);
}

/* Replaces the value on top by the function that it stands for.  Returns false
 * if it stands for no other. */
static bool to_behind(lua_State *L, const lunado_realm *realm) {
  int top = lua_gettop(L);
  lua_pushvalue(L, top);
  lunado__context_unwrap(L, realm, top + 1);
  if (lua_tocfunction(L, top + 1) == realm->coroutines.decorated) {
    (void)lua_getupvalue(L, top + 1, LUNADO_UPVALUES + 1);
    lua_replace(L, top + 1);
  } else {
    lunado__getslot(L, realm, LUNADO_SLOT_BEHIND);
    lua_pushvalue(L, top + 1);
    if (lua_istable(L, -2) && lua_rawget(L, -2) != LUA_TNIL)
      lua_replace(L, top + 1);
    lua_settop(L, top + 1);
  }
  if (lua_rawequal(L, top, top + 1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_replace(L, top);
  return true;
}

/* --- names ---------------------------------------------------------------- */

/* True if the name on top is better than the one at idx: shorter, or equally
 * long and earlier in byte order. */
static bool is_better(lua_State *L, int idx) {
  size_t length = lua_rawlen(L, -1), other = lua_rawlen(L, idx);
  if (length != other) return length < other;
  return memcmp(lua_tostring(L, -1), lua_tostring(L, idx), length) < 0;
}

static void keep_name(lua_State *L, int best) {
  if (lua_isnil(L, best) || is_better(L, best))
    lua_replace(L, best);
  else
    lua_pop(L, 1);
}

/* Searches the module on top, whose name is below it, for the function at idx.
 * Keeps the best name at `best`. */
static void name_in_module(lua_State *L, int idx, int best) {
  int module = lua_gettop(L) - 1;
  bool global = strcmp(lua_tostring(L, module), "_G") == 0;
  for (lua_pushnil(L); lua_next(L, module + 1) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, idx)) continue;
    if (global)
      lua_pushvalue(L, -2);
    else
      lua_pushfstring(L, "%s.%s", lua_tostring(L, module), lua_tostring(L, -2));
    keep_name(L, best);
  }
}

/* A function may have several names, and the order in which Lua traverses a
 * table differs between processes.  So the best name is taken, not the
 * first. */
bool lunado__naming_pushglobal(lua_State *L, int idx) {
  int best = lua_gettop(L) + 1;
  lua_pushnil(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_istable(L, -1)) {
    for (lua_pushnil(L); lua_next(L, best + 1) != 0; lua_settop(L, best + 2))
      if (lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING)
        name_in_module(L, idx, best);
  }
  lua_settop(L, best);
  if (!lua_isnil(L, best)) return true;
  lua_pop(L, 1);
  return false;
}

/* Searches the fields of the table on top, whose name is below it, for the
 * value at idx.  Keeps the best name at `best`. */
static void name_in_fields(lua_State *L, int idx, const char *mark, int best) {
  int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, idx)) continue;
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, table - 1), mark,
                    lua_tostring(L, -2));
    keep_name(L, best);
  }
}

/* Calls name_in_fields for each table that is a field of the table on top.  The
 * names are "<prefix><field>.<name>". */
static void name_in_tables(lua_State *L, int idx, const char *prefix,
                           int best) {
  int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_settop(L, table + 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) continue;
    lua_pushfstring(L, "%s%s", prefix, lua_tostring(L, -2));
    lua_insert(L, -2); /* key name table */
    name_in_fields(L, idx, ".", best);
  }
}

/* Pops all values above the name at `best`.  If the name is nil, pops it as
 * well, and returns false. */
static bool found_name(lua_State *L, int best) {
  lua_settop(L, best);
  if (!lua_isnil(L, best)) return true;
  lua_pop(L, 1);
  return false;
}

/* Pushes the name of the function at idx as a method of a class, such as
 * "crawler.Crawler.refresh".  A class is a table in a module, or a global
 * one. */
static bool push_class_method(lua_State *L, int idx) {
  int best = lua_gettop(L) + 1;
  lua_pushnil(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (!lua_istable(L, -1)) return found_name(L, best);
  for (lua_pushnil(L); lua_next(L, best + 1) != 0; lua_settop(L, best + 2)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) continue;
    if (strcmp(lua_tostring(L, -2), "_G") == 0)
      lua_pushliteral(L, "");
    else
      lua_pushfstring(L, "%s.", lua_tostring(L, -2));
    lua_insert(L, -2); /* module prefix table */
    name_in_tables(L, idx, lua_tostring(L, -2), best);
  }
  return found_name(L, best);
}

/* Pushes the name of the C function at idx among the methods of the classes in
 * the registry, such as "Future:set_result". */
static bool push_c_method(lua_State *L, int idx) {
  static const char prefix[] = "lunado.";
  int best = lua_gettop(L) + 1;
  lua_pushnil(L);
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX) != 0;
       lua_settop(L, best + 1)) {
    const char *class;
    if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) continue;
    class = lua_tostring(L, -2);
    if (strncmp(class, prefix, sizeof prefix - 1) == 0)
      class += sizeof prefix - 1;
    lua_pushstring(L, class);
    lua_pushliteral(L, "__index");
    if (lua_rawget(L, -3) == LUA_TTABLE) name_in_fields(L, idx, ":", best);
  }
  return found_name(L, best);
}

/* Pushes "file:line" of the definition of the function at idx; nil if it is no
 * Lua function. */
static void push_definition(lua_State *L, int idx) {
  lua_Debug ar;
  if (!lua_isfunction(L, idx) || lua_iscfunction(L, idx)) {
    lua_pushnil(L);
    return;
  }
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &ar);
  if (ar.linedefined > 0)
    lua_pushfstring(L, "%s:%d", ar.short_src, ar.linedefined);
  else
    lua_pushstring(L, ar.short_src);
}

/* Pushes a name for the function at idx, which is not a field of a module; nil
 * if there is none. */
static void push_function_name(lua_State *L, int idx) {
  lua_Debug ar;
  if (push_class_method(L, idx)) return;
  if (lua_iscfunction(L, idx)) {
    if (!push_c_method(L, idx)) lua_pushliteral(L, "C function");
    return;
  }
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &ar);
  if (*ar.what == 'm')
    lua_pushliteral(L, "main chunk");
  else
    lua_pushnil(L);
}

/* If the name at `name` is nil, replaces it by that of the function at `value`.
 * Pushes the place of the function's definition, or nil. */
static void find_function(lua_State *L, int value, int name) {
  if (lua_isnil(L, name)) {
    push_function_name(L, value);
    lua_replace(L, name);
  }
  push_definition(L, value);
}

/* Like find_function, for a value that is not a function. */
static void find_object(lua_State *L, int value, int name) {
  if (lua_isnil(L, name)) {
    if (luaL_getmetafield(L, value, "__tostring") != LUA_TNIL) {
      lunado__text_push(L, value);
    } else if (luaL_getmetafield(L, value, "__name") != LUA_TSTRING) {
      lua_pushfstring(L, "callable %s", luaL_typename(L, value));
    }
    lua_replace(L, name);
    lua_settop(L, name);
  }
  if (luaL_getmetafield(L, value, "__call") == LUA_TNIL)
    lua_pushnil(L);
  else
    push_definition(L, lua_gettop(L));
}

void lunado__naming_push(lua_State *L, int idx) {
  const lunado_realm *realm = lunado__realm_find(L);
  int value = lua_gettop(L) + 1, name = value + 1;
  luaL_checkstack(L, 16, NULL);
  if (lua_islightuserdata(L, idx)) { /* the `what` of a guarded call */
    lua_pushstring(L, lua_touserdata(L, idx));
    return;
  }
  lua_pushvalue(L, idx);
  lua_pushnil(L);
  for (int i = 0; i < STANDS_FOR_MAX; i++) {
    if (lua_isnil(L, name) && lunado__naming_pushglobal(L, value))
      lua_replace(L, name);
    lua_pushvalue(L, value);
    if (!to_behind(L, realm)) break;
    lua_replace(L, value);
  }
  lua_settop(L, name);
  if (lua_isfunction(L, value))
    find_function(L, value, name);
  else
    find_object(L, value, name);
  if (lua_isnil(L, -1))
    lua_pushvalue(L, name);
  else if (lua_isnil(L, name))
    lua_pushfstring(L, "function <%s>", lua_tostring(L, -1));
  else
    lua_pushfstring(L, "%s (%s)", lua_tostring(L, name), lua_tostring(L, -1));
  lua_replace(L, value);
  lua_settop(L, value);
}

int lunado__naming_lastlevel(lua_State *L, int level) {
  lua_Debug ar;
  int low = level, high = level + 1;
  while (lua_getstack(L, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (low < high - 1) {
    int middle = low + (high - low) / 2;
    if (lua_getstack(L, middle, &ar))
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* --- functions for Lua ---------------------------------------------------- */

/* describe(callable) → its name in messages. */
static int core_describe(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lunado__naming_push(L, 1);
  return 1;
}

/* where() → "file:line: " of the user's innermost active function, for
 * messages; "" if there is none. */
static int core_where(lua_State *L) {
  lua_Debug own;
  lua_settop(L, 0);
  if (push_user_place(L, lunado__realm_upvalue(L), L, &own))
    lua_pushliteral(L, ": ");
  else
    lua_pushliteral(L, "");
  lua_concat(L, lua_gettop(L));
  return 1;
}

/* is_own(source): whether the functions of that source, or short source, belong
 * to lunado. */
static int core_is_own(lua_State *L) {
  const char *source = luaL_checkstring(L, 1);
  lua_pushboolean(L, is_own_source(L, lunado__realm_upvalue(L), source));
  return 1;
}

/* on_behalf(fn, impl) → a function that does what impl does.  Messages and
 * handlers know it as fn. */
static int core_on_behalf(lua_State *L) {
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lua_insert(L, 1); /* impl fn */
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_REALM));
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_FUTURE));
  lua_rotate(L, 1, 2);
  lua_pushcclosure(L, behalf_call, BEHALF_FN);
  return 1;
}

/* set_behind(table): the table maps each function that a decorator has returned
 * to the user's function inside. */
static int core_set_behind(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_BEHIND);
  return 0;
}

static const luaL_Reg functions[] = {
    {"describe", core_describe},     {"where", core_where},
    {"is_own", core_is_own},         {"on_behalf", core_on_behalf},
    {"set_behind", core_set_behind}, {NULL, NULL}};

void lunado__naming_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
