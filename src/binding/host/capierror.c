/* SPDX-License-Identifier: MIT */
/*
 * capierror.c - the part of lunado.h about errors: tracebacks and classes; and
 * functions that are called when a Future is done.
 */
#include <string.h>

#include "binding/error/classname.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/done.h"
#include "binding/future/future.h"
#include "binding/host/capi.h"
#include "binding/module.h"
#include "binding/state/argument.h"
#include "binding/state/realm.h"
#include "lunado.h"

/* --- tracebacks ----------------------------------------------------------- */

/* Pushes the Failure of the failed Future at idx; or, if the value at idx is
 * the error of the host's last run, the Failure of that run.  Otherwise pushes
 * nothing and returns false. */
static bool push_failure(lua_State *L, lunado_realm *realm, int idx) {
  const lunado_future *future = lunado__tofuture(L, realm, idx);
  if (future != NULL) {
    if (future->state != LUNADO_FAILED) return false;
    lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    return true;
  }
  lunado__getslot(L, realm, LUNADO_SLOT_RUN_FAILED);
  if (!lua_isnil(L, idx) && lunado__failure_is_of(L, -1, idx)) return true;
  lua_pop(L, 1);
  return false;
}

int lunado_traceback(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  idx = lunado__capi_index(L, idx);
  if (idx == 0 || !push_failure(L, realm, idx)) return 0;
  lunado__failure_observe(L, -1);
  lua_pop(L, 1);
  lunado__failure_traceback(L, lua_gettop(L));
  lua_remove(L, -2);
  if (lua_rawlen(L, -1) > 0) return 1;
  lua_pop(L, 1);
  return 0;
}

/* --- done-callbacks ------------------------------------------------------- */

void lunado_ondone(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  (void)lunado__capi_future(L, realm, &idx);
  if (lua_gettop(L) <= (idx > 0 ? idx : 0) ||
      !lunado__argument_iscallable(L, -1))
    luaL_error(L, "a function expected above the future");
  lunado__done_call(L, realm, idx, NULL);
}

/* --- classes -------------------------------------------------------------- */

/* True if `name` is the name of the class on top. */
static bool is_called(lua_State *L, const char *name) {
  bool is;
  lua_pushliteral(L, "__name");
  is = lua_rawget(L, -2) == LUA_TSTRING && name != NULL &&
       strcmp(lua_tostring(L, -1), name) == 0;
  lua_pop(L, 1);
  return is;
}

int lunado_iserror(lua_State *L, int idx, const char *name) {
  bool is = false;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  idx = lunado__capi_index(L, idx);
  if (idx == 0 || lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
    return 0;
  while (!is && lunado__classname_is_class(L, -1)) {
    is = is_called(L, name);
    lua_pushliteral(L, "__base");
    (void)lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  return is;
}

/* Pushes the class of that name if it is a class of the binding's own errors.
 */
static bool push_own_class(lua_State *L, lunado_realm *realm,
                           const char *name) {
  for (int which = 0; which < LUNADO_E_COUNT; which++) {
    lunado__exception_pushclass(L, realm, (lunado_error_class)which);
    if (lunado__classname_is_class(L, -1) && is_called(L, name)) return true;
    lua_pop(L, 1);
  }
  return false;
}

/* Pushes the class of that name if it is a field of one of lunado's loaded
 * modules. */
static bool push_loaded_class(lua_State *L, lunado_realm *realm,
                              const char *name) {
  lunado__getslot(L, realm, LUNADO_SLOT_LOADED);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    if (!lua_istable(L, -1)) continue;
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    if (lunado__classname_is_class(L, -1)) {
      lua_replace(L, -4);
      lua_pop(L, 2);
      return true;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return false;
}

int lunado_pushclass(lua_State *L, const char *name) {
  lunado_realm *realm = lunado__module_realm(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  return name != NULL &&
         (push_own_class(L, realm, name) || push_loaded_class(L, realm, name));
}

void lunado_pusherror(lua_State *L, const char *name, const char *message) {
  if (!lunado_pushclass(L, name)) {
    luaL_error(L, "lunado has no class of errors called '%s'", name);
    return;
  }
  lua_createtable(L, 0, 1);
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
}
