/* SPDX-License-Identifier: MIT */
/* address.c - addresses of sockets as Lua tables, and the look-up of names. */
#include "binding/stream/address.h"

#include <string.h>

#include "binding/loop/ioloop.h"
#include "binding/state/uverror.h"
#include "binding/stream/request.h"
#include "core/alloc.h"
#include "core/system.h"

/* Enough for an address of IPv6 with the name of an interface. */
#define LONGEST_IP 80

/* Enough for the path of a local socket, or of a named pipe of Windows in
 * UTF-8. */
#define LONGEST_PATH 1024

/* --- addresses ------------------------------------------------------------ */

void lunado__address_push(lua_State *L, const struct sockaddr *address) {
  char ip[LONGEST_IP] = "";
  bool is_v6 = address->sa_family == AF_INET6;
  const struct sockaddr_in *v4 =
      (const struct sockaddr_in *)(const void *)address;
  const struct sockaddr_in6 *v6 =
      (const struct sockaddr_in6 *)(const void *)address;
  if (is_v6)
    (void)uv_ip6_name(v6, ip, sizeof ip);
  else
    (void)uv_ip4_name(v4, ip, sizeof ip);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, ip);
  lua_setfield(L, -2, "ip");
  lua_pushinteger(L, ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
  lua_setfield(L, -2, "port");
  lua_pushstring(L, is_v6 ? "inet6" : "inet");
  lua_setfield(L, -2, "family");
}

bool lunado__address_parse(const char *ip, int port,
                           struct sockaddr_storage *address) {
  memset(address, 0, sizeof *address);
  return uv_ip4_addr(ip, port, (struct sockaddr_in *)address) == 0 ||
         uv_ip6_addr(ip, port, (struct sockaddr_in6 *)address) == 0;
}

static int push_socket(lua_State *L, const uv_tcp_t *tcp, bool peer) {
  struct sockaddr_storage address;
  int size = sizeof address;
  int rc = peer ? uv_tcp_getpeername(tcp, (struct sockaddr *)&address, &size)
                : uv_tcp_getsockname(tcp, (struct sockaddr *)&address, &size);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lunado__address_push(L, (const struct sockaddr *)&address);
  return 1;
}

static int push_path(lua_State *L, const uv_pipe_t *pipe, bool peer) {
  char path[LONGEST_PATH];
  size_t size = sizeof path;
  int rc = lunado_system_socket_path(pipe, peer, path, &size);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lua_pushlstring(L, path, size);
  return 1;
}

int lunado__address_pushpeer(lua_State *L, const uv_tcp_t *tcp) {
  int count = push_socket(L, tcp, true);
  if (count > 1) return count;
  lua_getfield(L, -1, "ip");
  lua_rawseti(L, -2, 1);
  lua_getfield(L, -1, "port");
  lua_rawseti(L, -2, 2);
  return 1;
}

int lunado__address_pushname(lua_State *L, const uv_handle_t *handle,
                             bool peer) {
  if (uv_is_closing(handle)) return lunado__uverror_pushresults(L, UV_EBADF);
  if (handle->type == UV_TCP)
    return push_socket(L, (const uv_tcp_t *)handle, peer);
  if (handle->type == UV_NAMED_PIPE)
    return push_path(L, (const uv_pipe_t *)handle, peer);
  return lunado__uverror_pushresults(L, UV_ENOTSUP);
}

/* --- names ---------------------------------------------------------------- */

/* A look-up under way. */
typedef struct {
  uv_getaddrinfo_t uv;
  lunado_request request;
} lookup;

/* Pushes a list of { addr =, port =, family = }. */
static void push_list(lua_State *L, const struct addrinfo *info) {
  int n = 0;
  lua_newtable(L);
  for (; info != NULL; info = info->ai_next) {
    if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
    lunado__address_push(L, info->ai_addr);
    lua_getfield(L, -1, "ip");
    lua_setfield(L, -2, "addr");
    lua_rawseti(L, -2, ++n);
  }
}

static bool push_found(lua_State *L, void *info, int status) {
  if (status < 0)
    lunado__uverror_pushname(L, status);
  else
    push_list(L, info);
  return status >= 0;
}

static void on_found(uv_getaddrinfo_t *uv, int status, struct addrinfo *info) {
  lookup *self = lunado_container_of(uv, lookup, uv);
  lunado_loop *core = self->request.core;
  (void)lunado__request_end(NULL, &self->request, push_found, info, status);
  if (info != NULL) uv_freeaddrinfo(info);
  lunado__free(self);
  lunado__request_leave(core);
}

static int family_of(lua_State *L, int arg) {
  static const char *const names[] = {"any", "inet", "inet6", NULL};
  static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
  return families[luaL_checkoption(L, arg, "any", names)];
}

static struct addrinfo hints_of(lua_State *L, int arg) {
  struct addrinfo hints;
  memset(&hints, 0, sizeof hints);
  hints.ai_family = family_of(L, arg);
  hints.ai_socktype = SOCK_STREAM;
  return hints;
}

/* resolve(host, port [, family]) → a Future of a list of { addr =, port =,
 * family = }: the addresses of the host. */
static int core_resolve(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  const char *host = luaL_checkstring(L, 1);
  const char *port = luaL_checkstring(L, 2);
  struct addrinfo hints = hints_of(L, 3);
  lunado_request request;
  lookup *self;
  int rc = UV_ENOMEM;
  lua_settop(L, 3);
  lunado__request_begin(L, loop, &request);
  self = lunado__alloc(sizeof *self);
  if (self != NULL) {
    self->request = request;
    rc =
        uv_getaddrinfo(loop->core->uv, &self->uv, on_found, host, port, &hints);
  }
  if (rc == 0) {
    *request.uv = (uv_req_t *)&self->uv;
    return 1;
  }
  lunado__free(self);
  (void)lunado__request_end(L, &request, push_found, NULL, rc);
  lunado__request_leave(request.core);
  return 1;
}

/* addresses(host or nil, port) → a list of { addr =, port =, family = } to
 * listen on, found while the program waits; nil and the error. */
static int core_addresses(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  const char *host = luaL_optstring(L, 1, NULL);
  const char *port = luaL_checkstring(L, 2);
  struct addrinfo hints = hints_of(L, 3);
  uv_getaddrinfo_t request;
  int rc;
  hints.ai_flags = AI_PASSIVE;
  rc = uv_getaddrinfo(loop->core->uv, &request, NULL, host, port, &hints);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  push_list(L, request.addrinfo);
  uv_freeaddrinfo(request.addrinfo);
  return 1;
}

/* ip_family(ip) → "inet" or "inet6"; nil: it is no IP address. */
static int core_ip_family(lua_State *L) {
  struct sockaddr_storage address;
  if (lunado__address_parse(luaL_checkstring(L, 1), 0, &address))
    lua_pushstring(L, address.ss_family == AF_INET6 ? "inet6" : "inet");
  else
    lua_pushnil(L);
  return 1;
}

static const luaL_Reg functions[] = {{"resolve", core_resolve},
                                     {"addresses", core_addresses},
                                     {"ip_family", core_ip_family},
                                     {NULL, NULL}};

void lunado__address_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
