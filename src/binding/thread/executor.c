/* SPDX-License-Identifier: MIT */
/*
 * executor.c - ThreadPoolExecutor: running Lua functions on a pool of threads.
 *
 * An executor is a userdata that refers to a pool.  When an executor is
 * collected, its finalizer shuts the pool down without waiting; the submitted
 * jobs still run to their end.
 */
#include "binding/thread/executor.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "binding/future/multi.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"
#include "binding/thread/encode.h"
#include "binding/thread/parcel.h"
#include "binding/thread/pool.h"
#include "core/system.h"

#define EXECUTOR "lunado.ThreadPoolExecutor"

/* The default of Python's concurrent.futures in Tornado's time, which expects
 * jobs to wait for files and the network more than to compute. */
#define THREADS_FOR_EACH_CORE 5

/* An executor; its user value 1 is the pool. */
typedef struct {
  lunado__pool *pool; /* NULL until the pool is made */
} executor;

static lunado__pool *check_executor(lua_State *L, int arg) {
  executor *self =
      lunado__toclass(L, arg, lunado__realm_upvalue(L)->types.executor);
  if (self == NULL) luaL_typeerror(L, arg, EXECUTOR);
  return self->pool;
}

/* --- the names of sent values --------------------------------------------- */

static void push_argument_name(lua_State *L, const lunado__route *route,
                               int i) {
  (void)route;
  lua_pushfstring(L, "argument #%d", i + 1);
}

/* The values are a method, self, and the arguments, numbered as the method's
 * caller numbers them. */
static void push_method_name(lua_State *L, const lunado__route *route, int i) {
  (void)route;
  if (i == 0)
    lua_pushliteral(L, "the method");
  else if (i == 1)
    lua_pushliteral(L, "self");
  else
    lua_pushfstring(L, "argument #%d", i - 1);
}

/* The route of a function and an item of a list. */
typedef struct {
  lunado__route route;
  lua_Integer index;
} item_route;

static void push_item_name(lua_State *L, const lunado__route *route, int i) {
  if (i == 0)
    lua_pushliteral(L, "argument #1");
  else
    lua_pushfstring(L, "argument #2, index [%I]",
                    (LUAI_UACINT)((const item_route *)route)->index);
}

/* --- methods -------------------------------------------------------------- */

/* Inserts the __call of a callable object at idx before the object, as Lua does
 * when it calls the object; the copy in the worker has no metatable.  Repeats
 * this until a function is at idx, and returns the number of inserted values.
 * [-0, +n, v] */
static int unfold_callable(lua_State *L, int idx) {
  int count = 0;
  lunado__checkcallable(L, idx);
  for (; !lua_isfunction(L, idx); count++) {
    luaL_getmetafield(L, idx, "__call");
    lua_insert(L, idx);
  }
  return count;
}

/* ex:submit(fn, ...) → a Future of fn(...).
 * Tornado: Executor.submit of concurrent.futures. */
static int executor_submit(lua_State *L) {
  lunado__route route = {
      "to a worker", push_argument_name, -1, {NULL, NULL}, 1, true, 0};
  lunado__pool *pool = check_executor(L, 1);
  route.folded = unfold_callable(L, 2);
  (void)lunado__encode(L, 2, lua_gettop(L) - 1, &route);
  lunado__pool_send(L, pool);
  return 1;
}

/* submit_method(ex, executor, io_loop, fn, self, ...): `executor` and `io_loop`
 * are names of two fields of self that are not sent.  Called by a wrapper of
 * the method, so errors name the line of the wrapper's caller. */
static int executor_submit_method(lua_State *L) {
  lunado__pool *pool = check_executor(L, 1);
  lunado__route route = {
      "to a worker", push_method_name, 1, {NULL, NULL}, 2, true, 0};
  route.left_out[0] = luaL_checkstring(L, 2);
  route.left_out[1] = luaL_checkstring(L, 3);
  luaL_checkany(L, 5);
  route.folded = unfold_callable(L, 4);
  (void)lunado__encode(L, 4, lua_gettop(L) - 3, &route);
  lunado__pool_send(L, pool);
  return 1;
}

/* Pushes a list of the parcels of fn and each of the n items.
 * [-0, +1, e] */
static void push_item_parcels(lua_State *L, lua_Integer n) {
  item_route route = {
      {"to a worker", push_item_name, -1, {NULL, NULL}, 1, true, 0}, 0};
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    route.index = i;
    lua_pushvalue(L, 2);
    route.route.folded = unfold_callable(L, 5);
    lua_geti(L, 3, i);
    (void)lunado__encode(L, 5, lua_gettop(L) - 4, &route.route);
    lua_rawseti(L, 4, i);
    lua_settop(L, 4);
  }
}

/* Replaces the parcels in the list on top by Futures.  [-0, +0, e] */
static void send_parcels(lua_State *L, lunado__pool *pool, lua_Integer n) {
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    lunado__pool_send(L, pool);
    lua_rawseti(L, -3, i);
    lua_pop(L, 1);
  }
}

