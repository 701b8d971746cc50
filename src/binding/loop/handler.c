/* SPDX-License-Identifier: MIT */
/*
 * handler.c - add_handler, update_handler, remove_handler.
 *
 * Invariants: the first user value of a loop is a table.  It maps each watched
 * descriptor to its handler, and each object that was given as a descriptor to
 * the newest of its handlers.  That handler is the watcher's owner.  A handler
 * whose loop is closed has no watcher.
 *
 * An object's fileno, getfd and close are the user's functions: after a call of
 * one, any handler may be removed, and the loop may be closed.
 */
#include "binding/loop/handler.h"

#include <limits.h>

#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"
#include "binding/state/hook.h"
#include "binding/state/log.h"
#include "binding/state/naming.h"
#include "core/poll.h"
#include "core/system.h"

#define EVENTS (LUNADO_READ | LUNADO_WRITE | LUNADO_ERROR)

/* User values: the function; the descriptor as the caller gave it, a number or
 * an object; for an object, its next older handler. */
enum { HANDLER_FUNCTION = 1, HANDLER_FD, HANDLER_OLDER };
enum { HANDLER_VALUES = HANDLER_OLDER };

typedef struct {
  lunado_watcher *watcher; /* NULL once the handler is removed or the loop is
                            * closed */
  int fd;
  bool removed;
} handler;

