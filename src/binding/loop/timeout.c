/* SPDX-License-Identifier: MIT */
/*
 * timeout.c - IOLoop's call_later, call_at, add_timeout, remove_timeout.
 *
 * A timeout is not a Lua object, because most timeouts are removed before they
 * fire.  Its handle is an integer: the index of an item in the loop's slab, and
 * a sequence number among the timeouts of the realm.  So a handle whose timeout
 * has fired or was removed, or belongs to another loop, is recognized; this
 * holds for 2^40 timeouts.
 *
 * Invariant: an item is in use exactly while its timer is running; the loop
 * then holds the callable.
 */
#include "binding/loop/timeout.h"

#include <math.h>
#include <string.h>

#include "binding/loop/anchor.h"
#include "binding/loop/callback.h"
#include "binding/loop/deadline.h"
#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"
#include "binding/state/log.h"
#include "core/prefetch.h"

/* A handle has the index of the item in its lower bits and the sequence number,
 * taken from realm->loops.timeouts, above. */
#define NUMBER_BITS 24
#define NUMBERS (1u << NUMBER_BITS)

/* So many timeouts, with what they call, are in the processor's caches anyway.
 */
#define CACHED 512u

typedef struct {
  lunado_slot slot;
  lunado_timer timer;
  lua_Integer handle;  /* 0: fired or removed */
  uint32_t anchor;     /* anchor of the callable or the packed call */
  int nargs;           /* above 0: the anchor is that of a packed call */
  const void *address; /* of what the anchor holds, to prefetch it; or NULL */
} timeout;

/* --- packed calls --------------------------------------------------------- */

/* Replaces the callable below nargs arguments by an object that holds them. */
static void pack_call(lua_State *L, int nargs) {
  int callable = lua_gettop(L) - nargs;
  (void)lua_newuserdatauv(L, 0, nargs + 1);
  lua_insert(L, callable);
  for (int i = nargs + 1; i > 0; i--) lua_setiuservalue(L, callable, i);
}

/* Replaces the packed call on top by its callable and arguments. */
static void unpack_call(lua_State *L, int nargs) {
  int packed = lua_gettop(L);
  for (int i = 1; i <= nargs + 1; i++) lua_getiuservalue(L, packed, i);
  lua_remove(L, packed);
}

/* --- timeouts ------------------------------------------------------------- */

void lunado__timeout_init(lunado_ioloop *loop) {
  lunado_slab_init(&loop->timeouts, sizeof(timeout));
}

static void end(lunado_ioloop *loop, timeout *self) {
  self->handle = 0;
  lunado_slab_give(&loop->timeouts, self);
  lunado_slab_trim(&loop->timeouts);
}

static void on_due(lunado_loop *core, lunado_timer *timer) {
  timeout *self = lunado_container_of(timer, timeout, timer);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  int nargs = self->nargs;
  lunado__prefetch(self->address);
  lunado__anchor_take(L, loop, self->anchor);
  end(loop, self);
  if (!lua_checkstack(L, nargs + LUA_MINSTACK)) {
    lunado__log_text(L, loop->realm,
                     "a timeout was not called: not enough memory");
    lua_settop(L, top);
    return;
  }
  if (nargs > 0) unpack_call(L, nargs);
  lunado__ioloop_ref(loop); /* the callback may close the loop */
  lunado__callback(L, loop->realm, loop, nargs);
  lunado__ioloop_unref(L, loop);
}

/* Returns a new timeout for the callable on top; its timer is not started
 * yet. */
static timeout *take(lua_State *L, lunado_ioloop *loop) {
  uint32_t anchor = lunado__anchor_add(L, loop);
  int rc = lunado_slab_reserve(&loop->timeouts, NUMBERS);
  timeout *self;
  if (rc < 0) {
    lunado__anchor_drop(L, loop, anchor);
    luaL_error(L, rc == UV_ENOSPC ? "too many timeouts" : "not enough memory");
  }
  self = lunado_slab_take(&loop->timeouts);
  self->anchor = anchor;
  self->address = loop->timeouts.taken > CACHED ? lua_topointer(L, -1) : NULL;
  lunado_timer_init(&self->timer, on_due);
  return self;
}

/* lunado_timer_start or lunado_timer_start_in. */
typedef int (*starter)(lunado_loop *core, lunado_timer *timer, double seconds);

/* Starts a timeout for the callable below the nargs arguments on top, and
 * pushes its handle. */
