/* SPDX-License-Identifier: MIT */
/*
 * callback.c - protected calls into Lua from a C callback: call, add the
 * traceback, report the error.
 *
 * No error leaves a call made here; each is passed to a handler or logged.
 */
#include "binding/loop/callback.h"

#include "binding/coroutine/received.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/done.h"
#include "binding/future/future.h"
#include "binding/loop/interrupt.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/methods.h"
#include "binding/state/context.h"
#include "binding/state/log.h"
#include "binding/state/naming.h"
#include "binding/state/text.h"

typedef struct {
  lunado_ioloop *loop;
  bool theirs; /* the user has replaced the class's handler */
} handler_call;

/* (handler_call, callback, failure): calls the loop's handler. */
static int call_handler(lua_State *L) {
  handler_call *self = lua_touserdata(L, 1);
  lunado_ioloop *loop = self->loop;
  lunado__ioloop_pushmethod(L, loop, "handle_callback_exception");
  self->theirs = !lunado__methods_is_default_handler(L, -1);
  lunado__ioloop_push(L, loop);
  lua_pushvalue(L, 2);
  lunado__failure_observe(L, 3);
  lunado__failure_traceback(L, 3);
  lua_call(L, 4, 0);
  return 0;
}

static bool is_empty(lua_State *L, int idx) {
  return lua_type(L, idx) == LUA_TSTRING && lua_rawlen(L, idx) == 0;
}

void lunado__callback_log_exception(lua_State *L, lunado_realm *realm,
                                    int idx) {
  int text = lua_gettop(L) + 1;
  lua_pushliteral(L, "Exception in callback ");
  if (lua_type(L, idx) == LUA_TSTRING)
    lua_pushvalue(L, idx);
  else
    lunado__naming_push(L, idx);
  lua_pushliteral(L, "\n");
  lunado__text_push(L, idx + 1);
  if (!lua_isnil(L, idx + 2) && !is_empty(L, idx + 2)) {
    lua_pushliteral(L, "\n");
    lunado__text_push(L, idx + 2);
  }
  lua_concat(L, lua_gettop(L) - text + 1);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
}

/* (realm, callback, failure): logs the error. */
static int log_failure(lua_State *L) {
  lunado__failure_observe(L, 3);
  lunado__failure_traceback(L, 3);
  lua_remove(L, 3);
  lunado__callback_log_exception(L, lua_touserdata(L, 1), 2);
  return 0;
}

/* (realm, loop, failure): logs an error that the loop's own handler raised. */
static int log_handler_failure(lua_State *L) {
  lua_pushliteral(L, "Exception in handle_callback_exception: ");
  lunado__failure_text(L, 3);
  lua_concat(L, 2);
  lunado__log(L, lua_touserdata(L, 1), LUNADO_LOG_ERROR);
  return 0;
}

/* Calls function(data, callback, failure) with the two values at `callback` and
 * callback + 1.  If the function raises, leaves its Failure on top and returns
 * false. */
static bool call_with(lua_State *L, lunado_realm *realm, lua_CFunction function,
                      void *data, int callback) {
  lunado__context_unwrap(L, realm, callback);
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, data);
  lua_pushvalue(L, callback);
  lua_pushvalue(L, callback + 1);
  return lunado__protect_pushed(L, realm, 3);
}

/* Logs and pops the Failure on top, which the user's handler has raised. */
static void report_handler(lua_State *L, lunado_realm *realm) {
  int failure = lua_gettop(L);
  lua_pushnil(L);
  lua_insert(L, failure);
  if (!call_with(L, realm, log_handler_failure, realm, failure))
    lunado__log_text(L, realm,
                     "Exception in handle_callback_exception; its "
                     "text cannot be made");
  lua_settop(L, failure - 1);
}

/* Reports the error to the loop's handler, or to the log.  An error that the
 * user's handler raises is logged. */
static void report_protected(lua_State *L, lunado_realm *realm,
                             lunado_ioloop *loop, int callback) {
  if (loop != NULL && !loop->closed) {
    handler_call self = {loop, false};
    if (call_with(L, realm, call_handler, &self, callback)) return;
    if (self.theirs)
      report_handler(L, realm);
    else
      lua_pop(L, 1);
  }
  if (call_with(L, realm, log_failure, realm, callback)) return;
  lunado__failure_observe(L, -1);
  lunado__log_value(L, realm,
                    "Exception in callback; its text cannot be "
                    "made: ");
}

