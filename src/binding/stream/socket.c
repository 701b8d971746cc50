/* SPDX-License-Identifier: MIT */
/*
 * socket.c - queries and options of `stream.handle`.
 *
 * Each method does what luv's of the same name does.  One that fails returns
 * nil, the error's text and its name.
 */
#include "binding/stream/socket.h"

#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "binding/stream/address.h"
#include "binding/stream/closing.h"
#include "binding/stream/iostream.h"
#include "core/write.h"

static lunado_iostream *check(lua_State *L) {
  void *self = lunado__toclass(L, 1, lunado__realm_upvalue(L)->types.stream);
  if (self == NULL) luaL_typeerror(L, 1, "lunado.stream");
  return self;
}

/* libuv's handle; NULL if there is none, or it is closing. */
static uv_handle_t *handle_of(const lunado_iostream *self) {
  if (self->core == NULL || lunado_stream_is_closing(self->core)) return NULL;
  return (uv_handle_t *)self->core->uv;
}

/* The results of a method: of a call of libuv's that returned rc. */
static int results(lua_State *L, int rc) {
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lua_pushinteger(L, rc);
  return 1;
}

static int push_name(lua_State *L, bool peer) {
  const uv_handle_t *handle = handle_of(check(L));
  if (handle == NULL) return results(L, UV_EBADF);
  return lunado__address_pushname(L, handle, peer);
}

/* handle:getsockname() → { ip =, port =, family = }, or the path of a local
 * socket. */
static int socket_getsockname(lua_State *L) { return push_name(L, false); }

/* handle:getpeername() → the same for the peer. */
static int socket_getpeername(lua_State *L) { return push_name(L, true); }

/* handle:is_closing() → whether it is closing, or closed. */
static int socket_is_closing(lua_State *L) {
  const lunado_iostream *self = check(L);
  lua_pushboolean(L,
                  self->core == NULL || lunado_stream_is_closing(self->core));
  return 1;
}

/* handle:is_active() → whether it is read, written or connected just now. */
static int socket_is_active(lua_State *L) {
  const uv_handle_t *handle = handle_of(check(L));
  lua_pushboolean(L, handle != NULL && uv_is_active(handle));
  return 1;
}

/* handle:is_readable(), handle:is_writable() → whether it was opened for that,
 * and is connected. */
static int socket_is_readable(lua_State *L) {
  const lunado_iostream *self = check(L);
  lua_pushboolean(L,
                  self->core != NULL && lunado_stream_is_readable(self->core));
  return 1;
}

static int socket_is_writable(lua_State *L) {
  const lunado_iostream *self = check(L);
  lua_pushboolean(L,
                  self->core != NULL && lunado_stream_is_writable(self->core));
  return 1;
}

/* handle:fileno() → the descriptor. */
static int socket_fileno(lua_State *L) {
  const lunado_iostream *self = check(L);
  const uv_handle_t *handle = handle_of(self);
  uv_os_fd_t fd;
  int rc = UV_EBADF;
  if (handle != NULL)
    rc = uv_fileno(handle, &fd);
  else if (self->core != NULL && self->kind == LUNADO_STREAM_FILE)
    return results(L, self->core->own->file.fd);
  return results(L, rc < 0 ? rc : (int)(intptr_t)fd);
}

/* handle:get_write_queue_size() → how many bytes are not sent yet. */
static int socket_get_write_queue_size(lua_State *L) {
  const lunado_iostream *self = check(L);
  size_t size = self->core != NULL ? lunado_stream_unsent(self->core) : 0;
  lua_pushinteger(L, (lua_Integer)size);
  return 1;
}

/* The handle of a TCP stream.  NULL: it is none, and *rc is the error. */
static uv_tcp_t *tcp_of(const lunado_iostream *self, int *rc) {
  uv_handle_t *handle = handle_of(self);
  *rc = self->kind != LUNADO_STREAM_TCP ? UV_ENOTSUP
        : handle == NULL                ? UV_EBADF
                                        : 0;
  return *rc < 0 ? NULL : (uv_tcp_t *)handle;
}

/* handle:bind(ip, port) → 0: gives the connection to come its own address and
 * port; port 0 stands for any.  If the port is in use, connecting fails. */
