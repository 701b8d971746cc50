/* SPDX-License-Identifier: MIT */
/* starving.c - runs end if memory is short, and leave nothing in the state. */
#include "host.h"

enum { ONE = 1, ALL = 1000000000 };

/* Calls the function at 1 with the n-th allocation and the `more` next ones
 * failing.  Returns true if it raised a memory error. */
static bool call_starving(lua_State *L, long long n, long long more) {
  int status;
  for (int i = 0; i < 3; i++) lua_gc(L, LUA_GCCOLLECT);
  lua_settop(L, 1);
  host_fail_at(n, more);
  status = lua_pcall(L, 0, 0, 0);
  atomic_store(&host_fail_from, 0);
  if (status == LUA_OK) return false;
  check_text(lua_tostring(L, -1), "not enough memory");
  lua_pop(L, 1);
  return true;
}

static void ignore(void *ud, const char *level, const char *message) {
  (void)ud, (void)level, (void)message;
}

/* Runs the loop until it is empty; checks that no long timer was left
 * behind. */
static void end_loop(lua_State *L) {
  uv_loop_t *uv = lunado_getloop(L);
  while (uv_loop_alive(uv)) {
    check(uv_backend_timeout(uv) < 10000);
    uv_run(uv, UV_RUN_ONCE);
  }
}

static const char good_run[] =
    "assert(lunado.IOLoop.current():run_sync(function()\n"
    "  coroutine.yield(lunado.sleep(0))\n"
    "  return 7\n"
    "end) == 7)";

/* Checks that the call has raised or has begun its function, that a function it
 * has not begun is not begun later, and that another run succeeds. */
static void check_end(lua_State *L, bool raised) {
  bool began, begins;
  lua_getglobal(L, "began");
  began = lua_toboolean(L, -1);
  check(began || raised);
  host_do(L, good_run);
  lua_getglobal(L, "began");
  begins = lua_toboolean(L, -1);
  check_int(begins, began);
  lua_settop(L, 0);
  end_loop(L);
}

/* Calls the function that the chunk returns, in a new state for each failing
 * allocation. */
static void starve_at_each_place(const char *chunk, long long more) {
  long long n = 1;
  for (bool any = true; any; n++) {
    lua_State *L = host_open();
    lunado_setlog(L, ignore, NULL);
    host_do(L, good_run);
    host_do(L, chunk);
    check_end(L, call_starving(L, n, more));
    any = atomic_load(&host_asked) >= n;
    host_close(L);
  }
  check(n > 5);
}

static void runs_end_and_leave_nothing_behind(lua_State *L) {
  static const char *const chunks[] = {
      "return function()\n"
      "  lunado.run(function()\n"
      "    began = true\n"
      "    coroutine.yield(lunado.sleep(0))\n"
      "  end)\n"
      "end",
      "local loop = lunado.IOLoop.current()\n"
      "return function()\n"
      "  loop:run_sync(function()\n"
      "    began = true\n"
      "    coroutine.yield()\n"
      "    return lunado.sleep(0)\n"
      "  end, 1e6)\n"
      "end",
      "local loop = lunado.IOLoop.current()\n"
      "local timer = lunado.locks.Event():wait({ milliseconds = 0 })\n"
      "return function()\n"
      "  loop:run_sync(function()\n"
      "    began = true\n"
      "    coroutine.yield(lunado.sleep(0))\n"
      "  end, 1e6)\n"
      "end"};
  (void)L;
  for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
    starve_at_each_place(chunks[i], ONE);
    starve_at_each_place(chunks[i], ALL);
  }
}

static void on_limit(uv_timer_t *timer) { uv_stop(timer->loop); }

/* Starts the loop with allocations failing.  If the callback that stops the
 * loop is lost, a timer stops it.  Callbacks that were not begun run in the
 * next run.  Returns false if there were fewer than n allocations. */
static bool start_starving(long long n) {
  host_log log = {0};
  uv_timer_t limit;
  bool any;
  lua_State *L = host_open();
  lunado_setlog(L, host_on_log, &log);
  uv_timer_init(lunado_getloop(L), &limit);
  uv_timer_start(&limit, on_limit, 100, 0);
  host_do(L, "count, loop = 0, lunado.IOLoop.current()\n"
             "for i = 1, 3 do\n"
             "  loop:add_callback(function() count = count + 1 end)\n"
             "end\n"
             "loop:add_callback(loop.stop, loop)\n"
             "return function() loop:start() end");
  if (call_starving(L, n, ALL)) host_do(L, "loop:start()");
  any = atomic_load(&host_asked) >= n;
  host_do(L, "return count");
  check(log.count > 0 || lua_tointeger(L, -1) == 3);
  uv_close((uv_handle_t *)&limit, NULL);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  host_close(L);
  return any;
}

static void starts_end_and_lose_nothing(lua_State *L) {
  long long n = 1;
  (void)L;
  while (start_starving(n)) n++;
  check(n > 1);
}

static const host_test tests[] = {
    test_alone(runs_end_and_leave_nothing_behind),
    test_alone(starts_end_and_lose_nothing),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