/* Pushes the loop's table of handlers. */
static void push_handlers(lua_State *L, lunado_ioloop *loop) {
  lunado__ioloop_push(L, loop);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

static bool has_fields(lua_State *L, int arg) {
  if (lua_istable(L, arg)) return true;
  if (luaL_getmetafield(L, arg, "__index") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

/* Calls the method `name` of argument `arg` and pushes its result.  If there is
 * no such method, pushes nothing and returns false. */
static bool call_method(lua_State *L, int arg, const char *name) {
  if (!has_fields(L, arg)) return false;
  lua_getfield(L, arg, name);
  if (!lunado__argument_iscallable(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushvalue(L, arg);
  lua_call(L, 1, 1);
  return true;
}

static bool is_object(lua_State *L, int arg) {
  return lua_type(L, arg) == LUA_TTABLE || lua_type(L, arg) == LUA_TUSERDATA;
}

/* Argument 2 as a descriptor; -1 if it is an object without one. */
static int ask_fd(lua_State *L) {
  lua_Integer fd;
  int isnum;
  if (lua_type(L, 2) == LUA_TNUMBER) {
    fd = luaL_checkinteger(L, 2);
    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 2, "not a file descriptor");
    return (int)fd;
  }
  if (!is_object(L, 2) ||
      (!call_method(L, 2, "fileno") && !call_method(L, 2, "getfd")))
    luaL_typeerror(L, 2, "file descriptor or object with fileno or getfd");
  fd = lua_tointegerx(L, -1, &isnum);
  lua_pop(L, 1);
  return isnum && fd >= 0 && fd <= INT_MAX ? (int)fd : -1;
}

static int check_fd(lua_State *L) {
  int fd = ask_fd(L);
  luaL_argcheck(L, fd >= 0, 2, "the object has no open descriptor");
  return fd;
}

static int check_events(lua_State *L, int arg) {
  lua_Integer events = luaL_checkinteger(L, arg);
  luaL_argcheck(L, (events & ~(lua_Integer)EVENTS) == 0, arg,
                "not a combination of READ, WRITE and ERROR");
  return (int)events;
}

/* --- the table ------------------------------------------------------------ */

/* (table, handler): enters the handler, for whose descriptor the table has no
 * entry.  If memory runs out, the handler may have been entered under its
 * descriptor only. */
static int enter(lua_State *L) {
  const handler *self = lua_touserdata(L, 2);
  lua_pushvalue(L, 2);
  lua_rawseti(L, 1, self->fd);
  lua_getiuservalue(L, 2, HANDLER_FD);
  if (!is_object(L, 3)) return 0;
  lua_pushvalue(L, 3);
  lua_rawget(L, 1);
  lua_setiuservalue(L, 2, HANDLER_OLDER);
  lua_pushvalue(L, 2);
  lua_rawset(L, 1);
  return 0;
}

/* Removes the handler at idx from the handlers of its object.  [-0, +0, -] */
static void unlink_object(lua_State *L, int table, int idx) {
  int top = lua_gettop(L);
  lua_getiuservalue(L, idx, HANDLER_OLDER); /* replaces it */
  lua_getiuservalue(L, idx, HANDLER_FD);
  lua_pushvalue(L, -1);
  lua_rawget(L, table);
  if (lua_rawequal(L, -1, idx)) {
    lua_settop(L, top + 2);
    lua_pushvalue(L, top + 1);
    lua_rawset(L, table);
    lua_settop(L, top);
    return;
  }
  while (lua_isuserdata(L, -1)) {
    lua_getiuservalue(L, -1, HANDLER_OLDER);
    if (lua_rawequal(L, -1, idx)) break;
    lua_remove(L, -2);
  }
  if (lua_isuserdata(L, -1)) {
    lua_pushvalue(L, top + 1);
    lua_setiuservalue(L, -3, HANDLER_OLDER);
  }
  lua_settop(L, top);
}

/* Removes the handler at idx from the table at `table`; it is not called any
 * more.  [-0, +0, -] */
static void let_object_go(lua_State *L, int table, int idx) {
  handler *self = lua_touserdata(L, idx);
  lunado_watcher_close(self->watcher);
  self->watcher = NULL;
  self->removed = true;
  if (lua_getiuservalue(L, idx, HANDLER_FD) != LUA_TNUMBER)
    unlink_object(L, table, idx);
  lua_pop(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, table, self->fd);
}

/* Pushes the loop's table of handlers and the handler of the descriptor, and
 * returns the latter.  For an unknown descriptor pushes nil and returns
 * NULL. */
static handler *find(lua_State *L, lunado_ioloop *loop, int fd) {
  push_handlers(L, loop);
  lua_rawgeti(L, -1, fd);
  return lua_touserdata(L, -1);
}

/* As find, for argument 2.  An object is looked up as a key itself, not by its
 * descriptor, because the object may have been closed meanwhile or may have
 * another descriptor. */
static handler *find_given(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int fd;
  if (is_object(L, 2)) {
    push_handlers(L, lunado__ioloop_check(L, realm, 1));
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    if (lua_isuserdata(L, -1)) return lua_touserdata(L, -1);
    lua_pop(L, 2);
  }
  fd = ask_fd(L);
  return find(L, lunado__ioloop_check(L, realm, 1), fd);
}

/* --- events --------------------------------------------------------------- */

/* (realm, function, descriptor, error): logs that the handler was removed. */
static int log_refused(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lunado__context_unwrap(L, realm, 2);
  lunado__naming_push(L, 2);
  lua_pushfstring(L,
                  "descriptor %d was closed or replaced while it was watched "
                  "(%s): its handler %s is removed",
                  (int)lua_tointeger(L, 3),
                  uv_strerror((int)lua_tointeger(L, 4)), lua_tostring(L, -1));
  lunado__log(L, realm, LUNADO_LOG_ERROR);
  return 0;
}

/* Removes the handler on top, above the table, because the system refuses to
 * watch its descriptor, and logs this. */
static void refused(lua_State *L, lunado_realm *realm, int error) {
  int idx = lua_gettop(L);
  int fd = ((handler *)lua_touserdata(L, idx))->fd;
  let_object_go(L, idx - 1, idx);
  lua_pushcfunction(L, log_refused);
  lua_pushlightuserdata(L, realm);
  lua_getiuservalue(L, idx, HANDLER_FUNCTION);
  lua_pushinteger(L, fd);
  lua_pushinteger(L, error);
  if (lua_pcall(L, 4, 0, 0) != LUA_OK)
    lunado__log_value(L, realm, "a descriptor cannot be watched any more: ");
}

static void call_handler(lua_State *L, lunado_ioloop *loop, int events) {
  lua_getiuservalue(L, -1, HANDLER_FUNCTION);
  lua_getiuservalue(L, -2, HANDLER_FD);
  lua_pushinteger(L, events);
  lunado__callback(L, loop->realm, loop, 2);
}

static void on_events(lunado_watcher *watcher, int events) {
  lunado_ioloop *loop = watcher->loop->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  push_handlers(L, loop);
  (void)lua_rawgeti(L, -1, (lua_Integer)watcher->fd);
  lunado__ioloop_ref(loop); /* the callback may close the loop */
  if (events < 0)
    refused(L, loop->realm, events);
  else
    call_handler(L, loop, events);
  lunado__ioloop_unref(L, loop);
  lua_settop(L, top);
}

/* --- methods -------------------------------------------------------------- */

/* Raises the error for `rc`. */
static int cannot_watch(lua_State *L, int fd, int rc) {
  if (rc == UV_EEXIST)
    return luaL_error(L, "descriptor %d is watched by somebody else", fd);
  return luaL_error(L, "descriptor %d cannot be watched: %s", fd,
                    uv_strerror(rc));
}

/* Pushes a new handler with the function at 3 and the descriptor at 2. */
static handler *new_handler(lua_State *L, int fd) {
  handler *self = lua_newuserdatauv(L, sizeof *self, HANDLER_VALUES);
  *self = (handler){.fd = fd};
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, HANDLER_FUNCTION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, HANDLER_FD);
  return self;
}

/* Watches the descriptor of the handler on top, above the table, and enters the
 * handler into the table.  If this fails, undoes it and raises. */
static void watch(lua_State *L, lunado_ioloop *loop, handler *self,
                  int events) {
  int table = lua_gettop(L) - 1, status;
  lunado__hook hook;
  int rc = lunado_watcher_new(&self->watcher, loop->core,
                              (uv_os_sock_t)self->fd, events, on_events);
  if (rc < 0) cannot_watch(L, self->fd, rc);
  hook = lunado__hook_off(L);
  lua_pushcfunction(L, enter);
  lua_pushvalue(L, table);
  lua_pushvalue(L, table + 1);
  status = lua_pcall(L, 2, 0, 0);
  lunado__hook_on(L, &hook);
  if (status == LUA_OK) return;
  lunado_watcher_close(self->watcher);
  if (lua_rawgeti(L, table, self->fd) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, table, self->fd);
  }
  lua_pop(L, 1);
  lua_error(L);
}

/* loop:add_handler(fd, fn, events): calls fn(fd, events), repeatedly while one
 * of the events lasts.  `fd` is a descriptor, or an object with the method
 * fileno or getfd.  Tornado: IOLoop.add_handler. */
static int loop_add_handler(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop;
  int events, fd;
  handler *self;
  (void)lunado__ioloop_check(L, realm, 1);
  lunado__checkcallable(L, 3);
  events = check_events(L, 4);
  fd = check_fd(L);
  lua_settop(L, 4);
  lunado__context_wrap_if_any(L, realm, 3);
  self = new_handler(L, fd);
  loop = lunado__ioloop_check(L, realm, 1); /* fileno may have closed it */
  push_handlers(L, loop);
  lua_insert(L, 5); /* the table of handlers, the handler */
  if (lua_rawgeti(L, 5, fd) != LUA_TNIL)
    return luaL_error(L, "descriptor %d has a handler already", fd);
  lua_pop(L, 1);
  watch(L, loop, self, events);
  return 0;
}

/* loop:update_handler(fd, events): changes the events of the handler of fd.
 * Tornado: IOLoop.update_handler. */
static int loop_update_handler(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  handler *self;
  int events, fd, rc;
  (void)lunado__ioloop_check(L, realm, 1);
  events = check_events(L, 3);
  fd = check_fd(L);
  self = find(L, lunado__ioloop_check(L, realm, 1), fd);
  if (self == NULL) return luaL_error(L, "descriptor %d has no handler", fd);
  rc = lunado_watcher_set(self->watcher, events);
  return rc < 0 ? cannot_watch(L, fd, rc) : 0;
}

/* loop:remove_handler(fd): removes the handler of fd, if it has one.
 * Tornado: IOLoop.remove_handler. */
static int loop_remove_handler(lua_State *L) {
  (void)lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  if (find_given(L) != NULL) let_object_go(L, lua_gettop(L) - 1, lua_gettop(L));
  return 0;
}

/* --- closing -------------------------------------------------------------- */

/* (the descriptor as the caller gave it, its number): closes the descriptor. */
static int close_fd(lua_State *L) {
  if (lua_type(L, 1) != LUA_TNUMBER && call_method(L, 1, "close")) return 0;
  lunado_system_close_socket((uv_os_sock_t)lua_tointeger(L, 2));
  return 0;
}

/* Pushes a list of the loop's handlers and returns its length. */
static int list_handlers(lua_State *L, lunado_ioloop *loop) {
  int count = 0;
  push_handlers(L, loop);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, -3) != 0;) {
    if (lua_isinteger(L, -2))
      lua_rawseti(L, -3, ++count);
    else
      lua_pop(L, 1);
  }
  lua_remove(L, -2);
  return count;
}

