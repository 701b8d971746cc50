/* SPDX-License-Identifier: MIT */
/*
 * closing.c - a state is closed in every phase of its garbage collector.
 *
 * Errors of Futures that were collected earlier are reported; errors of Futures
 * that are freed with the state are not.  This holds in every step of a
 * collection, in both modes, and if memory is short.
 */
#include "host.h"

/* Makes suspended coroutines: some are in `held`; the others are
 * unreachable. */
static const char script[] =
    "local lunado = ...\n"
    "local yield = coroutine.yield\n"
    "local function wait(f) yield(f) end\n"
    "local function abandoned(f) yield(f) end\n"
    "local held = {}\n"
    "watched = setmetatable({}, { __mode = 'v' })\n"
    "function hold(n)\n"
    "  for _ = 1, n do\n"
    "    local f = lunado.Future()\n"
    "    held[#held + 1] = f\n"
    "    lunado.coroutine(wait)(f)\n"
    "  end\n"
    "end\n"
    "function abandon(n)\n"
    "  for _ = 1, n do\n"
    "    watched[#watched + 1] = lunado.Future()\n"
    "    lunado.coroutine(abandoned)(watched[#watched])\n"
    "  end\n"
    "end\n"
    "function gone()\n"
    "  local n = 0\n"
    "  for _ in pairs(watched) do n = n + 1 end\n"
    "  return made - n\n"
    "end\n"
    "made = 0\n"
    "function make()\n"
    "  hold(2) abandon(2) hold(1)\n"
    "  made = made + 2\n"
    "end\n";

/* Opens a state with the script loaded and the collector stopped. */
static lua_State *open_state(host_log *log) {
  lua_State *L = host_open();
  lunado_setlog(L, host_on_log, log);
  host_incremental(L, 200, 100, 13);
  lua_gc(L, LUA_GCCOLLECT, 0);
  lua_gc(L, LUA_GCSTOP);
  check_int(luaL_loadstring(L, script), LUA_OK);
  lua_getglobal(L, "lunado");
  lua_call(L, 1, 0);
  return L;
}