static inline int add_timeout(lua_State *L, lunado_ioloop *loop, starter start,
                              double seconds, int nargs) {
  timeout *self;
  int rc;
  if (nargs > 0) pack_call(L, nargs);
  self = take(L, loop);
  self->nargs = nargs;
  rc = start(loop->core, &self->timer, seconds);
  if (rc < 0) {
    lunado__anchor_drop(L, loop, self->anchor);
    end(loop, self);
    return luaL_error(L, "cannot start a timeout: %s", uv_strerror(rc));
  }
  self->handle = (lua_Integer)(++loop->realm->loops.timeouts << NUMBER_BITS |
                               self->slot.number);
  lua_pushinteger(L, self->handle);
  return 1;
}

/* Checks the callable at argument 3 and returns how many arguments for it
 * follow. */
static int check_arguments(lua_State *L, lunado_ioloop *loop) {
  int nargs = lua_gettop(L) - 3;
  lunado__checkcallable(L, 3);
  luaL_argcheck(L, nargs < 60000, 3, "too many arguments");
  lunado__context_wrap_if_any(L, loop->realm, 3);
  return nargs;
}

/* loop:call_later(delay, fn, ...) → handle, an integer: calls fn(...) after
 * `delay` seconds.  Tornado: IOLoop.call_later. */
static int loop_call_later(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double delay = lunado__checkseconds(L, 2);
  int nargs = check_arguments(L, loop);
  return add_timeout(L, loop, lunado_timer_start_in, delay, nargs);
}

/* loop:call_at(when, fn, ...) → handle: calls fn(...) at loop:time() == when.
 * Tornado: IOLoop.call_at. */
static int loop_call_at(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double when = lunado__checkseconds(L, 2);
  int nargs = check_arguments(L, loop);
  return add_timeout(L, loop, lunado_timer_start, when, nargs);
}

/* loop:add_timeout(deadline, fn, ...) → handle: calls fn(...) at the deadline,
 * a time or a timedelta.  Tornado: IOLoop.add_timeout. */
static int loop_add_timeout(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double when = lunado__deadline_check(L, loop, 2);
  int nargs = check_arguments(L, loop);
  return add_timeout(L, loop, lunado_timer_start, when, nargs);
}

/* The loop's running timeout with the handle, or NULL. */
static timeout *find(lunado_ioloop *loop, lua_Integer handle) {
  uint32_t number = (uint32_t)(handle & (NUMBERS - 1));
  timeout *self;
  if (number >= loop->timeouts.count) return NULL;
  self = lunado_slab_at(&loop->timeouts, number);
  return self->handle == handle ? self : NULL;
}

/* True if any loop of the realm has a running timeout with the handle.  Pushes
 * values. */
static bool is_elsewhere(lua_State *L, lunado_ioloop *loop,
                         lua_Integer handle) {
  lunado__getslot(L, loop->realm, LUNADO_SLOT_LOOPS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
    if (find(lua_touserdata(L, -1), handle) != NULL) return true;
  return false;
}

/* Argument 2 as a handle; raises if it was never given out. */
static lua_Integer check_handle(lua_State *L, const lunado_realm *realm) {
  lua_Integer handle;
  uint64_t count;
  if (!lua_isinteger(L, 2)) luaL_typeerror(L, 2, "timeout");
  handle = lua_tointeger(L, 2);
  count = (uint64_t)handle >> NUMBER_BITS;
  luaL_argcheck(L, count > 0 && count <= realm->loops.timeouts, 2,
                "not the handle of a timeout");
  return handle;
}

/* Stops a running timeout. */
static void stop(lua_State *L, lunado_ioloop *loop, timeout *self) {
  lunado_timer_stop(loop->core, &self->timer);
  lunado__anchor_drop(L, loop, self->anchor);
  end(loop, self);
}

bool lunado__timeout_take(lua_State *L, lunado_ioloop *loop, lua_Integer handle,
                          double *when) {
  timeout *self = find(loop, handle);
  if (self == NULL || !lunado_timer_when(loop->core, &self->timer, when))
    return false;
  stop(L, loop, self);
  return true;
}

/* loop:remove_timeout(handle): stops the timeout.  No effect if it has fired or
 * was removed; raises for a timeout of another loop.
 * Tornado: IOLoop.remove_timeout. */
static int loop_remove_timeout(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  lua_Integer handle = check_handle(L, loop->realm);
  timeout *self = find(loop, handle);
  if (self == NULL) {
    luaL_argcheck(L, !is_elsewhere(L, loop, handle), 2,
                  "a timeout of another loop");
    return 0;
  }
  stop(L, loop, self);
  return 0;
}

static const luaL_Reg methods[] = {{"call_later", loop_call_later},
                                   {"call_at", loop_call_at},
                                   {"add_timeout", loop_add_timeout},
                                   {"remove_timeout", loop_remove_timeout},
                                   {NULL, NULL}};

void lunado__timeout_methods(lua_State *L) { lunado__setfunctions(L, methods); }
