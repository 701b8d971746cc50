/* SPDX-License-Identifier: MIT */
/*
 * listener.c - listening for connections, and accepting them.
 *
 * The loop holds a listener while it is open.
 */
#include "binding/stream/listener.h"

#include <string.h>

#include "binding/future/done.h"
#include "binding/future/future.h"
#include "binding/loop/anchor.h"
#include "binding/loop/callback.h"
#include "binding/state/class.h"
#include "binding/state/context.h"
#include "binding/state/uverror.h"
#include "binding/stream/address.h"
#include "binding/stream/descriptor.h"
#include "binding/stream/iostream.h"
#include "core/handle.h"
#include "core/listen.h"
#include "core/system.h"

/* User values. */
enum {
  LISTENER_LOOP = 1,
  LISTENER_FUNCTION, /* to be called for each connection */
  LISTENER_HANDLE,   /* luv's handle that was adopted; or nil */
  LISTENER_VALUES = LISTENER_HANDLE
};

typedef struct {
  lunado_stream *core; /* NULL: it is closed */
  lunado_ioloop *loop; /* LISTENER_LOOP holds it */
  uint32_t anchor;     /* in the loop, while `core` is not NULL */
} listener;

static listener *check_listener(lua_State *L) {
  void *self = lunado__toclass(L, 1, lunado__realm_upvalue(L)->types.listener);
  if (self == NULL) luaL_typeerror(L, 1, "lunado.listener");
  return self;
}

/* --- events --------------------------------------------------------------- */

/* Calls the function with the listener and the name of the error, or nil. */
static void on_incoming(lunado_stream *core, int error) {
  listener *self = core->owner;
  lunado_ioloop *loop = self->loop;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lunado__anchor_push(L, loop, self->anchor);
  lua_getiuservalue(L, top + 1, LISTENER_FUNCTION);
  lua_pushvalue(L, top + 1);
  if (error < 0)
    lua_pushstring(L, uv_err_name(error));
  else
    lua_pushnil(L);
  lunado__callback(L, loop->realm, loop, 2);
  lua_settop(L, top);
}

static void on_closed(lunado_stream *core) {
  listener *self = core->owner;
  self->core = NULL;
  if (!core->loop->closed)
    lunado__anchor_drop(self->loop->L, self->loop, self->anchor);
}

static const lunado_stream_events listener_events = {.incoming = on_incoming,
                                                     .closed = on_closed};

/* --- making --------------------------------------------------------------- */

/* Pushes a closed listener that will call the function at `function`. */
static listener *new_listener(lua_State *L, lunado_ioloop *loop, int function) {
  listener *self = lua_newuserdatauv(L, sizeof *self, LISTENER_VALUES);
  memset(self, 0, sizeof *self);
  self->loop = loop;
  lunado__ioloop_push(L, loop);
  lua_setiuservalue(L, -2, LISTENER_LOOP);
  lua_pushvalue(L, function);
  lunado__context_wrap_if_any(L, loop->realm, lua_gettop(L));
  lua_setiuservalue(L, -2, LISTENER_FUNCTION);
  lunado__class_set(L, loop->realm->types.listener);
  self->anchor = lunado__anchor_add(L, loop);
  return self;
}

/* The listener on top has an open stream, or not. */
static int finish(lua_State *L, listener *self, lunado_stream *core, int rc,
                  int backlog) {
  if (rc == 0) rc = lunado_stream_listen(core, backlog);
  if (rc == 0) {
    self->core = core;
    core->owner = self;
    core->events = &listener_events;
    return 1;
  }
  if (core != NULL) lunado_stream_close(core);
  lunado__anchor_drop(L, self->loop, self->anchor);
  return lunado__uverror_pushresults(L, rc);
}

/* listen(function, backlog, ip, port) → a listener that calls
 * function(listener, error or nil) for each connection; nil and the error.  An
 * address of IPv6 does not stand for one of IPv4 as well. */
