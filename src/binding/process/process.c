/* SPDX-License-Identifier: MIT */
/*
 * process.c - programs that were started: the C part of lunado.process.
 *
 * The loop holds a process from its start until its Future has got the status,
 * which happens in a turn after the end of the program.
 */
#include "binding/process/process.h"

#include <string.h>

#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/anchor.h"
#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "binding/stream/descriptor.h"
#include "core/process.h"

/* User values. */
enum {
  PROCESS_LOOP = 1,
  PROCESS_FUTURE, /* of the status */
  PROCESS_VALUES = PROCESS_FUTURE
};

typedef struct {
  lunado_process *core;    /* NULL: it was not started, or is collected */
  lunado_ioloop *loop;     /* PROCESS_LOOP holds it */
  lunado_callback deliver; /* ready once the program has ended, until the Future
                              is settled */
  uint32_t anchor;         /* in the loop, until then */
  int waiters;             /* count of hold(): with any, the running program
                              keeps the loop's run alive */
} process;

static process *check_process(lua_State *L) {
  process *self =
      lunado__toclass(L, 1, lunado__realm_upvalue(L)->types.process);
  if (self == NULL) luaL_typeerror(L, 1, "lunado.process");
  return self;
}

/* --- the end -------------------------------------------------------------- */

/* (process): settles its Future. */
static int settle(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  const process *self = lua_touserdata(L, 1);
  lunado_future *future;
  int64_t status;
  lua_getiuservalue(L, 1, PROCESS_FUTURE);
  future = lua_touserdata(L, 2);
  if (!lunado_future_pending(future)) return 0;
  (void)lunado_process_status(self->core, &status);
  future->count = 1;
  lua_pushinteger(L, status);
  lunado__settle_known(L, realm, 2, future, LUNADO_DONE);
  return 0;
}

/* Without memory it is tried again in the next turn. */
static void on_deliver(lunado_loop *core, lunado_callback *callback) {
  process *self = lunado_container_of(callback, process, deliver);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  bool done;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lunado_loop_ready(core, callback);
    return;
  }
  lunado__anchor_push(L, loop, self->anchor);
  lua_pushcfunction(L, settle);
  lua_pushvalue(L, top + 1);
  done = lua_pcall(L, 1, 0, 0) == LUA_OK;
  if (!core->closed) {
    if (done)
      lunado__anchor_drop(L, loop, self->anchor);
    else
      lunado_loop_ready(core, callback);
  }
  lua_settop(L, top);
}

static void on_exited(lunado_process *core) {
  process *self = core->owner;
  lunado_loop_ready(self->loop->core, &self->deliver);
}

/* --- starting ------------------------------------------------------------- */

/* Pushes a list of pointers to the n strings of the table at idx, which holds
 * them, and behind them NULL. */
static char **push_strings(lua_State *L, int idx, size_t n) {
  char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i + 1);
    /* libuv declares it so, and does not write there */
    list[i] = (char *)(uintptr_t)lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  list[n] = NULL;
  return list;
}

/* Sets what descriptor `fd` of the program is to be from the value on top. */
static void set_stdio(lua_State *L, const lunado_realm *realm,
                      uv_stdio_container_t *stdio) {
  const lunado_descriptor *given = lunado__descriptor_at(L, realm, -1);
  stdio->flags = UV_INHERIT_FD;
  if (given != NULL)
    stdio->data.fd = given->fd;
  else if (lua_isinteger(L, -1))
    stdio->data.fd = (int)lua_tointeger(L, -1);
  else
    stdio->flags = UV_IGNORE;
}

static uv_stdio_container_t *push_stdio(lua_State *L, const lunado_realm *realm,
                                        int idx, int count) {
  uv_stdio_container_t *stdio =
      lua_newuserdatauv(L, (size_t)count * sizeof *stdio, 0);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, idx, i + 1);
    set_stdio(L, realm, &stdio[i]);
    lua_pop(L, 1);
  }
  return stdio;
}

/* Pushes a process that is not started.  Its loop holds it. */
static process *push_process(lua_State *L, lunado_ioloop *loop) {
  process *self = lua_newuserdatauv(L, sizeof *self, PROCESS_VALUES);
  lunado_future *future;
  memset(self, 0, sizeof *self);
  self->loop = loop;
  lunado_callback_init(&self->deliver, on_deliver);
  lunado__ioloop_push(L, loop);
  lua_setiuservalue(L, -2, PROCESS_LOOP);
  future =
      lunado__future_new(L, loop->realm, LUNADO_KIND_PLAIN, sizeof *future, 1);
  lua_setiuservalue(L, -2, PROCESS_FUTURE);
  lunado__class_set(L, loop->realm->types.process);
  self->anchor = lunado__anchor_add(L, loop);
  return self;
}

