/* SPDX-License-Identifier: MIT */
/* promise.c - promises on one thread. */
#include "host.h"

/* --- deliveries ----------------------------------------------------------- */

static int delivered;

static int deliver_nothing(lua_State *L) {
  (void)L;
  delivered++;
  return 0;
}

/* ud is a string */
static int deliver_text(lua_State *L) {
  check_int(lua_gettop(L), 1);
  check_int(lua_type(L, 1), LUA_TLIGHTUSERDATA);
  delivered++;
  lua_pushstring(L, lua_touserdata(L, 1));
  return 1;
}

static int deliver_three(lua_State *L) {
  delivered++;
  lua_pushnil(L);
  lua_pushboolean(L, 0);
  lua_pushinteger(L, 3);
  return 3;
}

static int deliver_error(lua_State *L) {
  delivered++;
  return luaL_error(L, "%s", (const char *)lua_touserdata(L, 1));
}

static char text[] = "text";

/* Pushes a Future and returns a promise of it. */
static lunado_promise *new_promise(lua_State *L) {
  lunado_newfuture(L);
  return lunado_newpromise(L, -1);
}

/* Runs one turn of the loop, with a slice that does not expire. */
static void turn(lua_State *L) {
  lunado_setslice(L, 60);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
}

/* --- settling ------------------------------------------------------------- */

static void what_deliver_returns_is_the_result(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  delivered = 0;
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  check_int(delivered, 0);
  check_int(lunado_result(L, 1), -2);
  turn(L);
  check_int(delivered, 1);
  check_int(lunado_result(L, 1), 1);
  check_text(lua_tostring(L, 2), "text");
}

static void any_number_of_results(lua_State *L) {
  lunado_promise *three = new_promise(L), *none = new_promise(L),
                 *null = new_promise(L);
  check_int(lunado_promise_settle(three, deliver_three, NULL), 0);
  check_int(lunado_promise_settle(none, deliver_nothing, NULL), 0);
  check_int(lunado_promise_settle(null, NULL, NULL), 0);
  turn(L);
  check_int(lunado_result(L, 2), 0);
  check_int(lunado_result(L, 3), 0);
  check_int(lunado_result(L, 1), 3);
  check_int(lua_type(L, 4), LUA_TNIL);
  check_int(lua_type(L, 5), LUA_TBOOLEAN);
  check_int(lua_tointeger(L, 6), 3);
}

static void what_deliver_raises_is_the_error(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  check_int(lunado_promise_settle(promise, deliver_error, text), 0);
  turn(L);
  check_int(lunado_result(L, 1), -1);
  check_text(lua_tostring(L, 2), "text");
}

static void an_error_that_nobody_sees_is_logged(lua_State *L) {
  host_log log = {0};
  lunado_promise *promise = new_promise(L);
  lunado_setlog(L, host_on_log, &log);
  lua_settop(L, 0);
  check_int(lunado_promise_settle(promise, deliver_error, text), 0);
  turn(L);
  lua_gc(L, LUA_GCCOLLECT);
  check_text(log.last, "never retrieved: text");
}

/* An error that is delivered while the state is closed is logged, although the
 * Failure has no finalizer then. */
static void one_at_the_end_of_the_state_is_logged(lua_State *other) {
  host_log log = {0};
  lunado_promise *promise;
  other = host_new();
  luaL_openlibs(other);
  lunado_setlog(other, host_on_log, &log);
  promise = new_promise(other);
  check_int(lunado_promise_settle(promise, deliver_error, text), 0);
  host_close(other);
  check_int(log.count, 1);
  check_text(log.last, "never retrieved: text");
}

static void a_promise_is_settled_once(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  delivered = 0;
  check_int(lunado_promise_settle(promise, deliver_nothing, NULL), 0);
  check_int(lunado_promise_settle(promise, deliver_error, text), UV_EALREADY);
  turn(L);
  for (int i = 0; i < 100; i++) {
    check_int(lunado_promise_settle(promise, deliver_error, text), UV_EALREADY);
    check_int(lunado_promise_settle(new_promise(L), deliver_nothing, NULL), 0);
    turn(L);
    lua_settop(L, 1);
  }
  check_int(delivered, 101);
  check_int(lunado_result(L, 1), 0);
}

