/* SPDX-License-Identifier: MIT */
/* methods.c - IOLoop's methods, and the functions of lunado.ioloop. */
#include "binding/loop/methods.h"

#include <string.h>

#include "binding/future/done.h"
#include "binding/future/future.h"
#include "binding/loop/callback.h"
#include "binding/loop/handler.h"
#include "binding/loop/interrupt.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/promise.h"
#include "binding/loop/queue.h"
#include "binding/loop/runsync.h"
#include "binding/loop/timeout.h"
#include "binding/loop/uncaught.h"
#include "binding/luv/luv.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"

/* loop:start(): runs the loop until it is stopped.  Raises the error of an
 * interrupt, or the error that kept turns from beginning.
 * Tornado: IOLoop.start. */
static int loop_start(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_check(L, realm, 1);
  lunado__ioloop_checkidle(L, loop);
  if (lunado__ioloop_run(L, loop, NULL) == UV_ENOMEM)
    return luaL_error(L, "not enough memory");
  if (lunado__interrupt_take(L, realm) || lunado__queue_gave_up(L, loop))
    return lunado__uncaught_raise(L, realm);
  return 0;
}

/* loop:stop(): makes start return after the turn in progress; called before
 * start, makes start run one turn.  Tornado: IOLoop.stop. */
static int loop_stop(lua_State *L) {
  lunado_loop_stop(lunado__ioloop_check(L, lunado__realm_upvalue(L), 1)->core);
  return 0;
}

/* --- callbacks ------------------------------------------------------------ */

/* loop:add_callback(fn, ...): calls fn(...) on the next turn.
 * Tornado: IOLoop.add_callback, spawn_callback, add_callback_from_signal. */
static int loop_add_callback(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_check(L, realm, 1);
  lunado__checkcallable(L, 2);
  lunado__context_wrap_if_any(L, realm, 2);
  lunado__queue_add(L, loop, lua_gettop(L) - 2);
  return 0;
}

/* loop:spawn_callback(fn, ...), loop:add_callback_from_signal(fn, ...): as
 * add_callback, but fn runs outside the current stack contexts.
 * Tornado: IOLoop.spawn_callback. */
static int loop_spawn_callback(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  lunado__checkcallable(L, 2);
  lunado__queue_add(L, loop, lua_gettop(L) - 2);
  return 0;
}

/* loop:add_future(f, fn): calls fn(f) on the turn after f is done.
 * Tornado: IOLoop.add_future. */
static int loop_add_future(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_check(L, realm, 1);
  lunado__checkfuture(L, realm, 2);
  lunado__checkcallable(L, 3);
  lua_settop(L, 3);
  lunado__context_wrap_if_any(L, realm, 3);
  lunado__done_call(L, realm, 2, loop);
  return 0;
}

/* --- the rest ------------------------------------------------------------- */

/* loop:time() → the loop's time in seconds.  Tornado: IOLoop.time. */
static int loop_time(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check_any(L, 1);
  lua_pushnumber(L, (lua_Number)lunado_loop_time(loop->core));
  return 1;
}

/* loop:handle_callback_exception(callback, err, traceback): logs the error.  A
 * program may replace it by a function of its own.
 * Tornado: IOLoop.handle_callback_exception. */
static int loop_handle_callback_exception(lua_State *L) {
  lunado__ioloop_check_any(L, 1);
  lua_settop(L, 4);
  lunado__callback_log_exception(L, lunado__realm_upvalue(L), 2);
  return 0;
}

bool lunado__methods_is_default_handler(lua_State *L, int idx) {
  return lua_tocfunction(L, idx) == loop_handle_callback_exception;
}

/* loop:set_blocking_log_threshold(seconds): logs callbacks that take longer;
 * nil switches this off.  Tornado: IOLoop.set_blocking_log_threshold. */
static int loop_set_blocking_log_threshold(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  loop->threshold = lua_isnil(L, 2) ? 0 : lunado__checkseconds(L, 2);
  return 0;
}

/* loop:set_slice(seconds): sets how long ready callbacks and coroutines may run
 * before timers and descriptors are checked.  The default is 0.001. */
static int loop_set_slice(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double seconds = lunado__checkseconds(L, 2);
  luaL_argcheck(L, seconds > 0, 2, "more than 0 seconds expected");
  lunado__ioloop_setslice(L, loop, seconds);
  return 0;
}

/* loop:close([all_fds]): closes the loop and frees what belongs to it.  With
 * all_fds true, also closes the descriptors that it watches.  A closed loop
 * stays as it is.  Tornado: IOLoop.close. */
static int loop_close(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check_any(L, 1);
  lua_settop(L, 2);
  if (loop->core->closed) return 0;
  if (!lunado__promise_reserve(loop)) return luaL_error(L, "not enough memory");
  if (lua_toboolean(L, 2)) lunado__handler_close_all(L, loop);
  if (!lunado__promise_reserve(loop)) return luaL_error(L, "not enough memory");
  lunado__luv_release(L, loop);
  lunado__ioloop_close(L, loop);
  lua_gc(L, LUA_GCCOLLECT); /* logs the errors that can no longer be observed */
  return 0;
}

/* (loop, error or nil): closes the loop but leaves the descriptors open. */
static int loop__close(lua_State *L) {
  lua_settop(L, 1);
  return loop_close(L);
}

/* loop:make_current(): makes the loop the current one.
 * Tornado: IOLoop.make_current. */
