/* SPDX-License-Identifier: MIT */
/*
 * handler.c - add_handler, update_handler, remove_handler.
 *
 * Invariant: the first user value of a loop maps each watched descriptor to
 * its handler, which holds the function; the watcher's owner is that handler.
 */
#include "binding/handler.h"

#include <limits.h>
#include <unistd.h>

#include "binding/ioloop.h"
#include "core/poll.h"

#define EVENTS (LUNADO_READ | LUNADO_WRITE | LUNADO_ERROR)

/* User values: the function; the descriptor as it was given. */
enum { HANDLER_FUNCTION = 1, HANDLER_FD };

typedef struct {
  lunado_watcher *watcher; /* NULL once removed */
} handler;

/* Pushes the loop's table descriptor → handler. */
static void push_handlers(lua_State *L, lunado_ioloop *loop) {
  lunado__pushloop(L, loop);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

static bool has_fields(lua_State *L, int arg) {
  if (lua_istable(L, arg)) return true;
  if (luaL_getmetafield(L, arg, "__index") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

/* Pushes what the method `name` of argument `arg` returns; pushes nothing and
 * returns false where there is no such method. */
static bool call_method(lua_State *L, int arg, const char *name) {
  if (!has_fields(L, arg)) return false;
  lua_getfield(L, arg, name);
  if (!lunado__iscallable(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushvalue(L, arg);
  lua_call(L, 1, 1);
  return true;
}

/* Argument 2 as a descriptor. */
static int check_fd(lua_State *L) {
  lua_Integer fd;
  int isnum;
  if (lua_type(L, 2) == LUA_TNUMBER) {
    fd = luaL_checkinteger(L, 2);
    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 2, "not a file descriptor");
    return (int)fd;
  }
  if ((lua_type(L, 2) != LUA_TTABLE && lua_type(L, 2) != LUA_TUSERDATA) ||
      (!call_method(L, 2, "fileno") && !call_method(L, 2, "getfd")))
    luaL_typeerror(L, 2, "file descriptor or object with fileno or getfd");
  fd = lua_tointegerx(L, -1, &isnum);
  lua_pop(L, 1);
  luaL_argcheck(L, isnum && fd >= 0 && fd <= INT_MAX, 2,
                "the object has no open descriptor");
  return (int)fd;
}

static int check_events(lua_State *L, int arg) {
  lua_Integer events = luaL_checkinteger(L, arg);
  luaL_argcheck(L, (events & ~(lua_Integer)EVENTS) == 0, arg,
                "not a combination of READ, WRITE and ERROR");
  return (int)events;
}

static void on_events(lunado_watcher *watcher, int events) {
  lunado_ioloop *loop = watcher->loop->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  push_handlers(L, loop);
  if (lua_rawgeti(L, -1, (lua_Integer)watcher->fd) == LUA_TUSERDATA) {
    lua_getiuservalue(L, -1, HANDLER_FUNCTION);
    lua_getiuservalue(L, -2, HANDLER_FD);
    lua_pushinteger(L, events);
    lunado__ioloop_enlist(loop); /* the callback may close it */
    lunado__callback(L, loop->realm, loop, 2);
    lunado__ioloop_discharge(L, loop);
  }
  lua_settop(L, top);
}

/* loop:add_handler(fd, fn, events): fn(fd, events) while one of the events
 * lasts.  Tornado: IOLoop.add_handler. */
static int loop_add_handler(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  int fd = check_fd(L);
  int events, rc;
  handler *self;
  lunado__checkcallable(L, 3);
  events = check_events(L, 4);
  lua_settop(L, 4);
  lunado__capture(L, loop->realm, 3);
  push_handlers(L, loop);
  self = lua_newuserdatauv(L, sizeof *self, 2);
  self->watcher = NULL;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 6, HANDLER_FUNCTION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 6, HANDLER_FD);
  if (lua_rawgeti(L, 5, fd) != LUA_TNIL)
    return luaL_error(L, "descriptor %d has a handler already", fd);
  lua_pushvalue(L, 6);
  lua_rawseti(L, 5, fd);
  rc = lunado_watcher_new(&self->watcher, loop->core, fd, events, on_events);
  if (rc == 0) return 0;
  lua_pushnil(L);
  lua_rawseti(L, 5, fd);
  if (rc == UV_EEXIST)
    return luaL_error(L, "descriptor %d is watched by somebody else", fd);
  return luaL_error(L, "descriptor %d cannot be watched: %s", fd,
                    uv_strerror(rc));
}

/* Pushes the loop's handlers and the one of the descriptor; NULL and nil for
 * an unknown one. */
static handler *find(lua_State *L, lunado_ioloop *loop, int fd) {
  push_handlers(L, loop);
  lua_rawgeti(L, -1, fd);
  return lua_touserdata(L, -1);
}

/* loop:update_handler(fd, events).  Tornado: IOLoop.update_handler. */
static int loop_update_handler(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  int fd = check_fd(L);
  int events = check_events(L, 3);
  handler *self = find(L, loop, fd);
  int rc;
  if (self == NULL) return luaL_error(L, "descriptor %d has no handler", fd);
  rc = lunado_watcher_set(self->watcher, events);
  if (rc < 0)
    return luaL_error(L, "descriptor %d cannot be watched: %s", fd,
                      uv_strerror(rc));
  return 0;
}

/* loop:remove_handler(fd): an unknown one is ignored.
 * Tornado: IOLoop.remove_handler. */
static int loop_remove_handler(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  int fd = check_fd(L);
  handler *self = find(L, loop, fd);
  if (self == NULL) return 0;
  lunado_watcher_close(self->watcher);
  self->watcher = NULL;
  lua_pushnil(L);
  lua_rawseti(L, -3, fd);
  return 0;
}

/* (the descriptor as it was given, its number) */
static int close_fd(lua_State *L) {
  if (lua_type(L, 1) != LUA_TNUMBER && call_method(L, 1, "close")) return 0;
  (void)close((int)lua_tointeger(L, 2));
  return 0;
}

void lunado__handlers_closefds(lua_State *L, lunado_ioloop *loop) {
  int table;
  push_handlers(L, loop);
  table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table) != 0;) {
    handler *self = lua_touserdata(L, -1);
    int fd = (int)self->watcher->fd;
    lunado_watcher_close(self->watcher);
    self->watcher = NULL;
    lua_pushcfunction(L, close_fd);
    lua_getiuservalue(L, -2, HANDLER_FD);
    lua_pushinteger(L, fd);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      luaL_tolstring(L, -1, NULL);
      lua_remove(L, -2);
      lunado__log(L, loop->realm, LUNADO_LOG_WARNING);
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, table);
  }
  lua_settop(L, table - 1);
}

void lunado__handlers_forget(lua_State *L, lunado_ioloop *loop) {
  lunado__pushloop(L, loop);
  if (lua_isuserdata(L, -1)) {
    lua_pushnil(L);
    lua_setiuservalue(L, -2, 1);
  }
  lua_pop(L, 1);
}

static const luaL_Reg methods[] = {{"add_handler", loop_add_handler},
                                   {"update_handler", loop_update_handler},
                                   {"remove_handler", loop_remove_handler},
                                   {NULL, NULL}};

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