static int core_listen(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  int backlog = (int)luaL_checkinteger(L, 2), rc;
  struct sockaddr_storage address;
  lunado_stream *core;
  listener *self;
  if (!lunado__address_parse(luaL_checkstring(L, 3),
                             (int)luaL_checkinteger(L, 4), &address))
    return lunado__uverror_pushresults(L, UV_EINVAL);
  self = new_listener(L, loop, 1);
  rc = lunado_stream_new(&core, loop->core, LUNADO_STREAM_TCP);
  if (rc == 0)
    rc = lunado_stream_bind(core, (struct sockaddr *)&address,
                            address.ss_family == AF_INET6);
  return finish(L, self, core, rc, backlog);
}

/* listen_unix(function, backlog, path, mode) → the same on a local socket, in
 * place of one that another program has left at the path. */
static int core_listen_unix(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  int backlog = (int)luaL_checkinteger(L, 2), rc;
  const char *path = luaL_checkstring(L, 3);
  unsigned mode = (unsigned)luaL_checkinteger(L, 4);
  lunado_stream *core;
  listener *self = new_listener(L, loop, 1);
  rc = lunado_stream_new(&core, loop->core, LUNADO_STREAM_PIPE);
  if (rc == 0) {
    lunado_system_remove_socket(path);
    rc = lunado_stream_bind_pipe(core, path);
  }
  if (rc == 0) rc = lunado_system_set_mode(path, mode);
  return finish(L, self, core, rc, backlog);
}

/* listen_on(function, backlog, handle) → the same on a bound handle of luv's,
 * uv_tcp or uv_pipe. */
static int core_listen_on(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int backlog = (int)luaL_checkinteger(L, 2), rc;
  lunado_ioloop *loop;
  lunado_stream *core;
  listener *self;
  uv_stream_t *handle;
  luaL_checktype(L, 3, LUA_TUSERDATA);
  lua_settop(L, 3);
  handle = *(uv_stream_t **)lua_touserdata(L, 3);
  loop = lunado__iostream_loop_on(L, realm, handle->loop);
  self = new_listener(L, loop, 1);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, LISTENER_HANDLE);
  if (lunado__handle_adopter(handle) != NULL) {
    core = NULL;
    rc = UV_EBUSY;
  } else {
    rc = lunado_stream_adopt(&core, loop->core, handle);
  }
  return finish(L, self, core, rc, backlog);
}

/* listen_descriptor(function, backlog, kind, descriptor) → the same on a bound
 * socket, "tcp" or "pipe", which is the listener's from then on. */
static int core_listen_descriptor(lua_State *L) {
  static const char *const kinds[] = {"tcp", "pipe", NULL};
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  int backlog = (int)luaL_checkinteger(L, 2), rc;
  lunado_stream_kind kind =
      (lunado_stream_kind)luaL_checkoption(L, 3, NULL, kinds);
  lunado_descriptor *given = lunado__descriptor_check(L, 4);
  lunado_stream *core;
  listener *self = new_listener(L, loop, 1);
  rc = lunado_stream_new_open(&core, loop->core, kind, given->fd);
  if (rc == 0) given->fd = -1;
  return finish(L, self, core, rc, backlog);
}

/* listener_lost(error, handle): luv closes its handle. */
static int core_listener_lost(lua_State *L) {
  lunado_stream *core;
  luaL_checktype(L, 2, LUA_TUSERDATA);
  core = lunado__handle_adopter(*(uv_stream_t **)lua_touserdata(L, 2));
  if (core != NULL) lunado_stream_close(core);
  return 0;
}

/* --- methods -------------------------------------------------------------- */

/* (stream, connection): pushes the address of the peer.  Returns false if the
 * peer has disconnected already. */
static bool push_peer(lua_State *L, const lunado_stream *core) {
  if (core->kind == LUNADO_STREAM_TCP)
    return lunado__address_pushpeer(L, (const uv_tcp_t *)core->uv) == 1;
  lua_pushliteral(L, "");
  return true;
}

/* listener:accept(object) → true, and `object` is the stream of the incoming
 * connection; nil if the peer has disconnected already; nil and an error. */
