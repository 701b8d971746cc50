/* SPDX-License-Identifier: MIT */
/*
 * canceller.c - functions that give up the work behind a Future.
 */
#include "binding/coroutine/canceller.h"

#include "binding/coroutine/notice.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/callback.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"

void lunado__canceller_set(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  int fn = lua_gettop(L);
  bool given = !lua_isnil(L, fn);
  lunado__getslot(L, realm, LUNADO_SLOT_CANCELLERS);
  lua_pushvalue(L, idx);
  lua_pushvalue(L, fn);
  lua_rawset(L, -3);
  if (given)
    future->flags |= LUNADO_HAS_CANCELLER;
  else
    future->flags &= (uint16_t)~LUNADO_HAS_CANCELLER;
  lua_settop(L, fn - 1);
}

void lunado__canceller_push(lua_State *L, const lunado_realm *realm, int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_CANCELLERS);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

void lunado__canceller_call(lua_State *L, lunado_realm *realm, int idx,
                            int notice) {
  lunado_future *future = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  future->flags &= (uint16_t)~LUNADO_HAS_CANCELLER;
  lunado__getslot(L, realm, LUNADO_SLOT_CANCELLERS);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_pushvalue(L, idx);
  lua_pushnil(L);
  lua_rawset(L, -4);
  lua_pushvalue(L, idx);
  lunado__callback(L, realm, NULL, 1);
  if (lunado_future_pending(future) && !(future->flags & LUNADO_IS_KEPT)) {
    future->flags |= LUNADO_WAS_CANCELLED;
    lua_getiuservalue(L, notice, LUNADO_FUTURE_VALUE);
    lunado__settle_failed(L, realm, idx);
  }
  lua_settop(L, top);
}

/* --- functions ------------------------------------------------------------ */

/* set_canceller(future, fn): fn(future) is called once, when the last that
 * waits for the Future is cancelled.  A Future that is still pending when fn
 * returns fails with CancelledError.  Nil for fn removes the canceller. */
static int tasks_set_canceller(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)lunado__checkfuture(L, realm, 1);
  if (!lua_isnil(L, 2)) lunado__checkcallable(L, 2);
  lua_settop(L, 2);
  lunado__canceller_set(L, realm, 1);
  return 0;
}

/* withdraw(future): gives up the pending Future, which has a canceller, whoever
 * waits for it. */
static int core_withdraw(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  lua_settop(L, 1);
  if (!lunado_future_pending(future) || !(future->flags & LUNADO_HAS_CANCELLER))
    return 0;
  lunado__notice_push_protected(L, realm, "withdrawn");
  lunado__canceller_call(L, realm, 1, 2);
  return 0;
}

static const luaL_Reg functions[] = {{"set_canceller", tasks_set_canceller},
                                     {"withdraw", core_withdraw},
                                     {NULL, NULL}};

void lunado__canceller_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
