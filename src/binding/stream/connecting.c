/* SPDX-License-Identifier: MIT */
/* connecting.c - connecting a stream. */
#include "binding/stream/connecting.h"

#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/state/uverror.h"
#include "binding/stream/address.h"
#include "binding/stream/closing.h"
#include "binding/stream/reading.h"

/* The connection failed with the error on top: closes the stream. */
static void failed(lua_State *L, int idx, lunado_iostream *self) {
  int cause = lua_gettop(L);
  if (self->closed) return;
  lunado__iostream_get(L, idx, IOSTREAM_TARGET);
  lua_pushfstring(L, "cannot connect to %s: %s", lua_tostring(L, -1),
                  lua_tostring(L, cause));
  lunado__iostream_set(L, idx, IOSTREAM_CLOSE_MESSAGE);
  lunado__closing_close(L, idx, self, cause);
}

void lunado__connecting_fail(lua_State *L, int idx, lunado_iostream *self) {
  if (!self->connecting) return;
  self->connecting = false;
  lunado__iostream_get(L, idx, IOSTREAM_CONNECT);
  lunado__closing_fail(L, idx, self, 0, false);
  lunado__iostream_release(L, self, IOSTREAM_HELD_CONNECT);
}

/* (stream, status): connecting has ended. */
static int finish(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  int status = (int)lua_tointeger(L, 2);
  lua_settop(L, 1);
  if (status != 0) {
    lunado__uverror_pushname(L, status);
    failed(L, 1, self);
    return 0;
  }
  self->connecting = false;
  lua_getiuservalue(L, 1, IOSTREAM_OBJECT);
  lunado__iostream_settle(L, self->loop->realm, 1, IOSTREAM_CONNECT);
  lunado__iostream_release(L, self, IOSTREAM_HELD_CONNECT);
  if (self->holds & IOSTREAM_KEEPS_ALIVE) lunado__reading_start(L, 1, self);
  return 0;
}

void lunado__connecting_connected(lunado_stream *core, int error) {
  lunado_iostream *self = core->owner;
  if (self != NULL && self->connecting)
    lunado__iostream_call(self, finish, error, 0);
}

/* Connects to argument 2, with argument 3 to a port.  Returns 0 or an error. */
static int start(lua_State *L, lunado_iostream *self) {
  const char *address = lua_tostring(L, 2);
  struct sockaddr_storage storage;
  if (lua_isnil(L, 3)) return lunado_stream_connect_pipe(self->core, address);
  if (!lunado__address_parse(address, (int)lua_tointeger(L, 3), &storage))
    return UV_EINVAL;
  return lunado_stream_connect(self->core, (const struct sockaddr *)&storage);
}

/* If connecting could not begin: closes the stream at 5, and fails the Future
 * at 6. */
static void fail_at_once(lua_State *L, lunado_iostream *self, int rc) {
  lunado__iostream_release(L, self, IOSTREAM_HELD_CONNECT);
  if (rc == UV_EINVAL && self->kind == LUNADO_STREAM_TCP)
    lua_pushfstring(L, "EINVAL: not an IP address: %s", lua_tostring(L, 2));
  else
    lunado__uverror_pushname(L, rc);
  failed(L, 5, self);
  lua_settop(L, 6);
  lua_pushvalue(L, 6);
  lunado__closing_fail(L, 5, self, 0, false);
}

/* (future, stream): closes the stream, because all that waited for its connect
 * were cancelled. */
static int give_up_connect(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 2);
  if (!self->connecting || self->closed) return 0;
  lunado__iostream_get(L, 2, IOSTREAM_TARGET);
  lua_pushfstring(L, "connecting to %s was cancelled", lua_tostring(L, 3));
  lunado__iostream_set(L, 2, IOSTREAM_CLOSE_MESSAGE);
  self->connecting = false; /* so that closing does not fail the Future */
  lunado__iostream_take(L, 2, IOSTREAM_CONNECT);
  lunado__iostream_release(L, self, IOSTREAM_HELD_CONNECT);
  lunado__closing_close(L, 2, self, 0);
  return 0;
}

/* Pushes the Future of the connect of the stream at idx. */
static void push_future(lua_State *L, lunado_realm *realm, int idx) {
  lunado_request_future *future = lunado__future_new(
      L, realm, LUNADO_KIND_REQUEST, sizeof *future, LUNADO_FUTURE_REQUEST);
  future->give_up = give_up_connect;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, LUNADO_FUTURE_REQUEST);
}

/* stream:_connect(address, port or nil, target) → a Future of the stream itself
 * when it is connected; nil if it is being connected already.  `target` is for
 * messages. */
static int stream__connect(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self;
  int rc;
  luaL_checkstring(L, 2);
  lua_settop(L, 4);
  self = lunado__iostream_check(L);
  push_future(L, realm, 5);
  lunado__iostream_pushtable(L, 5, IOSTREAM_RARE);
  lua_pop(L, 1);
  if (self->connecting) return 0;
  if (self->closed) {
    lunado__closing_pusherror(L, 5, self, 0);
    lunado__closing_pushfailed(L, self);
    return 1;
  }
  lunado__iostream_hold(L, 5, self, IOSTREAM_HELD_CONNECT);
  lua_pushvalue(L, 6);
  lunado__iostream_set(L, 5, IOSTREAM_CONNECT);
  lua_pushvalue(L, 4);
  lunado__iostream_set(L, 5, IOSTREAM_TARGET);
  rc = start(L, self);
  self->connecting = rc == 0;
  if (rc < 0) fail_at_once(L, self, rc);
  return 1;
}

/* stream:set_nodelay(on): sends small writes at once, or (the default) combines
 * them.  Tornado: IOStream.set_nodelay. */
static int stream_set_nodelay(lua_State *L) {
  lunado_iostream *self;
  lua_settop(L, 2);
  self = lunado__iostream_check(L);
  if (!self->closed && self->core->kind == LUNADO_STREAM_TCP &&
      !lunado_stream_is_closing(self->core))
    (void)uv_tcp_nodelay((uv_tcp_t *)self->core->uv, lua_toboolean(L, 2));
  return 0;
}

/* stream:_kind() → "tcp", "pipe", "tty" or "file". */
static int stream__kind(lua_State *L) {
  static const char *const kinds[] = {
      [LUNADO_STREAM_TCP] = "tcp",
      [LUNADO_STREAM_PIPE] = "pipe",
      [LUNADO_STREAM_TTY] = "tty",
      [LUNADO_STREAM_FILE] = "file",
  };
  const lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushstring(L, kinds[self->kind]);
  return 1;
}

/* stream:_take_peer() → the address of the peer, of a stream that was just
 * accepted. */
static int stream__take_peer(lua_State *L) {
  (void)lunado__iostream_alone(L);
  lunado__iostream_take(L, 2, IOSTREAM_WHAT);
  return 1;
}

/* stream:_served(): the handler of the connection has returned. */
static int stream__served(lua_State *L) {
  lunado__iostream_alone(L)->serving = false;
  return 0;
}

static const luaL_Reg functions[] = {{"_kind", stream__kind},
                                     {"_served", stream__served},
                                     {"_take_peer", stream__take_peer},
                                     {"_connect", stream__connect},
                                     {"set_nodelay", stream_set_nodelay},
                                     {NULL, NULL}};

void lunado__connecting_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
