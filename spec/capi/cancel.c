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
  host_do(L, "run, gen, Future = lunado.run, lunado.gen, lunado.Future\n"
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

static const host_test tests[] = {
    test(a_coroutine_is_cancelled_where_it_waits),
    test(the_error_has_its_class),
    test(a_canceller_gives_up_the_work),
    test(work_for_others_goes_on),
    test(a_wrong_index_is_an_error),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
