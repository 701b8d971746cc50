/* SPDX-License-Identifier: MIT */
/* closing.c - how a stream is closed, and the errors that report it. */
#include "binding/stream/closing.h"

#include <string.h>

#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/queue.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"
#include "binding/stream/connecting.h"
#include "binding/stream/filtering.h"
#include "binding/stream/reading.h"
#include "binding/stream/writing.h"

/* --- errors --------------------------------------------------------------- */

/* Replaces the cause on top, or nil, by the message of its StreamClosedError.
 */
static void to_message(lua_State *L) {
  if (lua_isnil(L, -1)) {
    lua_pushliteral(L, "Stream is closed");
  } else {
    luaL_tolstring(L, -1, NULL);
    lua_pushliteral(L, "Stream is closed: ");
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  lua_remove(L, -2);
}

void lunado__closing_pusherror(lua_State *L, int idx, lunado_iostream *self,
                               int cause) {
  int reason = lua_gettop(L) + 1;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (cause != 0)
    lua_pushvalue(L, cause);
  else
    lunado__iostream_get(L, idx, IOSTREAM_ERROR);
  if (cause != 0 ||
      lunado__iostream_get(L, idx, IOSTREAM_CLOSE_MESSAGE) == LUA_TNIL) {
    lua_settop(L, reason);
    lua_pushvalue(L, reason);
    to_message(L);
  }
  lunado__exception_push(L, self->loop->realm, LUNADO_E_STREAM_CLOSED, "%s",
                         lua_tostring(L, -1));
  lua_pushvalue(L, reason);
  lua_setfield(L, -2, "real_error");
  lua_replace(L, reason);
  lua_settop(L, reason);
  self->reported = true;
}

void lunado__closing_pushfailed(lua_State *L, lunado_iostream *self) {
  lunado_realm *realm = self->loop->realm;
  int error = lua_gettop(L);
  lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future), 1);
  (void)lunado__failure_new(L, realm, error, 1);
  lunado__settle_failed(L, realm, error + 1);
  lua_replace(L, error);
}

/* (stream, cause or nil) → the Failure of a call on a closed stream. */
static int make_failure(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  lunado__closing_pusherror(L, 1, self, lua_isnil(L, 2) ? 0 : 2);
  (void)lunado__failure_new(L, self->loop->realm, -1, -1);
  return 1;
}

/* Pushes that Failure, or the one for "not enough memory". */
static void push_failure(lua_State *L, int idx, lunado_iostream *self,
                         int cause, bool observed) {
  lua_pushcfunction(L, make_failure);
  lua_pushvalue(L, idx);
  if (cause != 0)
    lua_pushvalue(L, cause);
  else
    lua_pushnil(L);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) {
    ((lunado_failure *)lua_touserdata(L, -1))->observed = observed;
  } else {
    lua_pop(L, 1);
    lunado__failure_nomemory(L, self->loop->realm);
  }
}

void lunado__closing_fail(lua_State *L, int idx, lunado_iostream *self,
                          int cause, bool observed) {
  int future = lua_gettop(L);
  if (lunado_future_pending(lua_touserdata(L, future))) {
    push_failure(L, idx, self, cause, observed);
    lunado__settle_failed(L, self->loop->realm, future);
  }
  lua_settop(L, future - 1);
}

bool lunado__closing_ended_well(lua_State *L, int idx,
                                const lunado_iostream *self) {
  bool well;
  if (lunado__iostream_get(L, idx, IOSTREAM_ERROR) == LUA_TNIL)
    well = true;
  else
    well = self->peer_ended && lua_type(L, -1) == LUA_TSTRING &&
           strncmp(lua_tostring(L, -1), "EPIPE", 5) == 0;
  lua_pop(L, 1);
  return well;
}

/* --- closing -------------------------------------------------------------- */

/* Returns the loop that calls the close callback: the stream's, or the current
 * one if that is closed. */
static lunado_ioloop *calling_loop(lua_State *L, const lunado_iostream *self) {
  if (!self->loop->closed) return self->loop;
  return lunado__ioloop_current(L, self->loop->realm);
}

void lunado__closing_callback(lua_State *L, int idx, lunado_iostream *self) {
  lunado_ioloop *loop;
  if (!self->has_close_callback) return;
  loop = calling_loop(L, self);
  self->has_close_callback = false;
  lunado__iostream_get(L, idx, IOSTREAM_CLOSE_CALLBACK);
  lua_pushnil(L);
  lunado__iostream_set(L, idx, IOSTREAM_CLOSE_CALLBACK);
  lunado__queue_callback(L, self->loop->realm, loop, 0);
  lunado__iostream_release(L, self, IOSTREAM_HELD_CALLBACK);
}

void lunado__closing_mark(lua_State *L, int idx, lunado_iostream *self,
                          int cause) {
  if (cause != 0) {
    lua_getiuservalue(L, idx, IOSTREAM_OBJECT);
    lua_pushliteral(L, "error");
    lua_pushvalue(L, cause);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_pushvalue(L, cause);
    lunado__iostream_set(L, idx, IOSTREAM_ERROR);
  }
  self->closed = true;
}

