/* SPDX-License-Identifier: MIT */
/* deadline.c - deadlines as arguments from Lua. */
#include "binding/loop/deadline.h"

#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"

static const struct {
  const char *name;
  double seconds;
} units[] = {{"seconds", 1},   {"milliseconds", 1e-3}, {"minutes", 60},
             {"hours", 3600},  {"days", 86400},        {"microseconds", 1e-6},
             {"weeks", 604800}};

/* The length of a unit in seconds; 0 if there is no unit of that name. */
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
  luaL_argcheck(L, sum == sum, arg, "a time cannot be NaN");
  return sum;
}

double lunado__deadline_check(lua_State *L, lunado_ioloop *loop, int arg) {
  if (lua_istable(L, arg))
    return lunado_loop_time(loop->core) + interval(L, arg);
  if (lua_type(L, arg) != LUA_TNUMBER)
    luaL_typeerror(L, arg, "number or timedelta");
  return lunado__checkseconds(L, arg);
}
