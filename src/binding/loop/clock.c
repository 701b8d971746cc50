/* SPDX-License-Identifier: MIT */
/*
 * clock.c - a clock that can be stopped and moved, and the time limit of a run:
 * the functions that lunado.testing needs of a loop.
 *
 * Invariant: the time of a loop never goes back, even when its clock is
 * changed.
 */
#include "binding/loop/clock.h"

#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"

static double clock_now(lunado_clock *clock) {
  const lunado_testclock *self =
      lunado_container_of(clock, lunado_testclock, clock);
  if (self->since == 0) return self->base;
  return self->base + (double)(uv_hrtime() - self->since) / 1e9;
}

static void clock_skip_to(lunado_clock *clock, double when) {
  lunado_container_of(clock, lunado_testclock, clock)->base = when;
}

/* Sets the loop's time to `base`; from there it stands still or runs. */
static void set(lunado_ioloop *loop, double base, bool still) {
  lunado_testclock *self = &loop->clock;
  self->base = base;
  self->since = still ? 0 : uv_hrtime();
  self->clock.now = clock_now;
  self->clock.skip_to = still ? clock_skip_to : NULL;
  lunado_loop_set_clock(loop->core, &self->clock);
}

/* Rounds a positive time up to a whole second.  A time so large that doubles
 * have no fractions any more is whole already. */
static double whole(double seconds) {
  if (seconds >= 0x1p53) return seconds;
  double floor = (double)(uint64_t)seconds;
  return floor < seconds ? floor + 1 : floor;
}

/* set_virtual(loop, virtual): true makes the loop's time stand still, except
 * that it skips idle time; false makes it run on from here as fast as the
 * system's.  Time is stopped at a whole number of seconds, so that sums of
 * times are as exact as their terms, whatever the machine's uptime is. */
static int core_set_virtual(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  luaL_checktype(L, 2, LUA_TBOOLEAN);
  double now = lunado_loop_time(loop->core);
  bool still = lua_toboolean(L, 2) != 0;
  if (still && loop->clock.clock.skip_to == NULL) now = whole(now);
  set(loop, now, still);
  return 0;
}

/* advance(loop, seconds): moves the time of a loop forward.  Raises if
 * set_virtual was never called on the loop. */
static int core_advance(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double seconds = lunado__checkseconds(L, 2);
  luaL_argcheck(L, loop->clock.clock.now != NULL, 1,
                "the loop has the system's time");
  set(loop, lunado_loop_time(loop->core) + seconds, loop->clock.since == 0);
  return 0;
}

/* The longest limit, in milliseconds, that is passed to libuv. */
#define LIMIT_MAX 1e15

/* set_limit(loop, seconds): the run is stopped after that many seconds of the
 * system's time, rounded up to milliseconds; infinity removes the limit. */
static int core_set_limit(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  double ms = lunado__checkseconds(L, 2) * 1e3;
  uint64_t limit = 0;
  luaL_argcheck(L, ms > 0, 2, "a limit above 0 expected");
  if (ms < LIMIT_MAX) limit = (uint64_t)ms + 1;
  lunado_loop_set_limit(loop->core, limit);
  return 0;
}

/* is_limited(loop) → boolean: whether the limit has stopped the run. */
static int core_is_limited(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_check(L, lunado__realm_upvalue(L), 1);
  lua_pushboolean(L, lunado_loop_limited(loop->core));
  return 1;
}

static const luaL_Reg functions[] = {{"set_virtual", core_set_virtual},
                                     {"advance", core_advance},
                                     {"set_limit", core_set_limit},
                                     {"is_limited", core_is_limited},
                                     {NULL, NULL}};

void lunado__clock_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