static int call_number(lua_State *L, const char *name) {
  int n;
  lua_getglobal(L, name);
  lua_call(L, 0, 1);
  n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* Makes the smallest collection step; true if it ended a collection. */
static bool step(lua_State *L) {
  bool last;
  host_incremental(L, 200, 1, 1);
  lua_gc(L, LUA_GCRESTART);
  last = lua_gc(L, LUA_GCSTEP, 0) != 0;
  lua_gc(L, LUA_GCSTOP);
  return last;
}

/* Checks that the `gone` collected Futures have been reported, except at most
 * `missed`, and no others. */
static void check_reports(const host_log *log, int gone, int missed) {
  if (log->count > gone || log->count < gone - missed)
    host_fail(__FILE__, __LINE__, "the reports",
              " are %d, and %d were collected; the last: %s", log->count, gone,
              log->last);
  if (log->count > 0) check_text(log->last, "]:4");
}

static void close_state(lua_State *L, const host_log *log, int missed) {
  int gone = call_number(L, "gone");
  host_close(L);
  check_reports(log, gone, missed);
}

/* Returns the number of steps of an undisturbed collection. */
static int count_steps(void) {
  host_log log = {0};
  lua_State *L = open_state(&log);
  int n = 0;
  call_number(L, "make");
  while (!step(L)) n++;
  close_state(L, &log, 0);
  check(n > 100);
  return n;
}

/* Makes coroutines, makes n steps, calls `meanwhile`, makes m steps, and closes
 * the state. */
static void end_after(int n, void (*meanwhile)(lua_State *), int m,
                      int missed) {
  host_log log = {0};
  lua_State *L = open_state(&log);
  call_number(L, "make");
  while (n-- > 0) (void)step(L);
  meanwhile(L);
  while (m-- > 0) (void)step(L);
  close_state(L, &log, missed);
}

/* Like end_after, but with complete collections before the state is closed. */
static void live_on_after(int n, void (*meanwhile)(lua_State *)) {
  host_log log = {0};
  lua_State *L = open_state(&log);
  call_number(L, "make");
  while (n-- > 0) (void)step(L);
  meanwhile(L);
  for (int i = 0; i < 3; i++) lua_gc(L, LUA_GCCOLLECT, 0);
  check_reports(&log, call_number(L, "gone"), 0);
  close_state(L, &log, 0);
}

/* --- what happens meanwhile ----------------------------------------------- */

static void nothing(lua_State *L) { (void)L; }

static void make_more(lua_State *L) { call_number(L, "make"); }

/* Fails an allocation; the emergency collection runs no finalizers. */
static void lack_memory(lua_State *L) {
  call_number(L, "make");
  host_fail_at(1, 0);
  lua_newuserdatauv(L, 1 << 20, 0);
  host_fail_at(0, 0);
  lua_pop(L, 1);
  call_number(L, "make");
}

static void lack_memory_twice(lua_State *L) {
  lack_memory(L);
  lack_memory(L);
}

static void change_mode(lua_State *L) {
  lua_gc(L, LUA_GCGEN, 0, 0);
  call_number(L, "make");
}

static void change_mode_and_back(lua_State *L) {
  change_mode(L);
  lua_gc(L, LUA_GCSTEP, 0);
  call_number(L, "make");
  lua_gc(L, LUA_GCINC, 0, 0, 0);
}

/* --- tests ---------------------------------------------------------------- */

static void in_every_step_of_a_collection(lua_State *L) {
  int steps = count_steps();
  (void)L;
  for (int n = 0; n <= steps; n += host_scale()) end_after(n, nothing, 0, 0);
}

static void with_coroutines_that_are_new(lua_State *L) {
  int steps = count_steps();
  (void)L;
  for (int n = 0; n <= steps; n += 2 * host_scale())
    end_after(n, make_more, 0, 0);
  for (int n = 0; n <= steps; n += 70 * host_scale())
    for (int m = 1; m <= 2 * steps; m += 70) end_after(n, make_more, m, 0);
}

/* Objects that a second collection finds before the finalizers of the first
 * have run may wait for a third collection. */
static void where_memory_was_short(lua_State *L) {
  int steps = count_steps();
  (void)L;
  for (int n = 0; n <= steps; n += 20 * host_scale()) {
    end_after(n, lack_memory, 0, 6);
    end_after(n, lack_memory_twice, 0, 10);
    end_after(n, lack_memory, steps / 2, 6);
    end_after(n, lack_memory_twice, steps / 2, 10);
    live_on_after(n, lack_memory);
    live_on_after(n, lack_memory_twice);
  }
}

static void in_both_modes(lua_State *L) {
  int steps = count_steps();
  (void)L;
  for (int n = 0; n <= steps; n += 20 * host_scale()) {
    end_after(n, change_mode, 0, 6);
    end_after(n, change_mode, 1, 6);
    end_after(n, change_mode_and_back, 0, 6);
    end_after(n, change_mode_and_back, steps / 2, 6);
    live_on_after(n, change_mode);
    live_on_after(n, change_mode_and_back);
  }
}

/* Finalizers get no memory, neither for a report nor for the object that
 * notices the end of the state. */
static void where_finalizers_get_none(lua_State *L) {
  host_log log = {0};
  int gone, count;
  (void)L;
  for (int allocations = 0; allocations < 12; allocations++) {
    log = (host_log){0};
    L = open_state(&log);
    call_number(L, "make");
    host_fail_at(1 + allocations, 1000000);
    lua_gc(L, LUA_GCCOLLECT, 0);
    host_fail_at(0, 0);
    if (allocations % 2 == 0) {
      call_number(L, "make");
      lua_gc(L, LUA_GCCOLLECT, 0);
      lua_gc(L, LUA_GCCOLLECT, 0);
      count = log.count;
      gone = call_number(L, "gone");
      call_number(L, "make");
      lua_gc(L, LUA_GCCOLLECT, 0);
      lua_gc(L, LUA_GCCOLLECT, 0);
      check_int(log.count - count, call_number(L, "gone") - gone);
    }
    close_state(L, &log, 4);
  }
}

static const host_test tests[] = {
    test_alone(in_every_step_of_a_collection),
    test_alone(with_coroutines_that_are_new),
    test_alone(where_memory_was_short),
    test_alone(in_both_modes),
    test_alone(where_finalizers_get_none),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