static int loop_make_current(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  realm->loops.current = lunado__ioloop_check(L, realm, 1);
  return 0;
}

static int loop__tostring(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check_any(L, 1);
  const char *state = loop->core->closed    ? "closed"
                      : loop->core->running ? "running"
                                            : "idle";
  lua_pushfstring(L, "IOLoop: %p (%s)", (void *)loop, state);
  return 1;
}

/* Called when a field is first set on a loop: gives the loop a metatable of its
 * own.  That metatable has a table of the loop's fields, whose __index is the
 * table of the class's methods. */
static int loop__newindex(lua_State *L) {
  lunado__ioloop_check_any(L, 1);
  lua_settop(L, 3);
  lua_createtable(L, 0, 8); /* own metatable at 4 */
  lua_getmetatable(L, 1);   /* the class's at 5 */
  for (lua_pushnil(L); lua_next(L, 5) != 0;) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 4);
  }
  lua_createtable(L, 0, 2); /* fields at 6 */
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, 6);
  lua_createtable(L, 0, 1);
  lua_getfield(L, 5, "__index");
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, 6);
  lua_pushvalue(L, 6);
  lua_setfield(L, 4, "__index");
  lua_pushvalue(L, 6);
  lua_setfield(L, 4, "__newindex");
  lua_pushvalue(L, 4);
  lua_setmetatable(L, 1);
  return 0;
}

/* --- functions ------------------------------------------------------------ */

/* IOLoop([make_current]) → a new loop, on a uv_loop_t of its own.  With
 * make_current true it becomes the current loop, with false it does not; by
 * default it does if there is no current loop.  Tornado: IOLoop. */
static int ioloop__call(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop;
  bool make_current;
  lua_settop(L, 2);
  make_current =
      lua_isnil(L, 2) ? realm->loops.current == NULL : lua_toboolean(L, 2) != 0;
  loop = lunado__ioloop_new(L, realm, NULL);
  if (make_current) realm->loops.current = loop;
  return 1;
}

/* IOLoop.current([instance]) → the current loop.  If there is none, makes the
 * default loop the current one; with `instance` false, returns nil instead.
 * Tornado: IOLoop.current. */
static int ioloop_current(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (realm->loops.current == NULL && lua_isboolean(L, 1) &&
      !lua_toboolean(L, 1)) {
    lua_pushnil(L);
    return 1;
  }
  lunado__ioloop_push(L, lunado__ioloop_current(L, realm));
  return 1;
}

/* IOLoop.instance() → the state's default loop.  Tornado: IOLoop.instance. */
static int ioloop_instance(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado__ioloop_push(L, lunado__ioloop_default(L, realm));
  return 1;
}

/* IOLoop.clear_current(): from then on there is no current loop.
 * Tornado: IOLoop.clear_current. */
static int ioloop_clear_current(lua_State *L) {
  lunado__realm_upvalue(L)->loops.current = NULL;
  return 0;
}

/* is_loop(x) → boolean: whether x is a loop.  Lua modules use it to check their
 * arguments. */
static int core_is_loop(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__ioloop_at(L, lunado__realm_upvalue(L), 1) != NULL);
  return 1;
}

/* call(loop, fn): calls fn() the way the loop calls its callbacks: errors are
 * reported to the loop. */
static int core_call(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check_any(L, 1);
  lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  lunado__callback_inner(L, loop->realm, loop);
  return 0;
}

/* is_closed(loop) → boolean. */
static int core_is_closed(lua_State *L) {
  lua_pushboolean(L, lunado__ioloop_check_any(L, 1)->core->closed);
  return 1;
}

static const luaL_Reg core_functions[] = {{"is_loop", core_is_loop},
                                          {"is_closed", core_is_closed},
                                          {"call", core_call},
                                          {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"start", loop_start},
    {"stop", loop_stop},
    {"add_callback", loop_add_callback},
    {"spawn_callback", loop_spawn_callback},
    {"add_callback_from_signal", loop_spawn_callback},
    {"add_future", loop_add_future},
    {"time", loop_time},
    {"handle_callback_exception", loop_handle_callback_exception},
    {"set_blocking_log_threshold", loop_set_blocking_log_threshold},
    {"set_slice", loop_set_slice},
    {"close", loop_close},
    {"make_current", loop_make_current},
    {NULL, NULL}};

static const luaL_Reg functions[] = {{"current", ioloop_current},
                                     {"instance", ioloop_instance},
                                     {"clear_current", ioloop_clear_current},
                                     {NULL, NULL}};

static const luaL_Reg class_metamethods[] = {{"__call", ioloop__call},
                                             {NULL, NULL}};

void lunado__methods_functions(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, realm->types.ioloop);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "IOLoop");
  lua_pop(L, 1);
  lunado__setfunctions(L, core_functions);
}

static const luaL_Reg metamethods[] = {{"__close", loop__close},
                                       {"__newindex", loop__newindex},
                                       {"__tostring", loop__tostring},
                                       {NULL, NULL}};

void lunado__methods_add(lua_State *L) {
  lunado__setfunctions(L, metamethods);
  lua_newtable(L);
  lunado__setfunctions(L, methods);
  lunado__timeout_methods(L);
  lunado__handler_methods(L);
  lunado__runsync_methods(L);
  lunado__setfunctions(L, functions);
  lua_createtable(L, 0, 1);
  lunado__setfunctions(L, class_metamethods);
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "__index");
}
