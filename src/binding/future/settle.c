/* SPDX-License-Identifier: MIT */
/* settle.c - giving Futures their outcomes. */
#include "binding/future/settle.h"

#include "binding/coroutine/suspend.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/awaited.h"
#include "binding/future/dependent.h"
#include "binding/future/timedout.h"
#include "binding/future/untie.h"
#include "binding/state/log.h"
#include "core/multi.h"
#include "core/waititer.h"

/* Stack slots that settling, and the waiters that it calls, may use. */
#define SETTLE_STACK 24

/* (realm, future, owners): copies the owners of the waiters, which the core is
 * going to defer because settling is nested too deeply, to a table of the
 * realm.  No finalizer or hook may run meanwhile, since it might remove waiters
 * or settle the Future: so this makes no object. */
static int defer_owners(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lunado_future *future = lua_touserdata(L, 2);
  lunado_waiter *waiter = future->waiters;
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  do {
    if (lua_type(L, 3) == LUA_TTABLE)
      lua_rawgetp(L, 3, waiter);
    else
      lua_pushvalue(L, 3);
    lua_rawsetp(L, 4, waiter);
    if (++realm->futures.deferred > realm->futures.deferred_most)
      realm->futures.deferred_most = realm->futures.deferred;
    waiter = waiter->next;
  } while (waiter != future->waiters);
  return 0;
}

/* Prepares the waiters' deferral.  If there is no memory for it, they are
 * called at once, one level deeper than intended. */
static void prepare_to_defer(lua_State *L, lunado_realm *realm,
                             lunado_future *future, int owners) {
  lua_pushcfunction(L, defer_owners);
  lua_pushlightuserdata(L, realm);
  lua_pushlightuserdata(L, future);
  lua_pushvalue(L, owners);
  if (lunado__protect_unseen(L, 3)) return;
  realm->futures.settler.depth--;
}

/* Reserves stack for settling.  If there is none, the outermost call raises,
 * before anything has changed; a call from a waiter's callback must not raise,
 * so it logs this and returns false. */
static bool has_room(lua_State *L, lunado_realm *realm) {
  if (lua_checkstack(L, SETTLE_STACK)) return true;
  if (realm->futures.frame == NULL) luaL_error(L, "not enough memory");
  lunado__log_text(L, realm, "a Future was not settled: not enough memory");
  return false;
}

static void settle_waited_for(lua_State *L, lunado_realm *realm, int idx,
                              lunado_future *future, int state) {
  lunado_settle_frame frame = {L, 0};
  lunado_settle_frame *outer = realm->futures.frame;
  unsigned depth = realm->futures.settler.depth;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  frame.owners = lua_gettop(L);
  if (depth >= LUNADO_SETTLE_DEPTH)
    prepare_to_defer(L, realm, future, frame.owners);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  realm->futures.frame = &frame;
  (void)lunado_future_settle(&realm->futures.settler, future, state);
  realm->futures.settler.depth = depth;
  realm->futures.frame = outer;
  lua_pop(L, 2);
}

/* If waking the waiters only queues a task or decrements a counter, the value
 * may be stored afterwards, because no code runs in between.  If done-callbacks
 * may be called, it is stored before. */
void lunado__settle_waiters(lua_State *L, lunado_realm *realm, int idx,
                            lunado_future *future, int state) {
  lunado_waiter *sole;
  if (state == LUNADO_FAILED) lunado__awaited_note(L, realm, future);
  if (future->flags & LUNADO_IS_DEPENDENT)
    lunado__dependent_hold(L, idx, false);
  sole = lunado_future_take_sole(future, lunado__suspend_ready);
  if (sole != NULL) {
    lunado__suspend_ready_sole(L, idx, sole);
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    lunado_future_set_state(future, state);
  } else if (lunado_multi_settle(future, state) ||
             (realm->futures.deferred == 0 && /* deferred waiters come first */
              lunado_waititer_settle(future, state))) {
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  } else if (has_room(L, realm)) {
    settle_waited_for(L, realm, idx, future, state);
  } else {
    lua_pop(L, 1);
  }
}

void lunado__settle(lua_State *L, lunado_realm *realm, int idx, int state) {
  lunado__settle_known(L, realm, idx, lua_touserdata(L, idx), state);
}

static void settle_failed(lua_State *L, lunado_realm *realm, int idx,
                          lunado_future *future) {
  bool unheeded = lunado__timedout_unheeded(future);
  future->count = 0;
  lunado__settle_known(L, realm, idx, future, LUNADO_FAILED);
  if (unheeded) lunado__timedout_failed(L, realm, idx);
  lunado__untie_tied(L, realm, idx, future);
}

void lunado__settle_failed(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future)) {
    if (future->flags & LUNADO_WAS_CANCELLED) /* such as ECANCELED, late */
      ((lunado_failure *)lua_touserdata(L, -1))->observed = true;
    lua_pop(L, 1);
    return;
  }
  settle_failed(L, realm, idx, future);
}

void lunado__settle_copy(lua_State *L, lunado_realm *realm, int from, int idx) {
  lunado_future *source = lua_touserdata(L, from);
  lunado_future *target = lua_touserdata(L, idx);
  if (!lunado_future_pending(target)) return;
  lua_getiuservalue(L, from, LUNADO_FUTURE_VALUE);
  if (source->state == LUNADO_FAILED) {
    lunado__failure_hand_on(lua_touserdata(L, -1));
    settle_failed(L, realm, idx, target);
  } else {
    target->count = source->count;
    lunado__settle_known(L, realm, idx, target, LUNADO_DONE);
  }
}
