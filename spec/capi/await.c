/* SPDX-License-Identifier: MIT */
/* await.c - C functions that wait: lunado_awaitk. */
#include "host.h"

/* --- functions of the host ------------------------------------------------ */

static int last_status;

/* The continuation: checks that the values below the results are unchanged, and
 * that it gets the context. */
static int awaited(lua_State *L, int status, lua_KContext ctx) {
  last_status = status;
  check_text(lua_tostring(L, 1), "below");
  check(ctx == (lua_KContext)-77);
  return lua_gettop(L) - 2;
}

/* wait(future): waits, and returns the results */
static int wait(lua_State *L) {
  lua_settop(L, 1);
  lua_pushliteral(L, "below");
  lua_insert(L, 1);
  return lunado_awaitk(L, -1, (lua_KContext)-77, awaited);
}

static int sum_step(lua_State *L, int status, lua_KContext i);

static int sum_next(lua_State *L, lua_KContext i) {
  lua_geti(L, 1, (lua_Integer)i);
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, 2);
    return 1;
  }
  return lunado_awaitk(L, -1, i, sum_step);
}

static int sum_step(lua_State *L, int status, lua_KContext i) {
  check(status == LUA_OK || status == LUA_YIELD);
  check_int(lua_gettop(L), 4);
  lua_pushinteger(L, lua_tointeger(L, 2) + lua_tointeger(L, 4));
  lua_replace(L, 2);
  lua_settop(L, 2);
  return sum_next(L, i + 1);
}

/* sum(futures): waits for each Future of the list in turn */
static int sum(lua_State *L) {
  lua_settop(L, 1);
  lua_pushinteger(L, 0);
  return sum_next(L, 1);
}

/* Waits for the Future in upvalue 1. */
static int wait_upvalue(lua_State *L) {
  lua_pushliteral(L, "below");
  lua_pushnil(L);
  return lunado_awaitk(L, lua_upvalueindex(1), (lua_KContext)-77, awaited);
}

/* wait_only(future): like wait, without a continuation */
static int wait_only(lua_State *L) {
  lua_settop(L, 1);
  lua_pushliteral(L, "below");
  return lunado_awaitk(L, 1, 0, NULL);
}

static void set_functions(lua_State *L) {
  lua_register(L, "wait", wait);
  lua_register(L, "sum", sum);
  host_do(L, "run, gen, Future = lunado.run, lunado.gen, lunado.Future");
}

/* --- tests ---------------------------------------------------------------- */

static void a_done_future_does_not_suspend(lua_State *L) {
  set_functions(L);
  host_do(L, "local f = Future() f:set_result('a', nil, 'c')\n"
             "local n, a, b, c = select('#', wait(f)), wait(f)\n"
             "assert(n == 3 and a == 'a' and b == nil and c == 'c')");
  check_int(last_status, LUA_OK);
}

static void a_pending_future_suspends(lua_State *L) {
  set_functions(L);
  host_do(L, "local f = Future()\n"
             "local g = gen.coroutine(function()\n"
             "  return select('#', wait(f)), wait(f)\n"
             "end)()\n"
             "assert(not g:done())\n"
             "f:set_result(1, nil, nil)\n"
             "assert(not g:done())\n"
             "local n, a = run(function() return g end)\n"
             "assert(n == 3 and a == 1)");
  check_int(last_status, LUA_OK);
  host_do(L, "run(function() wait(gen.sleep(0.001)) end)");
  check_int(last_status, LUA_YIELD);
}

static void no_results_and_many(lua_State *L) {
  set_functions(L);
  host_do(L, "for _, n in ipairs { 0, 1, 2, 100 } do\n"
             "  local f = Future()\n"
             "  lunado.IOLoop.current():add_callback(function()\n"
             "    f:set_result(table.unpack({}, 1, n))\n"
             "  end)\n"
             "  assert(run(function() return select('#', wait(f)) end) == n)\n"
             "end");
}

static void the_moment_is_a_turn(lua_State *L) {
  set_functions(L);
  host_do(L, "local turned\n"
             "run(function()\n"
             "  lunado.IOLoop.current():add_callback(function()\n"
             "    turned = true end)\n"
             "  wait(gen.moment)\n"
             "end)\n"
             "assert(turned)");
  check_int(last_status, LUA_YIELD);
}

static void a_continuation_may_wait_again(lua_State *L) {
  set_functions(L);
  host_do(L, "assert(run(function()\n"
             "  local list = {}\n"
             "  for i = 1, 100 do\n"
             "    list[i] = Future()\n"
             "    if i % 3 == 0 then list[i]:set_result(i) else\n"
             "      lunado.IOLoop.current():add_callback(\n"
             "        list[i].set_result, list[i], i)\n"
             "    end\n"
             "  end\n"
             "  return sum(list)\n"
             "end) == 5050)");
}

