/* SPDX-License-Identifier: MIT */
/* executor.c - the executor's threads: lack of memory, the end of the state. */
#include "host.h"

/* --- memory --------------------------------------------------------------- */

/* Runs two jobs, one of which fails, and checks their outcomes. */
static const char use_executor[] =
    "local shared, Timeout = {1, {2}}, lunado.util.TimeoutError\n"
    "local ex = lunado.concurrent.ThreadPoolExecutor(2)\n"
    "return lunado.run(function()\n"
    "  local one = ex:submit(function(t) return t, shared end, shared)\n"
    "  local two = ex:submit(function() error(Timeout('x')) end)\n"
    "  local function size(s) return #s end\n"
    "  local function string_of(n) return ('x'):rep(n) end\n"
    "  for i = 1, 3 do\n"
    "    local text = ('x'):rep(65536 + i)\n"
    "    assert(coroutine.yield(ex:submit(size, text)) == #text)\n"
    "    local back = coroutine.yield(ex:submit(string_of, 65536 + i))\n"
    "    assert(#back == #text)\n"
    "  end\n"
    "  local a, b = coroutine.yield(one)\n"
    "  assert(a == b and a[2][1] == 2)\n"
    "  local ok, err = pcall(coroutine.yield, two)\n"
    "  if not ok and not lunado.util.isinstance(err, Timeout) then\n"
    "    error(err, 0)\n"
    "  end\n"
    "  ex:shutdown()\n"
    "  assert(not ok)\n"
    "end)\n";

/* Runs the chunk with the n-th allocation failing; true if it succeeded.
 * Otherwise it must raise an error: if the outcome of a job were lost, the run
 * would never end. */
static bool run_without_memory(long long n, host_log *log) {
  lua_State *L = host_open();
  int status;
  lunado_setlog(L, host_on_log, log);
  check_int(luaL_loadstring(L, use_executor), LUA_OK);
  host_fail_at(n, 1);
  status = lua_pcall(L, 0, 0, 0);
  atomic_store(&host_fail_from, 0);
  if (status != LUA_OK) check_text(luaL_tolstring(L, -1, NULL), "memory");
  host_close(L);
  return status == LUA_OK;
}

/* The threads allocate memory, too, so the n-th allocation varies between runs.
 * The test ends after ten successful runs in a row with fewer than n
 * allocations. */
static void memory_may_be_short(lua_State *L) {
  host_log log = {0};
  long long n = 1;
  (void)L;
  for (int untouched = 0; untouched < 10; n++) {
    bool done = run_without_memory(n, &log);
    untouched = done && atomic_load(&host_asked) < n ? untouched + 1 : 0;
  }
  check(n > 50);
}

/* --- the end of the state ------------------------------------------------- */

static void jobs_can_be_under_way(lua_State *L) {
  (void)L;
  for (int threads = 1; threads <= 3; threads++) {
    host_log log = {0};
    lua_State *own = host_open();
    lunado_setlog(own, host_on_log, &log);
    lua_pushinteger(own, threads);
    lua_setglobal(own, "threads");
    host_do(own, "ex = lunado.concurrent.ThreadPoolExecutor(threads)\n"
                 "for i = 1, 20 do\n"
                 "  ex:submit(function() for _ = 1, 1e5 do end end)\n"
                 "end\n");
    host_close(own);
    check(log.count <= 1);
  }
}

static void a_host_may_drive_the_loop(lua_State *L) {
  uv_loop_t uv;
  check_int(uv_loop_init(&uv), 0);
  check_int(lunado_setloop(L, &uv), 0);
  host_do(L, "local ex = lunado.concurrent.ThreadPoolExecutor(1)\n"
             "ex:submit(function(x) return x + 1 end, 1)\n"
             "  :add_done_callback(function(f) result = f:result() end)\n");
  check_int(uv_run(&uv, UV_RUN_DEFAULT), 0);
  lua_getglobal(L, "result");
  check_int(lua_tointeger(L, -1), 2);
  lua_settop(L, 0);
  host_do(L, "lunado.IOLoop.current():close()");
  (void)uv_run(&uv, UV_RUN_DEFAULT);
  check_int(uv_loop_close(&uv), 0);
}

static void workers_find_lunado_without_a_file(lua_State *L) {
  host_do(L, "local ex = lunado.concurrent.ThreadPoolExecutor(1)\n"
             "local f = ex:submit(function()\n"
             "  return require('lunado').util.TimeoutError('there')\n"
             "end)\n"
             "ex:shutdown()\n"
             "return tostring(f:result())\n");
  check_text(lua_tostring(L, -1), "TimeoutError: there");
}

int main(int argc, char **argv) {
  static const host_test tests[] = {
      test_alone(memory_may_be_short),
      test_alone(jobs_can_be_under_way),
      test(a_host_may_drive_the_loop),
      test(workers_find_lunado_without_a_file),
  };
  return run_tests(argc, argv, tests);
}
