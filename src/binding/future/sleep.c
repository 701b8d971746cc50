/* SPDX-License-Identifier: MIT */
/*
 * sleep.c - gen.sleep: Futures that a timer settles.
 *
 * Invariant: the loop holds such a Future exactly while its timer is running.
 * The timer is stopped also when other code settles the Future.
 */
#include "binding/future/sleep.h"

#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/anchor.h"
#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"

/* --- sleep ---------------------------------------------------------------- */

typedef struct {
  lunado_future future;
  lunado_timer timer;
  lunado_ioloop *loop; /* valid while the timer is running */
  uint32_t anchor;
} sleeper;

static void on_awake(lunado_loop *core, lunado_timer *timer) {
  sleeper *self = lunado_container_of(timer, sleeper, timer);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  lunado__anchor_take(L, loop, self->anchor);
  if (lunado_future_pending(&self->future)) {
    self->future.count = 0;
    lua_pushnil(L);
    lunado__settle(L, loop->realm, top + 1, LUNADO_DONE);
  }
  lua_settop(L, top);
}

/* gen.sleep(seconds) → a Future without results that is done after that time.
 * Tornado: gen.sleep. */
static int gen_sleep(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  double seconds = lunado__checkseconds(L, 1);
  sleeper *self =
      lunado__future_new(L, realm, LUNADO_KIND_SLEEP, sizeof *self, 1);
  lunado_ioloop *loop = lunado__ioloop_current(L, realm);
  self->loop = loop;
  lunado_timer_init(&self->timer, on_awake);
  lunado__anchor_starttimer(L, loop, &self->timer,
                            lunado_loop_time(loop->core) + seconds,
                            &self->anchor);
  return 1;
}

/* --- stopping ------------------------------------------------------------- */

/* To be called when other code has settled the sleep at idx. */
void lunado__sleep_stop(lua_State *L, int idx) {
  sleeper *self = lua_touserdata(L, idx);
  lunado__anchor_stoptimer(L, self->loop, &self->timer, self->anchor);
}

/* --- looking -------------------------------------------------------------- */

const lunado_timer *lunado__sleep_timer(const lunado_future *future) {
  return &lunado_container_of(future, sleeper, future)->timer;
}

static const luaL_Reg functions[] = {{"sleep", gen_sleep}, {NULL, NULL}};

void lunado__sleep_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
