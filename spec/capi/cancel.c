/* SPDX-License-Identifier: MIT */
/* cancel.c - lunado_cancel and lunado_setcanceller. */
#include "host.h"

static int cancelled;

/* cancel(future) → what lunado_cancel returns */
static int cancel(lua_State *L) {
  lua_pushboolean(L, lunado_cancel(L, 1));
  return 1;
}

static int on_cancel(lua_State *L) {
  check(lunado_isfuture(L, 1));
  cancelled++;
  return 0;
}

/* job() → a Future that on_cancel gives up */
static int job(lua_State *L) {
  lua_settop(L, 0);
  lunado_newfuture(L);
  lua_pushcfunction(L, on_cancel);
  lunado_setcanceller(L, 1);
  check_int(lua_gettop(L), 1);
  return 1;
}

static int wait(lua_State *L) { return lunado_awaitk(L, 1, 0, NULL); }

static void set_functions(lua_State *L) {
  cancelled = 0;
  lua_register(L, "cancel", cancel);
  lua_register(L, "job", job);
  lua_register(L, "wait", wait);
  host_do(L,
          "run, gen, Future = lunado.run, lunado.gen, lunado.Future\n"
          "CancelledError = require 'lunado.tasks'.CancelledError\n"
          "function fails(future)\n"
          "  local ok, err = pcall(coroutine.yield, future)\n"
          "  assert(not ok and lunado.util.isinstance(err, CancelledError))\n"
          "end");
}

static void a_coroutine_is_cancelled_where_it_waits(lua_State *L) {
  set_functions(L);
  host_do(L, "run(function()\n"
             "  local f = gen.coroutine(function() wait(Future()) end)()\n"
             "  assert(cancel(f) == true)\n"
             "  fails(f)\n"
             "  assert(cancel(f) == false)\n"
             "  assert(cancel(Future()) == false)\n"
             "end)");
}

static void the_error_has_its_class(lua_State *L) {
  set_functions(L);
  host_do(L, "return run(function()\n"
             "  local f = gen.coroutine(function() wait(Future()) end)()\n"
             "  cancel(f)\n"
             "  return select(2, pcall(coroutine.yield, f))\n"
             "end)");
  check_int(lunado_iserror(L, -1, "CancelledError"), 1);
  check_int(lunado_iserror(L, -1, "TimeoutError"), 0);
}

static void a_canceller_gives_up_the_work(lua_State *L) {
  set_functions(L);
  host_do(L, "run(function()\n"
             "  local work = job()\n"
             "  local f = gen.coroutine(function() wait(work) end)()\n"
             "  assert(cancel(f))\n"
             "  assert(work:done())\n"
             "  fails(f)\n"
             "end)");
  check_int(cancelled, 1);
}

static void work_for_others_goes_on(lua_State *L) {
  set_functions(L);
  host_do(L, "run(function()\n"
             "  local work = job()\n"
             "  local f = gen.coroutine(function() wait(work) end)()\n"
             "  work:add_done_callback(function() end)\n"
             "  assert(cancel(f))\n"
             "  fails(f)\n"
             "  assert(not work:done())\n"
             "end)");
  check_int(cancelled, 0);
}

static void a_wrong_index_is_an_error(lua_State *L) {
  set_functions(L);
  host_do(L, "return select(2, pcall(cancel, 1))");
  check_text(lua_tostring(L, -1), "future expected, got number");
}

/* The host takes turns away from coroutines that compute. */
static void preempt(lua_State *L, lua_Debug *ar) {
  (void)ar;
  if (lua_isyieldable(L)) lua_yield(L, 0);
}

/* preempted(): from now on, the calling coroutine is */
static int preempted(lua_State *L) {
  lua_sethook(L, preempt, LUA_MASKCOUNT, 1000);
  return 0;
}

static void a_preempted_coroutine_fails_at_its_next_wait(lua_State *L) {
  set_functions(L);
  lua_register(L, "preempted", preempted);
  host_do(L, "run(function()\n"
             "  local sum, waited = 0, false\n"
             "  local f = gen.coroutine(function()\n"
             "    preempted()\n"
             "    for i = 1, 200000 do sum = sum + i end\n"
             "    waited = true\n"
             "    coroutine.yield(gen.sleep(60))\n"
             "  end)()\n"
             "  assert(not waited)\n"
             "  assert(cancel(f))\n"
             "  fails(f)\n"
             "  assert(waited and sum == 20000100000)\n"
             "end)");
}

static void a_run_that_times_out_leaves_a_preempted_one(lua_State *L) {
  set_functions(L);
  lua_register(L, "preempted", preempted);
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "local stop\n"
             "local ok, err = pcall(loop.run_sync, loop, function()\n"
             "  preempted()\n"
             "  while not stop do end\n"
             "end, 0.001)\n"
             "stop = true\n"
             "assert(not ok and tostring(err):find 'timed out', err)");
}

/* late(future): sets its error, as a host does whose request was cancelled */
static int late(lua_State *L) {
  lua_pushliteral(L, "ECANCELED");
  check_int(lunado_seterror(L, 1), UV_EALREADY);
  return 0;
}

static void the_error_of_work_that_was_given_up_is_dropped(lua_State *L) {
  set_functions(L);
  lua_register(L, "late", late);
  host_do(
      L,
      "local told = {}\n"
      "lunado.log.set_handler(function(_, text) told[#told + 1] = text end)\n"
      "run(function()\n"
      "  local work = job()\n"
      "  local f = gen.coroutine(function() wait(work) end)()\n"
      "  cancel(f)\n"
      "  fails(f)\n"
      "  late(work)\n"
      "end)\n"
      "collectgarbage() collectgarbage()\n"
      "assert(#told == 0, told[1])");
}

static const host_test tests[] = {
    test(a_coroutine_is_cancelled_where_it_waits),
    test(the_error_has_its_class),
    test(a_canceller_gives_up_the_work),
    test(work_for_others_goes_on),
    test(a_wrong_index_is_an_error),
    test(a_preempted_coroutine_fails_at_its_next_wait),
    test(a_run_that_times_out_leaves_a_preempted_one),
    test(the_error_of_work_that_was_given_up_is_dropped),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