static int awaited(lua_State *L, int status, lua_KContext ctx) {
  (void)L, (void)status, (void)ctx;
  host_fail(__FILE__, __LINE__, "a continuation", " was called");
}

static int deliver_late(lua_State *L) {
  lunado_newfuture(L);
  return lunado_awaitk(L, -1, 0, awaited);
}

static int deliver_yield(lua_State *L) { return lua_yield(L, 0); }

static int deliver_run(lua_State *L) {
  lua_pushcfunction(L, deliver_nothing);
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  return lua_error(L);
}

static void a_delivery_neither_waits_nor_runs(lua_State *L) {
  static const struct {
    lua_CFunction deliver;
    const char *text;
  } cases[] = {{deliver_late, "cannot await outside of a coroutine"},
               {deliver_yield, "attempt to yield"},
               {deliver_run, "already running"}};
  for (int i = 0; i < 3; i++) {
    lunado_promise *promise = new_promise(L);
    check_int(lunado_promise_settle(promise, cases[i].deliver, NULL), 0);
    turn(L);
    check_int(lunado_result(L, 1), -1);
    check_text(lua_tostring(L, -1), cases[i].text);
    lua_settop(L, 0);
  }
}

/* A promise of a settled Future calls deliver, too. */
static void a_settled_future_may_be_promised(lua_State *L) {
  lunado_promise *promise;
  lunado_newfuture(L);
  lua_pushliteral(L, "mine");
  check_int(lunado_setresult(L, 1, 1), 0);
  promise = lunado_newpromise(L, 1);
  delivered = 0;
  check_int(uv_loop_alive(lunado_getloop(L)), 1);
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(delivered, 1);
  check_int(lunado_result(L, 1), 1);
  check_text(lua_tostring(L, 2), "mine");
}

static void nobody_is_no_promise(lua_State *L) {
  (void)L;
  check_int(lunado_promise_settle(NULL, deliver_error, text), UV_ECANCELED);
}

/* --- what a promise keeps ------------------------------------------------- */

static void it_keeps_the_future_and_the_loop(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  lua_setglobal(L, "f");
  host_do(L, "f:add_done_callback(function(f) got = f:result() end)\n"
             "local weak = setmetatable({ f }, { __mode = 'v' })\n"
             "f = nil\n"
             "collectgarbage()\n"
             "assert(weak[1])");
  check_int(uv_loop_alive(lunado_getloop(L)), 1);
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(uv_loop_alive(lunado_getloop(L)), 0);
  host_do(L, "assert(got == 'text')");
}

static void coroutines_wait_for_it(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  lua_setglobal(L, "f");
  host_do(L, "g = lunado.coroutine(function()\n"
             "  return 'got', coroutine.yield(f)\n"
             "end)()");
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  host_do(L, "local a, b = lunado.run(function() return g end)\n"
             "assert(a == 'got' and b == 'text')");
}

static void a_settled_future_stays_as_it_is(lua_State *L) {
  host_log log = {0};
  lunado_promise *promise = new_promise(L), *other = lunado_newpromise(L, -1);
  lunado_setlog(L, host_on_log, &log);
  lua_pushliteral(L, "mine");
  check_int(lunado_setresult(L, 1, 1), 0);
  delivered = 0;
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  check_int(lunado_promise_settle(other, deliver_error, text), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(delivered, 2);
  check_int(lunado_result(L, 1), 1);
  check_text(lua_tostring(L, 2), "mine");
  lua_gc(L, LUA_GCCOLLECT);
  check_text(log.last, "never retrieved: text");
}

/* Memory grows with the number of pending promises, not of all promises. */
static void memory_is_used_again(lua_State *L) {
  long long before = 0;
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 1000; i++) {
      lunado_promise *promise = new_promise(L);
      lua_settop(L, 0);
      check_int(lunado_promise_settle(promise, NULL, NULL), 0);
    }
    uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
    lua_gc(L, LUA_GCCOLLECT);
    if (round == 1) before = atomic_load(&host_bytes);
  }
  check(atomic_load(&host_bytes) <= before);
}

static int deliver_in_order(lua_State *L) {
  const int *number = lua_touserdata(L, 1);
  check_int(*number, delivered++);
  return 0;
}