/* Removes the handler on top and closes its descriptor, unless the close() of
 * another object has already removed the handler.  Such a close() may also have
 * closed the loop. */
static void close_descriptor(lua_State *L, lunado_ioloop *loop) {
  int idx = lua_gettop(L);
  handler *self = lua_touserdata(L, idx);
  if (self->removed) return;
  if (self->watcher != NULL) {
    push_handlers(L, loop);
    lua_insert(L, idx++);
    let_object_go(L, idx - 1, idx);
  }
  self->removed = true;
  lua_pushcfunction(L, close_fd);
  lua_getiuservalue(L, idx, HANDLER_FD);
  lua_pushinteger(L, self->fd);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    lunado__log_value(L, loop->realm, "Exception in closing a descriptor: ");
}

void lunado__handler_close_all(lua_State *L, lunado_ioloop *loop) {
  int count = list_handlers(L, loop);
  int list = lua_gettop(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  for (int i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    close_descriptor(L, loop);
    lua_settop(L, list);
  }
  lua_settop(L, list - 1);
}

void lunado__handler_forget_all(lua_State *L, lunado_ioloop *loop) {
  int top = lua_gettop(L);
  lunado__ioloop_push(L, loop);
  if (lua_isuserdata(L, -1)) {
    lua_getiuservalue(L, -1, 1);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
      ((handler *)lua_touserdata(L, -1))->watcher = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, top + 1, 1);
  }
  lua_settop(L, top);
}

