/* SPDX-License-Identifier: MIT */
/* filtering.c - streams with a filter, such as TLS. */
#include "binding/stream/filtering.h"

#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/state/uverror.h"
#include "binding/stream/closing.h"
#include "binding/stream/reading.h"
#include "core/filter.h"

/* --- errors --------------------------------------------------------------- */

/* Pushes the filter's error.  Returns false, and pushes nothing, if it has
 * none. */
static bool push_failure(lua_State *L, int idx) {
  int top = lua_gettop(L);
  if (lunado__iostream_get(L, idx, IOSTREAM_FILTER) != LUA_TUSERDATA) {
    lua_settop(L, top);
    return false;
  }
  lua_getfield(L, -1, "failure");
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  lua_replace(L, top + 1);
  if (!lua_isnil(L, -1)) return true;
  lua_settop(L, top);
  return false;
}

/* Sets the message of the StreamClosedErrors to what was being started, and the
 * cause on top. */
static void set_message(lua_State *L, int idx) {
  int cause = lua_gettop(L);
  lunado__iostream_get(L, idx, IOSTREAM_TARGET);
  luaL_tolstring(L, cause, NULL);
  lua_pushfstring(L, "%s: %s", lua_tostring(L, -2), lua_tostring(L, -1));
  lunado__iostream_set(L, idx, IOSTREAM_CLOSE_MESSAGE);
  lua_settop(L, cause);
}

void lunado__filtering_pushcause(lua_State *L, int idx, lunado_iostream *self,
                                 int status) {
  if (status != LUNADO_FILTER_ERROR || !push_failure(L, idx))
    lunado__uverror_pushname(L, status);
  if (self->starting && !self->closed) set_message(L, idx);
}

void lunado__filtering_fail(lua_State *L, int idx, lunado_iostream *self) {
  if (!self->starting) return;
  self->starting = false;
  lunado__iostream_get(L, idx, IOSTREAM_STARTING);
  lunado__closing_fail(L, idx, self, 0, false);
  lunado__iostream_release(L, self, IOSTREAM_HELD_STARTING);
}

/* --- the core's event ----------------------------------------------------- */

/* (stream): the handshake has ended well. */
static int finish(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  lua_settop(L, 1);
  lunado__iostream_get(L, 1, IOSTREAM_FILTER);
  lua_getfield(L, 2, "started");
  lua_pushvalue(L, 2);
  lua_getiuservalue(L, 1, IOSTREAM_OBJECT);
  lua_call(L, 2, 0);
  if (!self->starting) return 0;
  self->starting = false;
  lua_getiuservalue(L, 1, IOSTREAM_OBJECT);
  lunado__iostream_settle(L, self->loop->realm, 1, IOSTREAM_STARTING);
  lunado__iostream_release(L, self, IOSTREAM_HELD_STARTING);
  return 0;
}

void lunado__filtering_started(lunado_stream *core) {
  lunado_iostream *self = core->owner;
  if (self != NULL && self->starting) lunado__iostream_call(self, finish, 0, 0);
}

/* --- starting ------------------------------------------------------------- */

/* Closes the stream during the handshake, because of the error on top. */
static void abandon(lua_State *L, int idx, lunado_iostream *self) {
  int cause = lua_gettop(L);
  set_message(L, idx);
  lunado__closing_all(L, idx, self, cause);
}

/* (future, stream): closes the stream, because all that waited for its
 * handshake were cancelled. */
static int give_up_start(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 2);
  if (!self->starting || self->closed) return 0;
  lua_settop(L, 2);
  lua_pushliteral(L, "it was cancelled");
  set_message(L, 2);
  self->starting = false; /* so that closing does not fail the Future */
  lunado__iostream_take(L, 2, IOSTREAM_STARTING);
  lunado__iostream_release(L, self, IOSTREAM_HELD_STARTING);
  lunado__closing_all(L, 2, self, 0);
  return 0;
}

/* Pushes the Future of the handshake of the stream at idx. */
static void push_future(lua_State *L, lunado_realm *realm, int idx) {
  lunado_request_future *future = lunado__future_new(
      L, realm, LUNADO_KIND_REQUEST, sizeof *future, LUNADO_FUTURE_REQUEST);
  future->give_up = give_up_start;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, LUNADO_FUTURE_REQUEST);
}

