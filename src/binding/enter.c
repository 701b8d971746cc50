/* SPDX-License-Identifier: MIT */
/*
 * enter.c - from a callback of C into Lua: protect, trace, report.
 *
 * Nothing that is called through here raises; every error is brought to
 * somebody.
 */
#include "binding/failure.h"
#include "binding/future.h"
#include "binding/ioloop.h"

void lunado__pushcallbackname(lua_State *L, int idx) {
  lua_Debug ar;
  if (!lua_isfunction(L, idx) || lua_iscfunction(L, idx)) {
    luaL_tolstring(L, idx, NULL);
    return;
  }
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">S", &ar);
  lua_pushfstring(L, "function <%s:%d>", ar.short_src, ar.linedefined);
}

/* (loop or nil, callback, failure): tells the loop's handler. */
static int tell_handler(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lunado__pushmethod(L, loop, "handle_callback_exception");
  lunado__pushloop(L, loop);
  lua_pushvalue(L, 2);
  lunado__failure_observe(L, 3);
  lunado__failure_traceback(L, 3);
  lua_call(L, 4, 0);
  return 0;
}

/* (realm, callback, failure) */
static int log_failure(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lua_pushliteral(L, "Exception in callback ");
  lunado__pushcallbackname(L, 2);
  lua_pushliteral(L, "\n");
  lunado__failure_text(L, 3);
  lua_concat(L, 4);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
  return 0;
}

/* Calls function(data, callback, failure) with the two at `callback` and
 * above; leaves the error on top and returns false when it raises. */
static bool call_with(lua_State *L, lua_CFunction function, void *data,
                      int callback) {
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, data);
  lua_pushvalue(L, callback);
  lua_pushvalue(L, callback + 1);
  return lua_pcall(L, 3, 0, 0) == LUA_OK;
}

/* What raised while an error was reported is reported too, by the log. */
static void report_protected(lua_State *L, lunado_realm *realm,
                             lunado_ioloop *loop, int callback) {
  if (loop != NULL) {
    if (call_with(L, tell_handler, loop, callback)) return;
    luaL_tolstring(L, -1, NULL);
    lua_pushliteral(L, "Exception in handle_callback_exception: ");
    lua_insert(L, -2);
    lua_concat(L, 2);
    lunado__log(L, realm, LUNADO_LOG_ERROR);
    lua_settop(L, callback + 1);
  }
  if (call_with(L, log_failure, realm, callback)) return;
  lua_settop(L, callback + 1);
  lua_pushliteral(L, "Exception in callback; its text cannot be made");
  lunado__log(L, realm, LUNADO_LOG_ERROR);
}

void lunado__report(lua_State *L, lunado_realm *realm, lunado_ioloop *loop) {
  int callback;
  callback = lua_gettop(L) - 1;
  ((lunado_failure *)lua_touserdata(L, -1))->observed = true;
  if (lua_checkstack(L, LUA_MINSTACK))
    report_protected(L, realm, loop, callback);
  lua_settop(L, callback - 1);
}

/* --- callbacks ---------------------------------------------------------------
 */

/* The values from `base` on: handler, callback, the Future it returned. */
static int discard(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lunado__discard(L, loop->realm, loop, 3, 2);
  return 0;
}

static void log_slow(lua_State *L, lunado_realm *realm, int callback,
                     double seconds) {
  char text[32];
  lunado__pushcallbackname(L, callback);
  (void)lua_number2str(text, sizeof text, seconds);
  lua_pushfstring(L, "%s held the loop for %s seconds", lua_tostring(L, -1),
                  text);
  lunado__log(L, realm, LUNADO_LOG_WARNING);
  lua_pop(L, 1);
}

/* Calls what is above the handler and the callback at `base`. */
static int call_measured(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                         int base, int nargs) {
  uint64_t start = uv_hrtime();
  int status = lua_pcall(L, nargs, 1, base);
  double seconds = (double)(uv_hrtime() - start) / 1e9;
  if (seconds > loop->threshold) log_slow(L, realm, base + 1, seconds);
  return status;
}

void lunado__callback(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                      int nargs) {
  int base = lua_gettop(L) - nargs;
  int status;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_settop(L, base);
    lua_pushliteral(L, "a callback was not called: not enough memory");
    lunado__log(L, realm, LUNADO_LOG_ERROR);
    lua_settop(L, base - 1);
    return;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->handler);
  lua_pushvalue(L, base);
  lua_rotate(L, base, 2); /* handler callback callback arguments */
  if (loop != NULL && loop->threshold > 0)
    status = call_measured(L, realm, loop, base, nargs);
  else
    status = lua_pcall(L, nargs, 1, base);
  if (status != LUA_OK) {
    lunado__failure_take(L, realm);
    lunado__report(L, realm, loop);
  } else if (loop != NULL && lunado__tofuture(L, realm, -1) != NULL) {
    if (!call_with(L, discard, loop, base + 1)) {
      lua_replace(L, base + 2);
      lunado__failure_wrap(L, realm);
      lunado__report(L, realm, loop);
    }
  }
  lua_settop(L, base - 1);
  if (realm->thrown) lunado__failure_forget(L, realm);
}

bool lunado__guard(lua_State *L, lunado_realm *realm, lua_CFunction function,
                   void *data, const char *what) {
  int base = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->handler);
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, data);
  if (lua_pcall(L, 1, 0, base + 1) == LUA_OK) {
    lua_settop(L, base);
    return true;
  }
  lunado__failure_take(L, realm);
  lua_pushstring(L, what);
  lua_insert(L, -2);
  lunado__report(L, realm, NULL);
  lua_settop(L, base);
  return false;
}

void lunado__enter_open(lua_State *L, lunado_realm *realm) {
  lunado__pushfunction(L, lunado__failure_handler);
  realm->handler = luaL_ref(L, LUA_REGISTRYINDEX);
}