/* luv's callback: its handle is closed.  Upvalue: the Future. */
static int on_luv_closed(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  lunado_future *future = lua_touserdata(L, lua_upvalueindex(1));
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  if (!lunado_future_pending(future)) return 0;
  lua_pushnil(L);
  lunado__settle_known(L, realm, 1, future, LUNADO_DONE);
  return 0;
}

/* (handle, function or nil): closes luv's handle. */
static int call_luv_close(lua_State *L) {
  lua_getfield(L, 1, "close");
  lua_insert(L, 1);
  lua_call(L, 2, 0);
  return 0;
}

bool lunado__closing_luv(lua_State *L, int handle) {
  int top = lua_gettop(L) - 1;
  bool closed;
  lua_pushcfunction(L, call_luv_close);
  lua_pushvalue(L, handle);
  lua_pushvalue(L, top + 1);
  closed = lua_pcall(L, 2, 0, 0) == LUA_OK;
  lua_settop(L, top);
  return closed;
}

/* Pushes a pending Future of the end of closing, and reserves the memory that
 * closing needs. */
static void push_closed_future(lua_State *L, int idx, lunado_iostream *self) {
  if (lunado__iostream_get(L, idx, IOSTREAM_CLOSED) == LUA_TUSERDATA) return;
  lua_pop(L, 1);
  lunado__future_new(L, self->loop->realm, LUNADO_KIND_PLAIN,
                     sizeof(lunado_future), 1);
  lunado__iostream_pushtable(L, idx, IOSTREAM_RARE);
  lua_pop(L, 1);
  if (lunado__iostream_get(L, idx, IOSTREAM_CLOSED) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lunado__iostream_set(L, idx, IOSTREAM_CLOSED);
}

/* Ends the use of luv's handle, and calls luv to close it. */
static void close_by_luv(lua_State *L, int idx, lunado_iostream *self) {
  int top = lua_gettop(L);
  push_closed_future(L, idx, self);
  lunado__iostream_get(L, idx, IOSTREAM_HANDLE);
  lua_pushvalue(L, top + 1);
  lua_pushcclosure(L, on_luv_closed, 1);
  self->handle_closing = true;
  if (self->core != NULL) lunado_stream_close(self->core);
  if (!lunado__closing_luv(L, top + 2)) {
    lua_pushnil(L);
    (void)lunado__closing_luv(L, top + 2); /* there was no memory */
    lua_pushnil(L);
    lunado__iostream_settle(L, self->loop->realm, idx, IOSTREAM_CLOSED);
  }
  lua_settop(L, top);
}

static void close_own(lua_State *L, int idx, lunado_iostream *self) {
  lunado_iostream_caller caller;
  if (!self->loop->closed)
    lunado__iostream_hold(L, idx, self, IOSTREAM_HELD_CLOSING);
  self->handle_closing = true;
  lunado__iostream_enter(L, self, &caller);
  lunado_stream_close(self->core);
  lunado__iostream_leave(&caller);
}

void lunado__closing_handle(lua_State *L, int idx, lunado_iostream *self) {
  if (self->handle_closing) return;
  if (self->core == NULL)
    self->handle_closing = true; /* the loop was closed */
  else if (self->core->adopted)
    close_by_luv(L, idx, self);
  else
    close_own(L, idx, self);
  lunado__connecting_fail(L, idx, self);
  lunado__filtering_fail(L, idx, self);
  lunado__writing_fail_all(L, idx, self);
  lunado__reading_end(L, idx, self, 0, false);
}

void lunado__closing_close(lua_State *L, int idx, lunado_iostream *self,
                           int cause) {
  if (self->closed) return;
  lunado__closing_mark(L, idx, self, cause);
  lunado__closing_handle(L, idx, self);
  lunado__closing_callback(L, idx, self);
}

void lunado__closing_at_end(lua_State *L, int idx, lunado_iostream *self) {
  if (self->first_write == self->next_write) {
    lunado__closing_close(L, idx, self, 0);
    return;
  }
  if (!self->closed) lunado__closing_mark(L, idx, self, 0);
  lunado__reading_end(L, idx, self, 0, false);
  lunado__closing_callback(L, idx, self);
}

void lunado__closing_all(lua_State *L, int idx, lunado_iostream *self,
                         int cause) {
  lunado__closing_close(L, idx, self, cause);
  lunado__closing_handle(L, idx, self);
}

/* (stream): closes it because there is no memory. */
static int close_for_memory(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  lua_settop(L, 1);
  lua_pushliteral(L, "not enough memory");
  lunado__closing_all(L, 1, self, 2);
  return 0;
}

void lunado__closing_for_memory(lua_State *L, int idx, lunado_iostream *self) {
  int top = lua_gettop(L);
  lua_pushcfunction(L, close_for_memory);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  lua_settop(L, top);
  self->closed = self->handle_closing = true;
  if (self->core != NULL) lunado_stream_close(self->core);
  lunado__connecting_fail(L, idx, self);
  lunado__filtering_fail(L, idx, self);
  lunado__writing_fail_all(L, idx, self);
  if (self->has_reader) lunado__reading_fail(L, idx, self, 0);
  lunado__closing_callback(L, idx, self);
}

/* (stream): closes luv's handle after the loop was closed. */
static int close_luv_handle(lua_State *L) {
  lua_settop(L, 1);
  lunado__iostream_get(L, 1, IOSTREAM_HANDLE);
  lua_pushnil(L);
  (void)lunado__closing_luv(L, 2);
  return 0;
}

/* (stream, status, number): the stream's handle is closed.  If luv's handle has
 * opened the descriptor of a file, that handle must close it. */
static int handle_closed(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  lua_settop(L, 1);
  if (lunado__iostream_get(L, 1, IOSTREAM_HANDLE) != LUA_TNIL) {
    close_by_luv(L, 1, self);
    return 0;
  }
  lunado__iostream_settle(L, self->loop->realm, 1, IOSTREAM_CLOSED);
  return 0;
}

/* To be called when the stream's loop is closed: what is under way stays so for
 * ever, and does not stand in the way of later calls. */
static void abandon(lunado_iostream *self) {
  self->has_reader = self->connecting = self->starting = false;
  self->write_closed = false;
}

void lunado__closing_closed(lunado_stream *core) {
  lunado_iostream *self = core->owner;
  (void)lunado_bytes_copy_lent(
      &self->in); /* libuv's buffer may have lent them */
  self->core = NULL;
  self->closed = self->handle_closing = true;
  if (core->loop->closed) abandon(self);
  if (core->adopted && core->loop->closed)
    lunado__iostream_call(self, close_luv_handle, 0, 0);
  if (core->adopted || core->loop->closed) return;
  lunado__iostream_call(self, handle_closed, 0, 0);
  if (self->holds & IOSTREAM_HELD_CLOSING)
    lunado__iostream_release(self->loop->L, self, IOSTREAM_HELD_CLOSING);
}

/* --- methods -------------------------------------------------------------- */

/* stream:close() → a Future that is done when the handle is closed as well. */
static int stream_close(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  /* A file may be closed at once. */
  if (self->kind == LUNADO_STREAM_FILE) lunado__iostream_reserve(L);
  if (self->core != NULL) push_closed_future(L, 2, self);
  lua_settop(L, 2);
  lunado__closing_all(L, 2, self, 0);
  lunado__closing_callback(L, 2, self);
  if (lunado__iostream_get(L, 2, IOSTREAM_CLOSED) != LUA_TUSERDATA ||
      self->loop->closed)
    lunado__iostream_pushdone(L, self->loop->realm);
  return 1;
}

/* stream:__close(): closes the stream.  If the peer has ended, queued data is
 * still sent. */
static int stream__close(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  lunado__closing_close(L, 2, self, 0);
  if (!self->peer_ended) lunado__closing_handle(L, 2, self);
  return 0;
}

/* stream:closed() → whether it is closed, by either side, or by its loop. */
static int stream_closed(lua_State *L) {
  const lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushboolean(L, self->closed || lunado_stream_is_closing(self->core));
  return 1;
}

/* stream:set_close_callback(fn): calls fn() on the loop when either side closes
 * the stream; nil removes the callback.  Tornado:
 * BaseIOStream.set_close_callback. */
static int stream_set_close_callback(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2) && !lunado__argument_iscallable(L, 2)) {
    lua_pushfstring(L, "function expected, got %s", luaL_typename(L, 2));
    return lunado__iostream_badarg(L, 1, "set_close_callback",
                                   lua_tostring(L, -1));
  }
  self = lunado__iostream_check(L);
  if (!lua_isnil(L, 2)) lunado__context_wrap_if_any(L, realm, 2);
  if (!lua_isnil(L, 2) && !self->closed)
    lunado__iostream_hold(L, 3, self, IOSTREAM_HELD_CALLBACK);
  lua_pushvalue(L, 2);
  lunado__iostream_set(L, 3, IOSTREAM_CLOSE_CALLBACK);
  self->has_close_callback = !lua_isnil(L, 2);
  if (self->closed) {
    lunado__closing_callback(L, 3, self);
  } else if (!self->has_close_callback) {
    lunado__iostream_release(L, self, IOSTREAM_HELD_CALLBACK);
  } else if (self->peer_ended) {
    lunado__closing_at_end(L, 3, self);
  } else {
    lunado__reading_watch(L, 3, self);
  }
  return 0;
}

static const luaL_Reg functions[] = {
    {"close", stream_close},
    {"__close", stream__close},
    {"closed", stream_closed},
    {"set_close_callback", stream_set_close_callback},
    {NULL, NULL}};

void lunado__closing_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