/* ex:map(fn, list) → a Future of the list of fn(item).  Encodes all items, and
 * ensures that the pool has room for all of them, before it sends the first. */
static int executor_map(lua_State *L) {
  lunado__pool *pool = check_executor(L, 1);
  lua_Integer n;
  lunado__checkcallable(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  n = luaL_len(L, 3);
  luaL_argcheck(L, n <= INT_MAX, 3, "list too long");
  push_item_parcels(L, n);
  lunado__pool_check_room(L, pool, (size_t)n);
  send_parcels(L, pool, n);
  lunado__multi_new(L, lunado__realm_upvalue(L), 4, 0);
  return 1;
}

/* ex:shutdown([wait]): waits unless `wait` is false.
 * Tornado: Executor.shutdown of concurrent.futures. */
static int executor_shutdown(lua_State *L) {
  lunado__pool *pool = check_executor(L, 1);
  bool wait = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
  lunado__pool_shut_down(L, pool, wait);
  return 0;
}

static int executor__close(lua_State *L) {
  lunado__pool_shut_down(L, check_executor(L, 1), true);
  return 0;
}

static int executor__gc(lua_State *L) {
  executor *self = lua_touserdata(L, 1);
  if (self->pool != NULL) lunado__pool_shut_down(L, self->pool, false);
  return 0;
}

static int executor__tostring(lua_State *L) {
  (void)check_executor(L, 1);
  lua_pushfstring(L, "ThreadPoolExecutor: %p", lua_touserdata(L, 1));
  return 1;
}

/* --- functions ------------------------------------------------------------ */

/* Argument `arg`, max_workers.  [-0, +0, v] */
static unsigned check_threads(lua_State *L, int arg) {
  lua_Integer n = (lua_Integer)lunado_system_processors();
  n = luaL_optinteger(L, arg, n * THREADS_FOR_EACH_CORE);
  luaL_argcheck(L, n > 0, arg, "max_workers must be greater than 0");
  return n < INT_MAX ? (unsigned)n : INT_MAX;
}

/* Reads the table of options in argument `arg`; max_queue is the only option.
 * [-0, +0, v] */
static size_t check_max_queue(lua_State *L, int arg) {
  lua_Integer n;
  int isnum;
  if (lua_isnoneornil(L, arg)) return SIZE_MAX;
  luaL_checktype(L, arg, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, arg) != 0; lua_pop(L, 1)) {
    luaL_argcheck(L,
                  lua_type(L, -2) == LUA_TSTRING &&
                      strcmp(lua_tostring(L, -2), "max_queue") == 0,
                  arg, "the only option is 'max_queue'");
  }
  if (lua_getfield(L, arg, "max_queue") == LUA_TNIL) return SIZE_MAX;
  n = lua_tointegerx(L, -1, &isnum);
  luaL_argcheck(L, isnum && n >= 0, arg,
                "'max_queue' must be a number of jobs");
  return (size_t)n;
}

/* ThreadPoolExecutor([max_workers [, {max_queue =}]]).
 * Tornado: concurrent.futures.ThreadPoolExecutor. */
static int concurrent_thread_pool_executor(lua_State *L) {
  unsigned threads = check_threads(L, 1);
  size_t queue = check_max_queue(L, 2);
  lunado_realm *realm = lunado__realm_upvalue(L);
  executor *self;
  lua_settop(L, 0);
  self = lua_newuserdatauv(L, sizeof *self, 1);
  self->pool = NULL;
  lunado__class_set(L, realm->types.executor);
  self->pool = lunado__pool_new(L, realm, threads, queue);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* send_as(fn, substitute): sends `substitute` to workers wherever fn would be
 * sent. */
static int executor_send_as(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lunado__parcel_substitute(L, 1, 2);
  return 0;
}

/* is_thread_pool(x): true if x is a ThreadPoolExecutor. */
static int executor_is_executor(lua_State *L) {
  const void *mt = lunado__realm_upvalue(L)->types.executor;
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__toclass(L, 1, mt) != NULL);
  return 1;
}

/* --- open ----------------------------------------------------------------- */

static const luaL_Reg executor_methods[] = {{"submit", executor_submit},
                                            {"map", executor_map},
                                            {"shutdown", executor_shutdown},
                                            {NULL, NULL}};

static const luaL_Reg executor_metamethods[] = {
    {"__close", executor__close},
    {"__gc", executor__gc},
    {"__tostring", executor__tostring},
    {NULL, NULL}};

static const luaL_Reg executor_functions[] = {
    {"ThreadPoolExecutor", concurrent_thread_pool_executor},
    {"is_thread_pool", executor_is_executor},
    {"send_as", executor_send_as},
    {"submit_method", executor_submit_method},
    {NULL, NULL}};

void lunado__executor_functions(lua_State *L) {
  lunado__pool_open(L);
  lunado__realm_find(L)->types.executor =
      lunado__class_new(L, EXECUTOR, executor_methods, executor_metamethods);
  lua_pop(L, 1);
  lunado__setfunctions(L, executor_functions);
}