static const luaL_Reg methods[] = {{"add_handler", loop_add_handler},
                                   {"update_handler", loop_update_handler},
                                   {"remove_handler", loop_remove_handler},
                                   {NULL, NULL}};

/* check_descriptor(fd) → nil if libuv can watch the descriptor, else the name
 * of the error with which the system would refuse it.  On Windows always nil:
 * libuv reports the error itself. */
static int core_check_descriptor(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
#ifdef _WIN32
  (void)fd;
  return 0;
#else
  const lunado_ioloop *loop =
      lunado__ioloop_current(L, lunado__realm_upvalue(L));
  int rc = lunado_loop_check_descriptor(loop->core, fd);
  if (rc == 0) return 0;
  lua_pushstring(L, uv_err_name(rc));
  return 1;
#endif
}

static const luaL_Reg functions[] = {
    {"check_descriptor", core_check_descriptor}, {NULL, NULL}};

void lunado__handler_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

static void set_constant(lua_State *L, const char *name, int value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

void lunado__handler_methods(lua_State *L) {
  lunado__setfunctions(L, methods);
  set_constant(L, "NONE", LUNADO_NONE);
  set_constant(L, "READ", LUNADO_READ);
  set_constant(L, "WRITE", LUNADO_WRITE);
  set_constant(L, "ERROR", LUNADO_ERROR);
}