static void errors_are_raised_in_the_caller(lua_State *L) {
  set_functions(L);
  host_do(L, "local err, now, later = {}, Future(), Future()\n"
             "now:set_exception(err)\n"
             "local ok, e = pcall(wait, now)\n"
             "assert(not ok and e == err)\n"
             "run(function()\n"
             "  lunado.IOLoop.current():add_callback(later.set_exception,\n"
             "    later, err)\n"
             "  ok, e = pcall(wait, later)\n"
             "  assert(not ok and e == err)\n"
             "  ok, e = pcall(wait, now)\n"
             "  assert(not ok and e == err)\n"
             "  assert(select('#', wait(gen.sleep(0))) == 0)\n"
             "end)");
}

static void the_traceback_goes_on(lua_State *L) {
  set_functions(L);
  host_do(L, "local function inner() coroutine.yield() error('deep') end\n"
             "local g = gen.coroutine(function()\n"
             "  wait(gen.coroutine(inner)())\n"
             "end)()\n"
             "run(function() pcall(wait, g) end)\n"
             "text = select(2, g:exc_info())");
  lua_getglobal(L, "text");
  check_text(lua_tostring(L, -1), "in function <[string");
  check_text(lua_tostring(L, -1), "awaited by:");
  check_text(lua_tostring(L, -1), "in function 'wait'");
}

static void outside_of_a_coroutine_it_explains_itself(lua_State *L) {
  set_functions(L);
  host_do(L, "return select(2, pcall(wait, Future()))");
  check_text(lua_tostring(L, -1), "cannot await outside of a coroutine");
  host_do(L, "return run(function()\n"
             "  return select(2, coroutine.resume(\n"
             "    coroutine.create(wait), Future()))\n"
             "end)");
  check_text(lua_tostring(L, -1), "a coroutine that lunado does not run");
  host_do(L, "return run(function()\n"
             "  return select(2, pcall(function()\n"
             "    table.sort({ 1, 2 }, function() wait(Future()) end)\n"
             "  end))\n"
             "end)");
  check_text(lua_tostring(L, -1), "cannot await inside table.sort");
}

static void pseudo_indices_are_indices(lua_State *L) {
  set_functions(L);
  lunado_newfuture(L);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "f");
  lua_pushcclosure(L, wait_upvalue, 1);
  lua_setglobal(L, "wait_upvalue");
  host_do(L, "lunado.IOLoop.current():add_callback(f.set_result, f, 5)\n"
             "assert(run(wait_upvalue) == 5)\n"
             "assert(run(wait_upvalue) == 5)");
}

/* The stack moves and the collector runs during the wait. */
static void it_survives_what_goes_on_meanwhile(lua_State *L) {
  set_functions(L);
  host_do(L, "local function deep(n)\n"
             "  if n == 0 then return wait(gen.sleep(0.001)) end\n"
             "  local a, b = n, tostring(n)\n"
             "  deep(n - 1)\n"
             "  assert(tostring(a) == b)\n"
             "end\n"
             "local all = {}\n"
             "for i = 1, 50 do all[i] = gen.coroutine(deep)(i * 3) end\n"
             "collectgarbage()\n"
             "collectgarbage('generational')\n"
             "run(function() wait(gen.multi(all)) end)");
}

static void without_a_continuation_it_returns_the_results(lua_State *L) {
  set_functions(L);
  lua_register(L, "wait_only", wait_only);
  host_do(L, "local function check(...)\n"
             "  assert(select('#', ...) == 3)\n"
             "  local a, b, c = ...\n"
             "  assert(a == 1 and b == nil and c == 3)\n"
             "end\n"
             "run(function()\n"
             "  local done, late, none = Future(), Future(), Future()\n"
             "  done:set_result(1, nil, 3)\n"
             "  none:set_result()\n"
             "  check(wait_only(done))\n"
             "  assert(select('#', wait_only(none)) == 0)\n"
             "  gen.coroutine(function()\n"
             "    coroutine.yield()\n"
             "    late:set_result(1, nil, 3)\n"
             "  end)()\n"
             "  check(wait_only(late))\n"
             "  assert(select('#', wait_only(gen.moment)) == 0)\n"
             "  local failed = Future()\n"
             "  failed:set_exception('broken')\n"
             "  local ok, err = pcall(wait_only, failed)\n"
             "  assert(not ok and err == 'broken')\n"
             "end)");
}

static void an_abandoned_wait_is_collected(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  set_functions(L);
  host_do(L, "gen.coroutine(function() wait(Future()) end)()\n"
             "collectgarbage() collectgarbage()");
  check_text(log.last, "Coroutine was collected while waiting at");
}

static const host_test tests[] = {
    test(a_done_future_does_not_suspend),
    test(a_pending_future_suspends),
    test(no_results_and_many),
    test(the_moment_is_a_turn),
    test(a_continuation_may_wait_again),
    test(errors_are_raised_in_the_caller),
    test(the_traceback_goes_on),
    test(outside_of_a_coroutine_it_explains_itself),
    test(pseudo_indices_are_indices),
    test(it_survives_what_goes_on_meanwhile),
    test(without_a_continuation_it_returns_the_results),
    test(an_abandoned_wait_is_collected),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
