/* SPDX-License-Identifier: MIT */
/* opening.c - opening files by their paths. */
#include "binding/stream/opening.h"

#include <string.h>
#include <sys/stat.h>

#include "binding/loop/ioloop.h"
#include "binding/state/uverror.h"
#include "binding/stream/request.h"
#include "core/alloc.h"
#include "core/file.h"

/* 0666, less the umask: what C's fopen gives a new file. */
#define NEW_FILE 0666

/* An opening under way: first uv_fs_open, then uv_fs_fstat. */
typedef struct {
  uv_fs_t uv;
  lunado_request request;
  uv_file fd; /* -1: not open */
  char path[];
} opening;

static void close_fd(uv_loop_t *uv, uv_file fd) {
  uv_fs_t request;
  (void)uv_fs_close(uv, &request, fd, NULL);
  uv_fs_req_cleanup(&request);
}

static bool push_fd(lua_State *L, void *data, int status) {
  const opening *self = data;
  if (status < 0)
    lua_pushfstring(L, "%s: %s: %s", uv_err_name(status), uv_strerror(status),
                    self->path);
  else
    lua_pushinteger(L, self->fd);
  return status >= 0;
}

/* It is over, on L as for lunado__request_end; a descriptor that was not
 * delivered is closed. */
static void finish(lua_State *L, opening *self, int error) {
  lunado_loop *core = self->request.core;
  bool delivered = lunado__request_end(L, &self->request, push_fd, self, error);
  if (self->fd >= 0 && !delivered) close_fd(core->uv, self->fd);
  lunado__free(self);
  lunado__request_leave(core);
}

static void on_status(uv_fs_t *uv) {
  opening *self = lunado_container_of(uv, opening, uv);
  int error = (int)uv->result;
  if (error == 0 && (uv->statbuf.st_mode & S_IFMT) == S_IFDIR)
    error = UV_EISDIR;
  uv_fs_req_cleanup(uv);
  finish(NULL, self, error);
}

static void on_open(uv_fs_t *uv) {
  opening *self = lunado_container_of(uv, opening, uv);
  int rc = (int)uv->result;
  uv_fs_req_cleanup(uv);
  if (rc >= 0) {
    self->fd = rc;
    rc = uv_fs_fstat(self->request.core->uv, uv, self->fd, on_status);
  }
  if (rc < 0) finish(NULL, self, rc);
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
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  size_t length;
  const char *path = luaL_checklstring(L, 1, &length);
  int flags = flags_of(L, 2), rc;
  lunado_request request;
  opening *self;
  lua_settop(L, 2);
  lunado__request_begin(L, loop, &request);
  self = lunado__alloc(sizeof *self + length + 1);
  if (self == NULL) {
    lunado__request_cancel(L, loop, &request);
    return luaL_error(L, "not enough memory");
  }
  self->request = request;
  self->fd = -1;
  memcpy(self->path, path, length + 1);
  rc = uv_fs_open(loop->core->uv, &self->uv, path, flags, NEW_FILE, on_open);
  if (rc < 0)
    finish(L, self, rc);
  else
    *request.uv = (uv_req_t *)&self->uv;
  return 1;
}

/* guess_handle(fd) → "file", "tcp", "pipe", "tty", "udp" or "unknown".  Raises
 * if the descriptor is not open. */
static int core_guess_handle(lua_State *L) {
  uv_file fd = (uv_file)luaL_checkinteger(L, 1);
  const char *name = uv_handle_type_name(uv_guess_handle(fd));
  int rc = lunado_file_check(fd);
  if (rc < 0) {
    lunado__uverror_pushtext(L, rc);
    return lua_error(L);
  }
  lua_pushstring(L, name != NULL ? name : "unknown");
  return 1;
}

/* file_of(handle) → the descriptor of a file with which luv's pipe was opened;
 * nil if it is no file.  On Windows libuv opens no file as a pipe.  Raises if
 * the descriptor is not open. */
static int core_file_of(lua_State *L) {
#ifdef _WIN32
  (void)L;
  return 0;
#else
  uv_os_fd_t fd;
  int rc;
  luaL_checktype(L, 1, LUA_TUSERDATA);
  if (uv_fileno(*(uv_handle_t **)lua_touserdata(L, 1), &fd) < 0) return 0;
  rc = lunado_file_check(fd);
  if (rc < 0) {
    lunado__uverror_pushtext(L, rc);
    return lua_error(L);
  }
  if (uv_guess_handle(fd) != UV_FILE) return 0;
  lua_pushinteger(L, fd);
  return 1;
#endif
}

/* close_descriptor(fd) */
static int core_close_descriptor(lua_State *L) {
  close_fd(NULL, (uv_file)luaL_checkinteger(L, 1));
  return 0;
}

static const luaL_Reg functions[] = {
    {"open_descriptor", core_open_descriptor},
    {"close_descriptor", core_close_descriptor},
    {"guess_handle", core_guess_handle},
    {"file_of", core_file_of},
    {NULL, NULL}};

void lunado__opening_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
