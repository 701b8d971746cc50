/* SPDX-License-Identifier: MIT */
/* opening.c - opening files by their paths. */
#include "binding/stream/opening.h"

#include <string.h>
#include <sys/stat.h>

#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/anchor.h"
#include "binding/loop/ioloop.h"
#include "core/alloc.h"
#include "core/loop.h"

/* 0666, less the umask: what C's fopen gives a new file. */
#define NEW_FILE 0666

/* An opening under way: first uv_fs_open, then uv_fs_fstat. */
typedef struct {
  uv_fs_t request;
  lunado_loop *core; /* one reference */
  uint32_t anchor;   /* of the Future, in the loop */
  uv_file fd;        /* -1: not open */
  char path[];
} opening;

static void close_fd(uv_loop_t *uv, uv_file fd) {
  uv_fs_t request;
  (void)uv_fs_close(uv, &request, fd, NULL);
  uv_fs_req_cleanup(&request);
}

/* (future, opening, error): settles it. */
static int deliver(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  opening *self = lua_touserdata(L, 2);
  int error = (int)lua_tointeger(L, 3);
  lunado_future *future = lua_touserdata(L, 1);
  if (!lunado_future_pending(future)) return 0;
  if (error < 0) {
    lua_pushfstring(L, "%s: %s: %s", uv_err_name(error), uv_strerror(error),
                    self->path);
    (void)lunado__failure_new(L, realm, -1, -1);
    lunado__settle_failed(L, realm, 1);
    return 0;
  }
  lua_pushinteger(L, self->fd);
  future->count = 1;
  lunado__settle_known(L, realm, 1, future, LUNADO_DONE);
  self->fd = -1;
  return 0;
}

/* Settles the Future at `future`, also without memory. */
static void tell(lua_State *L, int future, opening *self, int error) {
  lunado_realm *realm = lunado__realm_find(L);
  lua_pushcfunction(L, deliver);
  lua_pushvalue(L, future);
  lua_pushlightuserdata(L, self);
  lua_pushinteger(L, error);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lunado__failure_nomemory(L, realm);
  lunado__settle_failed(L, realm, future);
}

/* It is over; a descriptor that was not delivered is closed. */
static void finish(opening *self, int error) {
  lunado_loop *core = self->core;
  lunado_ioloop *loop = core->owner;
  lunado__loop_enter(core);
  if (!core->closed && lua_checkstack(loop->L, 2 * LUA_MINSTACK)) {
    lua_State *L = loop->L;
    int top = lua_gettop(L);
    lunado__anchor_take(L, loop, self->anchor);
    tell(L, top + 1, self, error);
    lua_settop(L, top);
  }
  if (self->fd >= 0) close_fd(core->uv, self->fd);
  lunado__free(self);
  lunado__loop_leave(core);
  lunado_loop_unref(core);
}

static void on_status(uv_fs_t *request) {
  opening *self = lunado_container_of(request, opening, request);
  int error = (int)request->result;
  if (error == 0 && (request->statbuf.st_mode & S_IFMT) == S_IFDIR)
    error = UV_EISDIR;
  uv_fs_req_cleanup(request);
  finish(self, error);
}

static void on_open(uv_fs_t *request) {
  opening *self = lunado_container_of(request, opening, request);
  int rc = (int)request->result;
  uv_fs_req_cleanup(request);
  if (rc >= 0) {
    self->fd = rc;
    rc = uv_fs_fstat(self->core->uv, request, self->fd, on_status);
  }
  if (rc < 0) finish(self, rc);
}

static int flags_of(lua_State *L, int arg) {
  static const char *const modes[] = {"r", "w", "a", "r+", NULL};
  static const int flags[] = {
      UV_FS_O_RDONLY, UV_FS_O_WRONLY | UV_FS_O_CREAT | UV_FS_O_TRUNC,
      UV_FS_O_WRONLY | UV_FS_O_CREAT | UV_FS_O_APPEND, UV_FS_O_RDWR};
  return flags[luaL_checkoption(L, arg, NULL, modes)];
}

/* open_descriptor(path, mode) → a Future of a descriptor; a directory is an
 * error. */
static int core_open_descriptor(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_current(L, realm);
  size_t length;
  const char *path = luaL_checklstring(L, 1, &length);
  int flags = flags_of(L, 2), rc;
  uint32_t anchor;
  opening *self;
  lua_settop(L, 2);
  lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future), 1);
  anchor = lunado__anchor_add(L, loop);
  self = lunado__alloc(sizeof *self + length + 1);
  if (self == NULL) {
    lunado__anchor_drop(L, loop, anchor);
    return luaL_error(L, "not enough memory");
  }
  self->core = loop->core;
  self->anchor = anchor;
  self->fd = -1;
  memcpy(self->path, path, length + 1);
  lunado_loop_ref(loop->core);
  rc = uv_fs_open(loop->core->uv, &self->request, path, flags, NEW_FILE,
                  on_open);
  if (rc < 0) finish(self, rc);
  return 1;
}

/* guess_handle(fd) → "file", "tcp", "pipe", "tty", "udp" or "unknown". */
static int core_guess_handle(lua_State *L) {
  switch (uv_guess_handle((uv_file)luaL_checkinteger(L, 1))) {
  case UV_FILE:
    lua_pushliteral(L, "file");
    break;
  case UV_TCP:
    lua_pushliteral(L, "tcp");
    break;
  case UV_NAMED_PIPE:
    lua_pushliteral(L, "pipe");
    break;
  case UV_TTY:
    lua_pushliteral(L, "tty");
    break;
  case UV_UDP:
    lua_pushliteral(L, "udp");
    break;
  default:
    lua_pushliteral(L, "unknown");
    break;
  }
  return 1;
}

static const luaL_Reg functions[] = {{"open_descriptor", core_open_descriptor},
                                     {"guess_handle", core_guess_handle},
                                     {NULL, NULL}};

void lunado__opening_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
