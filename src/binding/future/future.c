/* SPDX-License-Identifier: MIT */
/*
 * future.c - the Future: its methods for consumers and producers, and the
 * functions of lunado.concurrent.
 *
 * Invariant: all steps that may raise are made before a Future changes; from
 * lunado_future_settle on, nothing raises.
 */
#include "binding/future/future.h"

#include "binding/coroutine/received.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/chain.h"
#include "binding/future/dependent.h"
#include "binding/future/done.h"
#include "binding/future/settle.h"
#include "binding/future/ticket.h"
#include "binding/future/untie.h"
#include "binding/state/argument.h"
#include "core/multi.h"
#include "core/waititer.h"

/* --- values --------------------------------------------------------------- */

void *lunado__future_new(lua_State *L, lunado_realm *realm, lunado_kind kind,
                         size_t size, int values) {
  lunado_future *future = lua_newuserdatauv(L, size, values);
  lunado_future_init(future);
  future->kind = (uint8_t)kind;
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->types.future_class);
  lua_setmetatable(L, -2);
  return future;
}

static inline lunado_future *check_future(lua_State *L, lunado_realm *realm,
                                          int arg) {
  lunado_future *future = lunado__tofuture(L, realm, arg);
  if (future == NULL) luaL_typeerror(L, arg, "future");
  return future;
}

lunado_future *lunado__checkfuture(lua_State *L, lunado_realm *realm, int arg) {
  return check_future(L, realm, arg);
}

int lunado__future_copy_list(lua_State *L, lunado_realm *realm, int from,
                             int to) {
  int n = 0;
  for (lua_pushnil(L); lua_next(L, from) != 0;) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != n + 1 ||
        lunado__tofuture(L, realm, -1) == NULL) {
      lua_settop(L, to);
      return -1;
    }
    lua_rawseti(L, to, ++n);
  }
  return n;
}

void lunado__future_pack(lua_State *L, int n) {
  if (n == 1) return;
  if (n == 0) {
    lua_pushnil(L);
    return;
  }
  luaL_checkstack(L, 2, NULL);
  lua_createtable(L, n, 0);
  lua_insert(L, -(n + 1));
  for (int i = n; i > 0; i--) lua_rawseti(L, -(i + 1), i);
}

int lunado__future_push_results(lua_State *L, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  int n = (int)future->count;
  int list;
  if (n == 0) return 0;
  if (n > 1) luaL_checkstack(L, n + 1, "too many results");
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (n == 1) return 1;
  list = lua_gettop(L);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, list, i);
  lua_remove(L, list);
  return n;
}

/* --- methods: consumer ---------------------------------------------------- */

/* Argument 1 as a Future.  A ticket that has withdrawn from its wait queue
 * first asks the wait queue for its outcome. */
static lunado_future *check_self(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_future(L, realm, 1);
  if ((future->flags & LUNADO_IS_WITHDRAWN) && lunado_future_pending(future))
    lunado__ticket_ask(L, 1);
  return future;
}

static lunado_future *check_done(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_self(L, realm);
  if (!lunado_future_pending(future)) return future;
  lunado__exception_push(L, realm, LUNADO_E_INVALID_STATE,
                         "the Future has no result yet");
  lua_error(L);
  return NULL;
}

/* f:result([timeout]) → all result values.  Raises the error of a failed
 * Future, and InvalidStateError while it is pending.
 * Tornado: Future.result. */
static int future_result(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future = check_done(L, realm);
  if (future->state == LUNADO_DONE) return lunado__future_push_results(L, 1);
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__received_throw(L, realm);
  return lua_error(L);
}

/* f:exception([timeout]) → the error, or nil.  Tornado: Future.exception. */
static int future_exception(lua_State *L) {
  lunado_future *future = check_done(L, lunado__realm_upvalue(L));
  if (future->state == LUNADO_DONE) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__received_throw(L, lunado__realm_upvalue(L));
  return 1;
}

/* f:exc_info() → error, traceback; nil unless the Future has failed. */
static int future_exc_info(lua_State *L) {
  lunado_future *future = check_self(L, lunado__realm_upvalue(L));
  int failure;
  if (future->state != LUNADO_FAILED) {
    lua_pushnil(L);
    return 1;
  }
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  failure = lua_gettop(L);
  lua_pushvalue(L, failure);
  lunado__received_throw(L, lunado__realm_upvalue(L));
  lunado__failure_traceback(L, failure);
  return 2;
}

/* True for a claim, which counts as done. */
static bool is_claim(const lunado_future *future) {
  return (future->flags & LUNADO_IS_CLAIM) != 0;
}

static bool is_done(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  return is_claim(check_future(L, realm, 1)) ||
         !lunado_future_pending(check_self(L, realm));
}

/* f:done() → true once f has an outcome.  Tornado: Future.done. */
static int future_done(lua_State *L) {
  lua_pushboolean(L, is_done(L));
  return 1;
}

/* f:running() → true while f has no outcome.  Tornado: Future.running. */
static int future_running(lua_State *L) {
  lua_pushboolean(L, !is_done(L));
  return 1;
}