enum { FILE_ = 1, ARGS, ENV, CWD, STDIO, DETACHED, UID, GID, ARGUMENTS = GID };

/* process_spawn(file, args, env, cwd, stdio, detached, uid, gid) → the process
 * and its id; or nil, the error's text and its name.
 * `args` and `env` (nil: that of this process) are lists of strings.  `stdio`
 * is a list of what the program has as its descriptors: an open descriptor, as
 * a number or an object, or false for none.  `cwd`, `uid` and `gid` may be
 * nil.  No other code may know the tables. */
static int core_process_spawn(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_current(L, realm);
  uv_process_options_t options;
  process *self;
  int rc;
  lua_settop(L, ARGUMENTS);
  memset(&options, 0, sizeof options);
  options.file = luaL_checkstring(L, FILE_);
  options.args = push_strings(L, ARGS, (size_t)lua_rawlen(L, ARGS));
  if (!lua_isnil(L, ENV))
    options.env = push_strings(L, ENV, (size_t)lua_rawlen(L, ENV));
  options.cwd = lua_tostring(L, CWD);
  options.stdio_count = (int)lua_rawlen(L, STDIO);
  options.stdio = push_stdio(L, realm, STDIO, options.stdio_count);
  if (lua_toboolean(L, DETACHED)) options.flags |= UV_PROCESS_DETACHED;
  if (!lua_isnil(L, UID)) options.flags |= UV_PROCESS_SETUID;
  if (!lua_isnil(L, GID)) options.flags |= UV_PROCESS_SETGID;
  options.uid = (uv_uid_t)lua_tointeger(L, UID);
  options.gid = (uv_gid_t)lua_tointeger(L, GID);
  self = push_process(L, loop);
  rc = lunado_process_spawn(&self->core, loop->core, &options, on_exited);
  if (rc < 0) {
    lunado__anchor_drop(L, loop, self->anchor);
    return lunado__uverror_pushresults(L, rc);
  }
  self->core->owner = self;
  lua_pushinteger(L, self->core->pid);
  return 2;
}

/* --- methods -------------------------------------------------------------- */

/* At the end of the state, finalizers may call them on a process that is
 * collected: `core` is NULL then. */

/* process:status() → nil while the program runs; then the status of its exit,
 * or the negative number of the signal that ended it. */
static int process_status(lua_State *L) {
  const process *self = check_process(L);
  int64_t status;
  if (self->core == NULL || !lunado_process_status(self->core, &status))
    return 0;
  lua_pushinteger(L, status);
  return 1;
}

/* process:loop() → the loop on which it was started, open or closed. */
static int process_loop(lua_State *L) {
  (void)check_process(L);
  lua_getiuservalue(L, 1, PROCESS_LOOP);
  return 1;
}

/* process:future() → the Future that gets the status. */
static int process_future(lua_State *L) {
  (void)check_process(L);
  lua_getiuservalue(L, 1, PROCESS_FUTURE);
  return 1;
}

/* process:kill(number) → true; nil, the error's text and its name. */
static int process_kill(lua_State *L) {
  const process *self = check_process(L);
  int signum = (int)luaL_checkinteger(L, 2), rc = UV_ESRCH;
  if (self->core != NULL) rc = lunado_process_kill(self->core, signum);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* process:hold(yes): counts those that wait for its end. */
static int process_hold(lua_State *L) {
  process *self = check_process(L);
  self->waiters += lua_toboolean(L, 2) ? 1 : -1;
  if (self->core != NULL)
    lunado_process_keep_alive(self->core, self->waiters > 0);
  return 0;
}

/* process:reap(): blocks until the program has ended. */
static int process_reap(lua_State *L) {
  const process *self = check_process(L);
  if (self->core != NULL) lunado_process_reap(self->core);
  return 0;
}

static const luaL_Reg methods[] = {{"status", process_status},
                                   {"loop", process_loop},
                                   {"future", process_future},
                                   {"kill", process_kill},
                                   {"hold", process_hold},
                                   {"reap", process_reap},
                                   {NULL, NULL}};

/* A process is collected when its Future is settled, or its loop is closed. */
static int process__gc(lua_State *L) {
  process *self = lua_touserdata(L, 1);
  lunado_callback_cancel(&self->deliver);
  if (self->core != NULL) lunado_process_release(self->core);
  self->core = NULL;
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", process__gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"process_spawn", core_process_spawn},
                                     {NULL, NULL}};

void lunado__process_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__process_open(lua_State *L, lunado_realm *realm) {
  realm->types.process =
      lunado__class_new(L, "lunado.process", methods, metamethods);
  lua_pop(L, 1);
}
