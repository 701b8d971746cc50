/* SPDX-License-Identifier: MIT */
/*
 * timeout.c - IOLoop's call_later, call_at, add_timeout, remove_timeout.
 *
 * Invariant: the loop holds a timeout exactly while its timer runs.
 */
#include "binding/timeout.h"

#include <math.h>
#include <string.h>

#include "binding/ioloop.h"
#include "binding/realm.h"

/* User values: the callable, then its arguments. */
typedef struct {
  lunado_timer timer;
  lunado_ioloop *loop; /* good while the timer runs */
  uint32_t anchor;
  int nargs;
} timeout;

/* --- deadlines ------------------------------------------------------------ */

static const struct {
  const char *name;
  double seconds;
} units[] = {{"seconds", 1},   {"milliseconds", 1e-3}, {"minutes", 60},
             {"hours", 3600},  {"days", 86400},        {"microseconds", 1e-6},
             {"weeks", 604800}};

/* The seconds of a unit; 0 for what is none. */
static double unit_seconds(const char *name) {
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (strcmp(units[i].name, name) == 0) return units[i].seconds;
  return 0;
}

static double interval(lua_State *L, int arg) {
  double sum = 0;
  bool any = false;
  for (lua_pushnil(L); lua_next(L, arg) != 0; lua_pop(L, 1), any = true) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
                                                      : luaL_typename(L, -2);
    double seconds = unit_seconds(name);
    if (seconds == 0) {
      lua_pushfstring(L, "'%s' is no unit of time", name);
      luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    if (lua_type(L, -1) != LUA_TNUMBER) {
      lua_pushfstring(L, "field '%s' is a %s, not a number", name,
                      luaL_typename(L, -1));
      luaL_argerror(L, arg, lua_tostring(L, -1));
    }
    sum += (double)lua_tonumber(L, -1) * seconds;
  }
  luaL_argcheck(L, any, arg, "a table without seconds, minutes, ...");
  luaL_argcheck(L, !isnan(sum), arg, "a time cannot be NaN");
  return sum;
}

double lunado__checkdeadline(lua_State *L, lunado_ioloop *loop, int arg) {
  if (lua_istable(L, arg))
    return lunado_loop_time(loop->core) + interval(L, arg);
  if (lua_type(L, arg) != LUA_TNUMBER)
    luaL_typeerror(L, arg, "number or timedelta");
  return lunado__checkseconds(L, arg);
}

/* --- timers of objects ---------------------------------------------------- */

void lunado__starttimer(lua_State *L, lunado_ioloop *loop, lunado_timer *timer,
                        double when, uint32_t *anchor) {
  int rc;
  *anchor = lunado__anchor(L, loop);
  rc = lunado_timer_start(loop->core, timer, when);
  if (rc == 0) return;
  lunado__unanchor(L, loop, *anchor);
  luaL_error(L, "cannot start a timeout: %s", uv_strerror(rc));
}

void lunado__stoptimer(lua_State *L, lunado_ioloop *loop, lunado_timer *timer,
                       uint32_t anchor) {
  if (!lunado_timer_running(timer)) return;
  lunado_timer_stop(loop->core, timer);
  lunado__unanchor(L, loop, anchor);
}

/* --- timeouts ------------------------------------------------------------- */

/* Lets the callable and its arguments go. */
static void clear(lua_State *L, int idx, timeout *self) {
  for (int i = 0; i <= self->nargs; i++) {
    lua_pushnil(L);
    lua_setiuservalue(L, idx, i + 1);
  }
}

static void on_due(lunado_loop *core, lunado_timer *timer) {
  timeout *self = lunado_container_of(timer, timeout, timer);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  int nargs = self->nargs;
  lunado__takeanchor(L, loop, self->anchor);
  if (!lua_checkstack(L, nargs + LUA_MINSTACK)) {
    lunado__log_text(L, loop->realm,
                     "a timeout was not called: not enough memory");
    lua_settop(L, top);
    return;
  }
  for (int i = 0; i <= nargs; i++) lua_getiuservalue(L, top + 1, i + 1);
  clear(L, top + 1, self);
  lunado__ioloop_enlist(loop); /* the callback may close it */
  lunado__callback(L, loop->realm, loop, nargs);
  lua_settop(L, top);
  lunado__ioloop_discharge(L, loop);
}

/* Starts a timeout for the callable at `callable` and what is above it. */
static int add_timeout(lua_State *L, lunado_ioloop *loop, double when,
                       int callable) {
  int nargs = lua_gettop(L) - callable;
  timeout *self = lua_newuserdatauv(L, sizeof *self, nargs + 1);
  lunado_timer_init(&self->timer, on_due);
  self->loop = loop;
  self->nargs = nargs;
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->realm->timeout_class);
  lua_setmetatable(L, -2);
  for (int i = 0; i <= nargs; i++) {
    lua_pushvalue(L, callable + i);
    lua_setiuservalue(L, -2, i + 1);
  }
  lunado__starttimer(L, loop, &self->timer, when, &self->anchor);
  return 1;
}

static void check_arguments(lua_State *L, lunado_ioloop *loop, int callable) {
  lunado__checkcallable(L, callable);
  luaL_argcheck(L, lua_gettop(L) - callable < 60000, callable,
                "too many arguments");
  lunado__capture(L, loop->realm, callable);
}

/* loop:call_later(delay, fn, ...) → handle; delay in seconds.
 * Tornado: IOLoop.call_later. */
static int loop_call_later(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  double delay = lunado__checkseconds(L, 2);
  check_arguments(L, loop, 3);
  return add_timeout(L, loop, lunado_loop_time(loop->core) + delay, 3);
}

/* loop:call_at(when, fn, ...) → handle; when on loop:time().
 * Tornado: IOLoop.call_at. */
static int loop_call_at(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  double when = lunado__checkseconds(L, 2);
  check_arguments(L, loop, 3);
  return add_timeout(L, loop, when, 3);
}

/* loop:add_timeout(deadline, fn, ...) → handle.
 * Tornado: IOLoop.add_timeout. */
static int loop_add_timeout(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  double when = lunado__checkdeadline(L, loop, 2);
  check_arguments(L, loop, 3);
  return add_timeout(L, loop, when, 3);
}

/* loop:remove_timeout(handle): harmless after it fired, and twice.
 * Tornado: IOLoop.remove_timeout. */
static int loop_remove_timeout(lua_State *L) {
  lunado_ioloop *loop = lunado__checkloop(L, lunado__upvalue_realm(L), 1);
  timeout *self = lunado__toclass(L, 2, loop->realm->timeout_mt);
  if (self == NULL) lunado__typeerror(L, 2, "timeout");
  if (!lunado_timer_running(&self->timer)) return 0;
  luaL_argcheck(L, self->loop == loop, 2, "a timeout of another loop");
  lunado__stoptimer(L, loop, &self->timer, self->anchor);
  clear(L, 2, self);
  return 0;
}

static const luaL_Reg methods[] = {{"call_later", loop_call_later},
                                   {"call_at", loop_call_at},
                                   {"add_timeout", loop_add_timeout},
                                   {"remove_timeout", loop_remove_timeout},
                                   {NULL, NULL}};

void lunado__timeout_methods(lua_State *L) {
  lunado_realm *realm = lunado__findrealm(L);
  realm->timeout_mt = lunado__newclass(L, "lunado.Timeout", NULL, NULL);
  realm->timeout_class = luaL_ref(L, LUA_REGISTRYINDEX);
  lunado__setfunctions(L, methods);
}