/* f:cancel(), f:cancelled() → false, always. */
static int future_cancel(lua_State *L) {
  check_future(L, lunado__realm_upvalue(L), 1);
  lua_pushboolean(L, 0);
  return 1;
}

/* f:add_done_callback(fn): calls fn(f) when f is done.  If f is done already,
 * calls fn at once, and errors of fn are raised to the caller.
 * Tornado: Future.add_done_callback. */
static int future_add_done_callback(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future = check_future(L, realm, 1);
  lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  if (lunado_future_pending(future)) {
    lunado__done_call(L, realm, 1, NULL);
    return 0;
  }
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

/* --- methods: producer ---------------------------------------------------- */

static lunado_future *check_pending(lua_State *L, lunado_realm *realm) {
  lunado_future *future = check_future(L, realm, 1);
  if (lunado_future_pending(future) &&
      (future->kind < LUNADO_KIND_TIED || !is_claim(future)))
    return future;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lunado__exception_push(L, realm, LUNADO_E_INVALID_STATE,
                         "the Future is done already");
  lua_error(L);
  return NULL;
}

/* f:set_result(...): settles f with these values.  Raises InvalidStateError,
 * and changes nothing, if f is done already.  Tornado: Future.set_result. */
static int future_set_result(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future = check_pending(L, realm);
  int n = lua_gettop(L) - 1;
  lunado__future_pack(L, n);
  if (n > 1) (void)check_pending(L, realm); /* finalizers may have run */
  future->count = (uint32_t)n;
  lunado__settle_known(L, realm, 1, future, LUNADO_DONE);
  lunado__untie_tied(L, realm, 1, future);
  return 0;
}

/* f:set_exc_info(err [, traceback]): settles f with the error; the traceback is
 * a string.  Tornado: Future.set_exc_info. */
static int future_set_exc_info(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  check_pending(L, realm);
  if (!lua_isnoneornil(L, 3)) luaL_checkstring(L, 3);
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    (void)lunado__received_handed(L, realm, 2, 1);
  } else {
    (void)lunado__failure_new(L, realm, 2, -1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, LUNADO_FAILURE_TEXT);
  }
  lunado__settle_failed(L, realm, 1);
  return 0;
}

/* f:set_exception(err): settles f with the error.
 * Tornado: Future.set_exception. */
static int future_set_exception(lua_State *L) {
  check_pending(L, lunado__realm_upvalue(L));
  lua_settop(L, 2);
  return future_set_exc_info(L);
}

/* --- metamethods ---------------------------------------------------------- */

static int future__tostring(lua_State *L) {
  lunado_future *future = check_future(L, lunado__realm_upvalue(L), 1);
  const void *address = future;
  if (future->state == LUNADO_PENDING && !is_claim(future)) {
    lua_pushfstring(L, "Future: %p (pending)", address);
  } else if (future->state != LUNADO_FAILED) {
    lua_pushfstring(L, "Future: %p (finished)", address);
  } else {
    lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
    lunado__failure_errortext(L, -1);
    lua_pushfstring(L, "Future: %p (failed: %s)", address, lua_tostring(L, -1));
  }
  return 1;
}

/* --- functions ------------------------------------------------------------ */

/* Future() → a pending Future. */
static int concurrent_future(lua_State *L) {
  lunado_future *future = lua_newuserdatauv(L, sizeof *future, 1);
  lunado_future_init(future);
  lua_pushvalue(L, lua_upvalueindex(LUNADO_UP_FUTURE));
  lua_setmetatable(L, -2);
  return 1;
}

/* is_future(x) → boolean.  Tornado: concurrent.is_future. */
static int concurrent_is_future(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, lunado__tofuture(L, lunado__realm_upvalue(L), 1) != NULL);
  return 1;
}

/* chain_future(a, b): settles b with a's outcome once a is done, unless b is
 * done before. */
static int concurrent_chain_future(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  check_future(L, realm, 1);
  check_future(L, realm, 2);
  lua_settop(L, 2);
  lunado__chain(L, realm, 1, 2);
  return 0;
}

/* --- open ----------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"result", future_result},
    {"exception", future_exception},
    {"exc_info", future_exc_info},
    {"done", future_done},
    {"running", future_running},
    {"cancel", future_cancel},
    {"cancelled", future_cancel},
    {"add_done_callback", future_add_done_callback},
    {"set_result", future_set_result},
    {"set_exception", future_set_exception},
    {"set_exc_info", future_set_exc_info},
    {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", future__tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"Future", concurrent_future},
                                     {"is_future", concurrent_is_future},
                                     {"chain_future", concurrent_chain_future},
                                     {NULL, NULL}};

void lunado__future_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__future_open(lua_State *L, lunado_realm *realm) {
  lunado_future *moment;
  lunado__dependent_open(L, realm);
  (void)lunado__class_new(L, "lunado.Future", methods, metamethods);
  realm->types.future_class = luaL_ref(L, LUA_REGISTRYINDEX);
  moment = lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof *moment, 1);
  moment->flags = LUNADO_IS_MOMENT;
  (void)lunado_future_settle(&realm->futures.settler, moment, LUNADO_DONE);
  lunado__setslot(L, realm, LUNADO_SLOT_MOMENT);
}