static void in_the_order_of_settling(lua_State *L) {
  static int numbers[1000];
  delivered = 0;
  for (int i = 0; i < 1000; i++) {
    lunado_promise *promise = new_promise(L);
    lua_settop(L, 0);
    numbers[i] = i;
    check_int(lunado_promise_settle(promise, deliver_in_order, &numbers[i]), 0);
    if (i % 7 == 0) turn(L);
  }
  turn(L);
  check_int(delivered, 1000);
}

static void many_at_once(lua_State *L) {
  enum { MANY = 50000 };
  lunado_promise **all = malloc(MANY * sizeof *all);
  delivered = 0;
  for (int i = 0; i < MANY; i++) {
    all[i] = new_promise(L);
    lua_settop(L, 0);
  }
  for (int i = MANY - 1; i >= 0; i--)
    check_int(lunado_promise_settle(all[i], deliver_nothing, NULL), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(delivered, MANY);
  for (int i = 0; i < MANY; i++)
    check_int(lunado_promise_settle(all[i], NULL, NULL), UV_EALREADY);
  free(all);
}

static int take_turn(lua_State *L) {
  turn(L);
  return 0;
}

enum { DEEP = 20, DEEPEST = 120 };

/* Once lunado_promise_settle has returned 0, the library owns `ud`, so deliver
 * is called even if memory is short. */
static void want_of_memory_loses_nothing(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  delivered = 0;
  for (int depth = DEEP; depth < DEEPEST; depth++) {
    lunado_promise *promise = new_promise(L);
    check_int(lunado_promise_settle(promise, deliver_text, text), 0);
    lua_pushcfunction(L, take_turn);
    host_starve(L, 0, depth, depth % 2);
    turn(L);
    check(lunado_result(L, 1) != -2);
    lua_settop(L, 0);
  }
  check_int(delivered, DEEPEST - DEEP);
}

/* If memory is short for the deliveries, closing the loop fails. */
static void nor_while_the_loop_closes(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  delivered = 0;
  for (int depth = DEEP; depth < DEEPEST; depth++) {
    for (int i = 0; i < 2; i++)
      check_int(lunado_promise_settle(new_promise(L), deliver_text, text), 0);
    host_do(L, "loop = lunado.IOLoop.instance() return loop.close, loop");
    host_starve(L, 1, depth, depth % 4);
    host_do(L, "loop:close()");
    check_int(delivered, 2 * (depth + 1 - DEEP));
    lua_settop(L, 0);
  }
}

static int promise_first(lua_State *L) {
  (void)lunado_newpromise(L, 1);
  return 0;
}

/* A Future can have a million pending promises; the next one fails until a
 * promise is settled. */
static void promises_are_limited(lua_State *L) {
  enum { MOST = sizeof(void *) > 4 ? 1048576 : 4096 };
  lunado_promise *last = NULL;
  lunado_newfuture(L);
  for (int i = 0; i < MOST; i++) last = lunado_newpromise(L, 1);
  lua_pushcfunction(L, promise_first);
  lua_pushvalue(L, 1);
  check_int(lua_pcall(L, 1, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), "too many promises");
  lua_pop(L, 1);
  check_int(lunado_promise_settle(last, NULL, NULL), 0);
  turn(L);
  check_int(lunado_promise_settle(lunado_newpromise(L, 1), NULL, NULL), 0);
}

/* --- closing -------------------------------------------------------------- */

static void after_the_state_closed_nothing_is_called(lua_State *L) {
  lunado_promise *promise, *settled, *dropped;
  L = host_open();
  promise = new_promise(L);
  settled = new_promise(L);
  dropped = new_promise(L);
  check_int(lunado_promise_settle(settled, NULL, NULL), 0);
  turn(L);
  (void)dropped;
  host_close(L);
  for (int i = 0; i < 3; i++) {
    check_int(lunado_promise_settle(promise, deliver_error, text),
              UV_ECANCELED);
    check_int(lunado_promise_settle(settled, deliver_error, text),
              UV_ECANCELED);
  }
  L = host_open(); /* another state, another promise */
  check(new_promise(L) != promise);
  check_int(lunado_promise_settle(promise, deliver_error, text), UV_ECANCELED);
  host_close(L);
}

static void what_was_accepted_is_delivered_while_closing(lua_State *L) {
  L = host_open();
  delivered = 0;
  for (int i = 0; i < 3; i++)
    check_int(lunado_promise_settle(new_promise(L), deliver_text, text), 0);
  host_close(L);
  check_int(delivered, 3);
}

static void a_script_may_close_the_loop(lua_State *L) {
  lunado_promise *promise = new_promise(L), *settled = new_promise(L);
  delivered = 0;
  check_int(lunado_promise_settle(settled, deliver_text, text), 0);
  host_do(L, "lunado.IOLoop.instance():close()");
  check_int(delivered, 1);
  check_int(lunado_result(L, 2), 1);
  check_int(lunado_result(L, 1), -2);
  check_int(lunado_promise_settle(promise, deliver_text, text), UV_ECANCELED);
  promise = new_promise(L); /* on a new loop */
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(delivered, 2);
}

static int deliver_and_close(lua_State *L) {
  delivered++;
  host_do(L, "lunado.IOLoop.instance():close()");
  lua_pushliteral(L, "closed");
  return 1;
}

static void a_delivery_may_close_the_loop(lua_State *L) {
  lunado_promise *first = new_promise(L), *second = new_promise(L),
                 *third = new_promise(L);
  delivered = 0;
  check_int(lunado_promise_settle(first, deliver_and_close, NULL), 0);
  check_int(lunado_promise_settle(second, deliver_text, text), 0);
  host_do(L, "pcall(lunado.run, coroutine.yield)");
  check_int(delivered, 2);
  check_int(lunado_result(L, 1), 1);
  check_int(lunado_result(L, 2), 1);
  check_int(lunado_result(L, 3), -2);
  check_int(lunado_promise_settle(third, deliver_text, text), UV_ECANCELED);
}

static int promise_anew(lua_State *L) {
  lunado_newfuture(L);
  (void)lunado_newpromise(L, -1);
  return 1;
}

static int find_loop(lua_State *L) {
  (void)lunado_looponly(L);
  return 0;
}

static int run_nothing(lua_State *L) {
  lua_pushcfunction(L, find_loop);
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  return lua_error(L);
}

static int deliver_while_closing(lua_State *L) {
  delivered++;
  host_check_raises(L, promise_anew, "closed");
  host_check_raises(L, find_loop, "closed");
  host_check_raises(L, run_nothing, "closed");
  check_int(luaL_loadstring(L, "return coroutine.yield()"), LUA_OK);
  check_int(lunado_spawn(L, 0), 0); /* the coroutine is never resumed */
  check_int(lunado_result(L, -1), -2);
  check(lunado_getloop(L) != NULL);
  return 0;
}

/* A delivery while the loop closes cannot make the loop wait for anything
 * new. */
static void a_closing_loop_takes_nothing_new(lua_State *L) {
  lunado_promise *promise = new_promise(L);
  delivered = 0;
  check_int(lunado_promise_settle(promise, deliver_while_closing, NULL), 0);
  host_do(L, "lunado.IOLoop.instance():close()");
  check_int(delivered, 1);
}

static void a_promise_belongs_to_the_current_loop(lua_State *L) {
  lunado_promise *promise;
  host_do(L, "other = lunado.IOLoop(true)");
  promise = new_promise(L);
  check_int(lunado_promise_settle(promise, deliver_text, text), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(lunado_result(L, 1), -2);
  host_do(L, "other:run_sync(function() coroutine.yield() end)");
  check_int(lunado_result(L, 1), 1);
}

static const host_test tests[] = {
    test(what_deliver_returns_is_the_result),
    test(any_number_of_results),
    test(what_deliver_raises_is_the_error),
    test(an_error_that_nobody_sees_is_logged),
    test_alone(one_at_the_end_of_the_state_is_logged),
    test(a_promise_is_settled_once),
    test(a_delivery_neither_waits_nor_runs),
    test(a_settled_future_may_be_promised),
    test(nobody_is_no_promise),
    test(it_keeps_the_future_and_the_loop),
    test(coroutines_wait_for_it),
    test(a_settled_future_stays_as_it_is),
    test(memory_is_used_again),
    test(in_the_order_of_settling),
    test(many_at_once),
    test(promises_are_limited),
    test(want_of_memory_loses_nothing),
    test(nor_while_the_loop_closes),
    test_alone(after_the_state_closed_nothing_is_called),
    test_alone(what_was_accepted_is_delivered_while_closing),
    test(a_script_may_close_the_loop),
    test(a_delivery_may_close_the_loop),
    test(a_closing_loop_takes_nothing_new),
    test(a_promise_belongs_to_the_current_loop),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