void lunado__callback_report(lua_State *L, lunado_realm *realm,
                             lunado_ioloop *loop) {
  int callback;
  callback = lua_gettop(L) - 1;
  ((lunado_failure *)lua_touserdata(L, -1))->observed = true;
  if (lua_checkstack(L, LUA_MINSTACK) && !lunado__interrupt_note(L, realm))
    report_protected(L, realm, loop, callback);
  lua_settop(L, callback - 1);
}

/* --- callbacks ------------------------------------------------------------ */

/* (loop, callback, the Future that it returned): reports the Future's error. */
static int discard(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lunado__done_discard(L, loop->realm, loop, 3, 2);
  return 0;
}

/* (realm, callback, seconds): logs that the callback took that long. */
static int log_slow(lua_State *L) {
  lunado__naming_push(L, 2);
  lua_pushfstring(L, "%s held the loop for %f seconds", lua_tostring(L, 4),
                  lua_tonumber(L, 3));
  lunado__log(L, lua_touserdata(L, 1), LUNADO_LOG_WARNING);
  return 0;
}

/* Calls the callable that lies above its copy at `callback`, and logs a call
 * longer than the loop's threshold. */
static int call_measured(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                         int handler, int callback, int nargs) {
  uint64_t start = uv_hrtime();
  int status = lua_pcall(L, nargs, 1, handler);
  double seconds = (double)(uv_hrtime() - start) / 1e9;
  if (seconds <= loop->threshold) return status;
  lua_pushcfunction(L, log_slow);
  lua_pushlightuserdata(L, realm);
  lunado__context_unwrap(L, realm, callback);
  lua_pushvalue(L, callback);
  lua_pushnumber(L, (lua_Number)seconds);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK)
    lunado__log_value(L, realm, "a callback held the loop too long: ");
  return status;
}

void lunado__callback_returned(lua_State *L, lunado_realm *realm,
                               lunado_ioloop *loop) {
  int callback = lua_gettop(L) - 1;
  if (lunado__tofuture(L, realm, -1) == NULL ||
      call_with(L, realm, discard, loop, callback))
    return;
  lua_replace(L, callback + 1);
  lunado__failure_wrap(L, realm);
  lunado__callback_report(L, realm, loop);
}

/* Handles the end of a call: the callback below has returned the value on top,
 * or raised it as an error, as `status` says. */
static void called(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                   int status) {
  if (status != LUA_OK) {
    lunado__failure_take(L, realm);
    lunado__callback_report(L, realm, loop);
  } else if (loop != NULL && lua_type(L, -1) == LUA_TUSERDATA) {
    lunado__callback_returned(L, realm, loop);
  }
}

void lunado__callback(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                      int nargs) {
  int base = lua_gettop(L) - nargs;
  int status;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lunado__log_text(L, realm, "a callback was not called: not enough memory");
    lua_settop(L, base - 1);
    return;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_pushvalue(L, base);
  lua_rotate(L, base, 2); /* handler callback callback arguments */
  if (loop != NULL && loop->threshold > 0)
    status = call_measured(L, realm, loop, base, base + 1, nargs);
  else
    status = lua_pcall(L, nargs, 1, base);
  called(L, realm, loop, status);
  lua_settop(L, base - 1);
  if (realm->errors.receiver != NULL) lunado__received_forget(L, realm);
}

void lunado__callback_inner(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop) {
  int handler = lua_gettop(L), callback = handler + 1;
  int status;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_insert(L, handler);
  lua_pushvalue(L, callback);
  status = lua_pcall(L, 0, 1, handler);
  called(L, realm, loop, status);
  lua_settop(L, handler - 1);
}

void lunado__callback_report_guarded(lua_State *L, lunado_realm *realm,
                                     bool begun, const char *what) {
  const lunado_failure *failure = lua_touserdata(L, -1);
  if (!begun && !failure->interrupt) {
    lua_pop(L, 1);
    return;
  }
  lua_pushlightuserdata(L, (void *)what);
  lua_insert(L, -2);
  lunado__callback_report(L, realm, NULL);
}

void lunado__callback_open(lua_State *L, lunado_realm *realm) {
  lunado__pushfunction(L, lunado__callback_handler);
  realm->errors.handler = luaL_ref(L, LUA_REGISTRYINDEX);
}

int lunado__callback_handler(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  bool interrupt = lunado__interrupt_is_raised(L, realm);
  lunado_failure *self = lunado__received_raised(L, realm, 1, 1);
  if (interrupt) self->interrupt = true;
  lunado__setslot(L, realm, LUNADO_SLOT_RAISED);
  lua_settop(L, 1);
  return 1;
}