static int listener_accept(lua_State *L) {
  listener *self = check_listener(L);
  lunado_iostream *stream;
  lunado_stream *core;
  int rc;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  stream = lunado__iostream_new(L, self->loop, 2);
  if (self->core == NULL) return lunado__uverror_pushresults(L, UV_ECANCELED);
  rc = lunado_stream_accept(self->core, &core);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lunado__iostream_attach(stream, core);
  stream->serving = true;
  if (core->kind == LUNADO_STREAM_TCP)
    (void)uv_tcp_nodelay((uv_tcp_t *)core->uv, 1);
  if (!push_peer(L, core)) {
    if (stream->core != NULL) lunado_stream_close(stream->core);
    return 0;
  }
  lua_setiuservalue(L, 3, IOSTREAM_WHAT);
  lua_pushboolean(L, 1);
  return 1;
}

/* listener:getsockname() → as that of a stream's handle. */
static int listener_getsockname(lua_State *L) {
  const listener *self = check_listener(L);
  if (self->core == NULL) return lunado__uverror_pushresults(L, UV_EBADF);
  return lunado__address_pushname(L, (const uv_handle_t *)self->core->uv,
                                  false);
}

/* listener:fileno() → the descriptor, which stays the listener's. */
static int listener_fileno(lua_State *L) {
  const listener *self = check_listener(L);
  uv_os_fd_t fd;
  int rc = UV_EBADF;
  if (self->core != NULL && !lunado_stream_is_closing(self->core))
    rc = uv_fileno((const uv_handle_t *)self->core->uv, &fd);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lua_pushinteger(L, (lua_Integer)(intptr_t)fd);
  return 1;
}

/* listener:close(): accepts no more.  A handle of luv's is closed, too. */
static int listener_close(lua_State *L) {
  listener *self = check_listener(L);
  bool open = self->core != NULL;
  if (open) lunado_stream_close(self->core);
  if (!open || lua_getiuservalue(L, 1, LISTENER_HANDLE) != LUA_TUSERDATA)
    return 0;
  lua_getfield(L, -1, "is_closing");
  lua_pushvalue(L, -2);
  lua_call(L, 1, 1);
  if (lua_toboolean(L, -1)) return 0;
  lua_pop(L, 1);
  lua_getfield(L, -1, "close");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  return 0;
}

static const luaL_Reg methods[] = {{"accept", listener_accept},
                                   {"getsockname", listener_getsockname},
                                   {"fileno", listener_fileno},
                                   {"close", listener_close},
                                   {NULL, NULL}};

/* At the end of the state the loop may be finalized later. */
static int listener__gc(lua_State *L) {
  listener *self = lua_touserdata(L, 1);
  lunado_stream *core = self->core;
  self->core = NULL;
  if (core == NULL) return 0;
  core->owner = NULL;
  lunado_stream_close(core);
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", listener__gc}, {NULL, NULL}};

/* discard(future, callback): if the coroutine of the Future, which nothing else
 * has, fails, its error is reported as one of the callback. */
static int core_discard(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lua_settop(L, 2);
  (void)lunado__checkfuture(L, realm, 1);
  lunado__done_discard_coroutine(L, realm, realm->loops.current, 1, 2);
  return 0;
}

/* accepted() → the number of open streams that listeners of the current loop
 * have accepted. */
static int core_accepted(lua_State *L) {
  const lunado_ioloop *loop =
      lunado__ioloop_current(L, lunado__realm_upvalue(L));
  lua_pushinteger(L, (lua_Integer)loop->core->accepted);
  return 1;
}

static const luaL_Reg functions[] = {
    {"discard", core_discard},
    {"accepted", core_accepted},
    {"listen_descriptor", core_listen_descriptor},
    {"listen", core_listen},
    {"listen_unix", core_listen_unix},
    {"listen_on", core_listen_on},
    {"listener_lost", core_listener_lost},
    {NULL, NULL}};

void lunado__listener_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__listener_open(lua_State *L, lunado_realm *realm) {
  realm->types.listener =
      lunado__class_new(L, "lunado.listener", methods, metamethods);
  lua_pop(L, 1);
}