/* Pushes why the open stream cannot get a filter, and returns true. */
static bool is_refused(lua_State *L, int idx, lunado_iostream *self) {
  bool is_read = lunado__reading_pending(L, idx, self, true);
  size_t ahead = lunado_bytes_size(&self->in);
  const char *why = NULL;
  if (self->closed) return false;
  if (self->kind == LUNADO_STREAM_FILE || self->kind == LUNADO_STREAM_TTY)
    why = "a file or terminal has no other side";
  else if (self->core->closed) /* with its loop, which still runs */
    why = "the IOLoop is closed";
  else if (self->core->filtering != NULL)
    why = "the stream has TLS already";
  else if (is_read)
    why = "the stream is being read";
  else if (self->write_closed)
    why = "the stream is closed for writing";
  else if (!self->connecting && (!lunado_stream_is_readable(self->core) ||
                                 !lunado_stream_is_writable(self->core)))
    why = "the stream has one direction only";
  if (why != NULL)
    lua_pushstring(L, why);
  else if (ahead > 0)
    lua_pushfstring(L,
                    "the peer has sent %I bytes of plain text that were not "
                    "read",
                    (LUAI_UACINT)ahead);
  return why != NULL || ahead > 0;
}

/* Gives the stream the filter at 2, and begins to read. */
static void start(lua_State *L, int idx, lunado_iostream *self) {
  lunado_filter *filter = lua_touserdata(L, 2);
  lunado_iostream_caller caller;
  int rc;
  self->starting = true;
  lunado__iostream_enter(L, self, &caller);
  rc = lunado_stream_set_filter(self->core, filter);
  lunado__iostream_leave(&caller);
  if (rc == 0) {
    if (self->starting) lunado__reading_start(L, idx, self);
    return;
  }
  self->starting = false;
  lunado__iostream_release(L, self, IOSTREAM_HELD_STARTING);
  lunado__uverror_pushtext(L, rc);
  lua_error(L);
}

/* Returns a Future that has failed, because the stream is closed. */
static int fail_closed(lua_State *L, int idx, lunado_iostream *self) {
  lunado__closing_pusherror(L, idx, self, 0);
  lunado__closing_pushfailed(L, self);
  return 1;
}

/* Returns nil, and why, which is on top. */
static int refuse(lua_State *L) {
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

/* stream:_start_filter(filter, object, target) → a Future of the stream itself
 * when the filter's handshake has ended well; nil and why the stream cannot
 * have it.  `filter` is an address, which `object` keeps valid; `target` is for
 * messages: "handshake with whom". */
static int stream__start_filter(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self;
  luaL_checktype(L, 2, LUA_TLIGHTUSERDATA);
  luaL_checktype(L, 3, LUA_TUSERDATA);
  luaL_checkstring(L, 4);
  lua_settop(L, 4);
  lunado__iostream_reserve(L);
  self = lunado__iostream_check(L);
  push_future(L, realm, 5);
  if (self->closed) return fail_closed(L, 5, self);
  if (is_refused(L, 5, self)) return refuse(L);
  lua_pushvalue(L, 6);
  lunado__iostream_set(L, 5, IOSTREAM_STARTING);
  lua_pushvalue(L, 4);
  lunado__iostream_set(L, 5, IOSTREAM_TARGET);
  lua_pushvalue(L, 3);
  lunado__iostream_set(L, 5, IOSTREAM_FILTER);
  lunado__iostream_hold(L, 5, self, IOSTREAM_HELD_STARTING);
  if (!self->closed && self->peer_ended) lunado__closing_close(L, 5, self, 0);
  if (self->closed || is_refused(L, 5, self)) { /* by a finalizer, too */
    lunado__iostream_release(L, self, IOSTREAM_HELD_STARTING);
    if (!self->closed) return refuse(L);
    return fail_closed(L, 5, self);
  }
  start(L, 5, self);
  lua_settop(L, 6);
  return 1;
}

/* stream:_abandon_start(cause): closes the stream, if its handshake has not
 * ended. */
static int stream__abandon_start(lua_State *L) {
  lunado_iostream *self;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  self = lunado__iostream_check(L);
  lua_insert(L, 2);
  if (self->starting && !self->closed) abandon(L, 2, self);
  return 0;
}

/* stream:_filter() → the filter's object, or nil. */
static int stream__filter(lua_State *L) {
  (void)lunado__iostream_alone(L);
  lunado__iostream_get(L, 2, IOSTREAM_FILTER);
  return 1;
}

static const luaL_Reg functions[] = {{"_start_filter", stream__start_filter},
                                     {"_abandon_start", stream__abandon_start},
                                     {"_filter", stream__filter},
                                     {NULL, NULL}};

void lunado__filtering_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
