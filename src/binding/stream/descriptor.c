/* SPDX-License-Identifier: MIT */
/*
 * descriptor.c - objects that own descriptors.
 *
 * An object is made without a descriptor, and then gets one: so no descriptor
 * is lost when memory runs out.  All descriptors here are marked so that
 * programs do not inherit them (descriptors.h in core).
 */
#include "binding/stream/descriptor.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "core/descriptors.h"
#include "core/system.h"

lunado_descriptor *lunado__descriptor_at(lua_State *L,
                                         const lunado_realm *realm, int idx) {
  return lunado__toclass(L, idx, realm->types.descriptor);
}

lunado_descriptor *lunado__descriptor_check(lua_State *L, int arg) {
  lunado_descriptor *self =
      lunado__descriptor_at(L, lunado__realm_upvalue(L), arg);
  if (self == NULL) luaL_typeerror(L, arg, "descriptor");
  if (self->fd < 0) luaL_argerror(L, arg, "the descriptor is closed");
  return self;
}

static lunado_descriptor *push_new(lua_State *L) {
  lunado_descriptor *self = lua_newuserdatauv(L, sizeof *self, 0);
  self->fd = -1;
  lunado__class_set(L, lunado__realm_upvalue(L)->types.descriptor);
  return self;
}

static void close_descriptor(lunado_descriptor *self) {
  if (self->fd >= 0) (void)close(self->fd);
  self->fd = -1;
}

/* --- methods -------------------------------------------------------------- */

/* descriptor:fileno() → its number. */
static int descriptor_fileno(lua_State *L) {
  lua_pushinteger(L, lunado__descriptor_check(L, 1)->fd);
  return 1;
}

/* descriptor:close(); also __gc, __close. */
static int descriptor_close(lua_State *L) {
  lunado_descriptor *self =
      lunado__descriptor_at(L, lunado__realm_upvalue(L), 1);
  if (self == NULL) luaL_typeerror(L, 1, "descriptor");
  close_descriptor(self);
  return 0;
}

/* descriptor:dup() → another one of the same file; nil and an error. */
static int descriptor_dup(lua_State *L) {
  const lunado_descriptor *self = lunado__descriptor_check(L, 1);
  lunado_descriptor *copy = push_new(L);
  int rc = lunado_dup_cloexec(self->fd);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  copy->fd = rc;
  return 1;
}

static const luaL_Reg methods[] = {{"fileno", descriptor_fileno},
                                   {"close", descriptor_close},
                                   {"dup", descriptor_dup},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", descriptor_close}, {"__close", descriptor_close}, {NULL, NULL}};

/* --- functions ------------------------------------------------------------ */

/* Pushes two new descriptors that `open` opens, which gets `option` as well; or
 * nil and an error. */
static int push_two(lua_State *L, int (*open)(uv_file fds[2], int option),
                    int option) {
  lunado_descriptor *first = push_new(L), *second = push_new(L);
  uv_file fds[2];
  int rc = open(fds, option);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  first->fd = fds[0];
  second->fd = fds[1];
  return 2;
}

enum { READ, WRITE };

static int open_pipe(uv_file fds[2], int ours) {
  return uv_pipe(fds, ours == READ ? UV_NONBLOCK_PIPE : 0,
                 ours == WRITE ? UV_NONBLOCK_PIPE : 0);
}

/* pipe(ours) → the ends of a new pipe, to be read and to be written.  `ours` is
 * "read" or "write": the end that will be a stream.  On Windows libuv needs a
 * thread for a stream on any other end. */
static int core_pipe(lua_State *L) {
  static const char *const names[] = {"read", "write", NULL};
  return push_two(L, open_pipe, luaL_checkoption(L, 1, NULL, names));
}

static int open_socketpair(uv_file fds[2], int option) {
  (void)option;
  return lunado_system_socketpair(fds);
}

/* socketpair() → two sockets that are connected with each other. */
static int core_socketpair(lua_State *L) {
  return push_two(L, open_socketpair, 0);
}

/* own_descriptor(number) → the object that owns an open descriptor; nil and an
 * error. */
static int core_own_descriptor(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  lunado_descriptor *self = push_new(L);
  if (fd < 0 || fd > INT_MAX || !lunado_cloexec((int)fd))
    return lunado__uverror_pushresults(L, UV_EBADF);
  self->fd = (int)fd;
  return 1;
}

/* descriptor_identity(number) → a text that is the same for all descriptors of
 * the same socket or pipe, and for no others at this time; nil and an error. */
static int core_descriptor_identity(lua_State *L) {
  struct stat status;
  if (fstat((int)luaL_checkinteger(L, 1), &status) < 0)
    return lunado__uverror_pushresults(L, uv_translate_sys_error(errno));
  lua_pushfstring(L, "%I:%I", (lua_Integer)status.st_dev,
                  (lua_Integer)status.st_ino);
  return 1;
}

/* claim_descriptors() → true for the one state of the process that may own the
 * descriptors which the process has got from its parent. */
static int core_claim_descriptors(lua_State *L) {
  static atomic_flag claimed = ATOMIC_FLAG_INIT;
  lua_pushboolean(L, !atomic_flag_test_and_set(&claimed));
  return 1;
}

static const luaL_Reg functions[] = {
    {"pipe", core_pipe},
    {"descriptor_identity", core_descriptor_identity},
    {"claim_descriptors", core_claim_descriptors},
    {"socketpair", core_socketpair},
    {"own_descriptor", core_own_descriptor},
    {NULL, NULL}};

void lunado__descriptor_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__descriptor_open(lua_State *L, lunado_realm *realm) {
  realm->types.descriptor =
      lunado__class_new(L, "lunado.descriptor", methods, metamethods);
  lua_pop(L, 1);
}