static int socket_bind(lua_State *L) {
  int rc;
  uv_tcp_t *tcp = tcp_of(check(L), &rc);
  const char *ip = luaL_checkstring(L, 2);
  lua_Integer port = luaL_checkinteger(L, 3);
  struct sockaddr_storage address;
  luaL_argcheck(L, port >= 0 && port <= UINT16_MAX, 3, "port expected");
  luaL_argcheck(L, lunado__address_parse(ip, (int)port, &address), 2,
                "IP address expected");
  if (tcp != NULL) rc = uv_tcp_bind(tcp, (const struct sockaddr *)&address, 0);
  return results(L, rc);
}

/* handle:nodelay(on) → 0. */
static int socket_nodelay(lua_State *L) {
  int rc;
  uv_tcp_t *tcp = tcp_of(check(L), &rc);
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  if (tcp != NULL) rc = uv_tcp_nodelay(tcp, lua_toboolean(L, 2));
  return results(L, rc);
}

/* handle:keepalive(on [, delay]) → 0.  The first probe leaves after `delay`
 * seconds without traffic. */
static int socket_keepalive(lua_State *L) {
  int rc;
  uv_tcp_t *tcp = tcp_of(check(L), &rc);
  unsigned delay = 0;
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  if (lua_toboolean(L, 2)) {
    lua_Integer seconds = luaL_checkinteger(L, 3);
    luaL_argcheck(L, seconds > 0 && seconds <= INT32_MAX, 3,
                  "seconds expected");
    delay = (unsigned)seconds;
  }
  if (tcp != NULL) rc = uv_tcp_keepalive(tcp, lua_toboolean(L, 2), delay);
  return results(L, rc);
}

static int buffer_size(lua_State *L,
                       int (*function)(uv_handle_t *handle, int *value)) {
  uv_handle_t *handle = handle_of(check(L));
  lua_Integer bytes = luaL_optinteger(L, 2, 0);
  int size, rc;
  luaL_argcheck(L, bytes >= 0 && bytes <= INT_MAX, 2, "size expected");
  size = (int)bytes;
  if (handle == NULL) return results(L, UV_EBADF);
  rc = function(handle, &size);
  return results(L, rc < 0 || bytes > 0 ? rc : size);
}

/* handle:send_buffer_size([size]), handle:recv_buffer_size([size]) → the size
 * of the system's buffer in bytes; 0 if it is set. */
static int socket_send_buffer_size(lua_State *L) {
  return buffer_size(L, uv_send_buffer_size);
}

static int socket_recv_buffer_size(lua_State *L) {
  return buffer_size(L, uv_recv_buffer_size);
}

/* handle:close(): closes the stream, as a library does that closes its handle:
 * with an error. */
static int socket_close(lua_State *L) {
  lunado_iostream *self = check(L);
  luaL_argcheck(L, lua_isnoneornil(L, 2), 2,
                "no value expected: await stream:close()");
  lua_settop(L, 1);
  lunado__uverror_pushname(L, UV_ECANCELED);
  lunado__closing_all(L, 1, self, 2);
  return 0;
}

/* handle:close_reset() → 0: the same, and the peer's reads fail with
 * ECONNRESET. */
static int socket_close_reset(lua_State *L) {
  lunado_iostream *self = check(L);
  int rc;
  lua_settop(L, 1);
  if (tcp_of(self, &rc) == NULL) return results(L, rc);
  rc = lunado_stream_reset_at_close(self->core);
  if (rc < 0) return results(L, rc);
  lua_settop(L, 1);
  (void)socket_close(L);
  return results(L, 0);
}

const luaL_Reg lunado__socket_methods[] = {
    {"getsockname", socket_getsockname},
    {"getpeername", socket_getpeername},
    {"is_closing", socket_is_closing},
    {"is_active", socket_is_active},
    {"is_readable", socket_is_readable},
    {"is_writable", socket_is_writable},
    {"fileno", socket_fileno},
    {"get_write_queue_size", socket_get_write_queue_size},
    {"bind", socket_bind},
    {"nodelay", socket_nodelay},
    {"keepalive", socket_keepalive},
    {"send_buffer_size", socket_send_buffer_size},
    {"recv_buffer_size", socket_recv_buffer_size},
    {"close", socket_close},
    {"close_reset", socket_close_reset},
    {NULL, NULL}};
