/* SPDX-License-Identifier: MIT */
/* loop.c - lunado on the host's uv_loop_t, and lunado's uv_loop_t embedded in a
 * loop of another kind. */
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "host.h"

/* --- a host's loop -------------------------------------------------------- */

/* A loop with a handle of the host's on it. */
typedef struct {
  uv_loop_t loop;
  uv_timer_t timer;
  int ticks;
} host_loop;

static void on_tick(uv_timer_t *timer) {
  host_loop *self = timer->data;
  self->ticks++;
}

static void open_loop(host_loop *self) {
  check_int(uv_loop_init(&self->loop), 0);
  check_int(uv_timer_init(&self->loop, &self->timer), 0);
  self->timer.data = self;
  self->ticks = 0;
}

/* Checks that the host's handle is unchanged, and that the loop can be closed
 * after one more turn. */
static void close_loop(host_loop *self) {
  check(!uv_is_closing((uv_handle_t *)&self->timer));
  check(self->timer.data == self);
  uv_close((uv_handle_t *)&self->timer, NULL);
  uv_run(&self->loop, UV_RUN_NOWAIT);
  check_int(uv_loop_close(&self->loop), 0);
}

static lua_State *open_on(host_loop *self) {
  lua_State *L = host_new();
  open_loop(self);
  check_int(lunado_setloop(L, &self->loop), 0);
  lua_pushcfunction(L, host_open_libs);
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
  return L;
}

static const char sleeper[] = "done = 0\n"
                              "for i = 1, 3 do\n"
                              "  lunado.coroutine(function()\n"
                              "    coroutine.yield(lunado.sleep(i / 1000))\n"
                              "    done = done + 1\n"
                              "  end)()\n"
                              "end";

static void the_host_drives_the_loop(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  check(lunado_getloop(L) == &host.loop);
  uv_timer_start(&host.timer, on_tick, 1, 0);
  host_do(L, sleeper);
  check_int(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
  check_int(host.ticks, 1);
  host_do(L, "assert(done == 3)");
  lua_close(L);
  close_loop(&host);
  check_int(atomic_load(&host_blocks), 0);
}

static void scripts_drive_it_as_well(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  uv_timer_start(&host.timer, on_tick, 1, 0);
  host_do(L, "lunado.run(function()\n"
             "  coroutine.yield(lunado.sleep(0.005))\n"
             "end)");
  check_int(host.ticks, 1);
  lua_close(L);
  close_loop(&host);
}

static void the_host_stops_it(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  host_do(L, sleeper);
  host_do(L, "lunado.IOLoop.current():call_later(1000, print)");
  uv_stop(&host.loop);
  check(uv_run(&host.loop, UV_RUN_DEFAULT) != 0);
  for (int i = 0; i < 1000; i++) {
    lua_getglobal(L, "done");
    if (lua_tointeger(L, -1) == 3) break;
    lua_pop(L, 1);
    uv_run(&host.loop, UV_RUN_ONCE);
  }
  check_int(lua_tointeger(L, -1), 3);
  lua_close(L); /* the timeout is still there */
  close_loop(&host);
}

/* The script has one of each kind of object open. */
static void closing_leaves_the_hosts_handles_alone(lua_State *L) {
  host_loop host;
  lunado_promise *promise;
  int ends[2];
  check_int(pipe(ends), 0);
  L = open_on(&host);
  uv_timer_start(&host.timer, on_tick, 1, 1);
  lua_pushinteger(L, ends[0]);
  lua_setglobal(L, "fd");
  host_do(L, sleeper);
  host_do(L, "lunado.ioloop.PeriodicCallback(print, 1e6):start()\n"
             "local loop = lunado.IOLoop.current()\n"
             "loop:add_handler(fd, print, loop.READ)\n"
             "loop:add_callback(error)\n"
             "lunado.with_timeout({ hours = 1 }, lunado.Future())");
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1);
  (void)lunado_looponly(L);
  lua_close(L);
  check_int(lunado_promise_settle(promise, NULL, NULL), UV_ECANCELED);
  while (host.ticks < 3) uv_run(&host.loop, UV_RUN_ONCE);
  close_loop(&host);
  check_int(atomic_load(&host_blocks), 0);
  close(ends[0]);
  close(ends[1]);
}

static void a_script_that_closes_it_gets_another(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  host_do(L, "local IOLoop = lunado.IOLoop\n"
             "local first = IOLoop.instance()\n"
             "first:close()\n"
             "assert(IOLoop.instance() ~= first)\n"
             "lunado.run(lunado.sleep, 0.001)");
  check(lunado_getloop(L) == &host.loop);
  lua_close(L);
  close_loop(&host);
}

static void two_states_share_a_loop(lua_State *L) {
  host_loop host;
  lua_State *other = host_new();
  L = open_on(&host);
  check_int(lunado_setloop(other, &host.loop), 0);
  lua_pushcfunction(other, host_open_libs);
  check_int(lua_pcall(other, 0, 0, 0), LUA_OK);
  host_do(L, sleeper);
  host_do(other, sleeper);
  check_int(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
  host_do(L, "assert(done == 3)");
  lua_close(L);
  host_do(other, "assert(done == 3)");
  host_do(other, sleeper);
  check_int(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
  host_do(other, "assert(done == 3)");
  lua_close(other);
  close_loop(&host);
}

static void a_loop_in_use_is_not_replaced(lua_State *L) {
  host_loop host;
  open_loop(&host);
  check_int(lunado_setloop(L, &host.loop), 0);
  check_int(lunado_setloop(L, NULL), 0);
  check(lunado_getloop(L) != &host.loop);
  check_int(lunado_setloop(L, &host.loop), UV_EBUSY);
  check_int(lunado_setloop(L, NULL), UV_EBUSY);
  host_do(L, "lunado.IOLoop.instance():close()");
  check_int(lunado_setloop(L, &host.loop), 0);
  check(lunado_getloop(L) == &host.loop);
  host_do(L, "lunado.IOLoop.instance():close()");
  close_loop(&host);
}

/* --- handles that are lunado's ------------------------------------------- */

typedef struct {
  int ours, others;
} census;

static void count_handle(uv_handle_t *handle, void *arg) {
  census *self = arg;
  if (lunado_ishandle(handle))
    self->ours++;
  else
    self->others++;
}

static void lunados_handles_are_known(lua_State *L) {
  host_loop host;
  census before = {0}, during = {0}, after = {0};
  int ends[2];
  check_int(pipe(ends), 0);
  open_loop(&host);
  uv_walk(&host.loop, count_handle, &before);
  check_int(before.ours, 0);
  check_int(before.others, 1);
  L = host_new();
  check_int(lunado_setloop(L, &host.loop), 0);
  lua_pushcfunction(L, host_open_libs);
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
  lua_pushinteger(L, ends[0]);
  lua_setglobal(L, "fd");
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "loop:add_handler(fd, print, loop.READ)");
  uv_walk(&host.loop, count_handle, &during);
  check(during.ours >= 4);
  check_int(during.others, 1);
  lua_close(L);
  uv_run(&host.loop, UV_RUN_NOWAIT);
  uv_walk(&host.loop, count_handle, &after);
  check_int(after.ours, 0);
  check_int(after.others, 1);
  close_loop(&host);
  close(ends[0]);
  close(ends[1]);
}

/* A foreign handle at the address of an earlier handle of lunado's is not taken
 * for lunado's. */
static void closed_handles_are_not_known(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  host_do(L, "lunado.IOLoop.current()");
  lua_close(L);
  uv_run(&host.loop, UV_RUN_NOWAIT);
  for (int i = 0; i < 64; i++) {
    char *block = malloc(2000);
    for (size_t at = 0; at + sizeof(uv_timer_t) < 2000; at += 8)
      check(!lunado_ishandle((uv_handle_t *)(void *)(block + at)));
    free(block);
  }
  close_loop(&host);
}

/* --- slices --------------------------------------------------------------- */

/* Runs one pass over a callback that adds itself; returns how often it ran. */
static int turns_in_a_pass(lua_State *L) {
  int turns;
  host_do(L, "turns = 0");
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  host_do(L, "return turns");
  turns = (int)lua_tointeger(L, -1);
  lua_settop(L, 0);
  return turns;
}

static int set_no_slice(lua_State *L) {
  lunado_setslice(L, 0);
  return 0;
}

static int set_odd_slice(lua_State *L) {
  lunado_setslice(L, 0.0 / 0.0);
  return 0;
}

static void a_slice_has_its_length(lua_State *L) {
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "local function turn()\n"
             "  turns = turns + 1\n"
             "  if turns >= 100000 then return end\n"
             "  loop:add_callback(turn)\n"
             "end\n"
             "turns = 0\n"
             "loop:add_callback(turn)");
  lunado_setslice(L, 1e-9);
  check_int(turns_in_a_pass(L), 1);
  check_int(turns_in_a_pass(L), 1);
  host_do(L, "lunado.IOLoop.current():set_slice(3600)");
  check_int(turns_in_a_pass(L), 100000);
  host_check_raises(L, set_no_slice, "more than 0");
  host_check_raises(L, set_odd_slice, "more than 0");
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "assert(not pcall(loop.set_slice, loop, 0))\n"
             "assert(not pcall(loop.set_slice, loop, 'x'))\n"
             "assert(not pcall(loop.set_slice, loop, 0/0))\n"
             "loop:set_slice(math.huge)");
}

/* --- a loop of lunado's own ----------------------------------------------- */

static void the_host_can_drive_it(lua_State *L) {
  uv_loop_t *loop = lunado_getloop(L);
  uv_timer_t timer;
  host_loop host = {.ticks = 0};
  check(lunado_getloop(L) == loop);
  check_int(uv_timer_init(loop, &timer), 0);
  timer.data = &host;
  uv_timer_start(&timer, on_tick, 1, 0);
  host_do(L, sleeper);
  check_int(uv_run(loop, UV_RUN_DEFAULT), 0);
  check_int(host.ticks, 1);
  host_do(L, "assert(done == 3)");
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(loop, UV_RUN_NOWAIT);
}

/* A loop without references, closed while it runs, lasts exactly until all
 * calls that use it have returned. */
static void it_may_close_while_it_runs(lua_State *L) {
  host_do(L, "local function close()\n"
             "  lunado.IOLoop.current():close()\n"
             "  collectgarbage()\n"
             "  collectgarbage()\n"
             "end\n"
             "pcall(lunado.run, function()\n"
             "  close()\n"
             "  pcall(coroutine.yield)\n"
             "  lunado.sleep(0)\n"
             "end)\n"
             "pcall(lunado.run, function()\n"
             "  lunado.IOLoop.current():add_callback(close)\n"
             "  coroutine.yield(lunado.sleep(100))\n"
             "end)\n"
             "lunado.IOLoop.current():call_later(0, close)\n"
             "lunado.IOLoop.current():start()");
}

static void a_hosts_run_may_close_it(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  for (int i = 0; i < 3; i++) {
    host_do(L, "lunado.coroutine(function()\n"
               "  coroutine.yield()\n"
               "  lunado.IOLoop.current():close()\n"
               "  collectgarbage()\n"
               "  collectgarbage()\n"
               "  pcall(coroutine.yield)\n"
               "end)()");
    uv_run(&host.loop, UV_RUN_NOWAIT);
  }
  lua_close(L);
  close_loop(&host);
  check_int(atomic_load(&host_blocks), 0);
}

static int take_turn(lua_State *L) {
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  return 0;
}

static int deliver_one(lua_State *L) {
  lua_pushinteger(L, 1);
  return 1;
}

/* The host drives the loop after it has used up the Lua stack of its C
 * function. */
static void the_stack_may_be_full(lua_State *L) {
  lunado_promise *promise;
  int ends[2];
  check_int(pipe(ends), 0);
  lua_pushinteger(L, ends[1]);
  lua_setglobal(L, "fd");
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1);
  lua_setglobal(L, "promised");
  host_do(L, sleeper);
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "loop:add_callback(function() called = true end)\n"
             "loop:call_later(0, function() late = true end)\n"
             "loop:add_handler(fd, function()\n"
             "  loop:remove_handler(fd)\n"
             "  writable = true\n"
             "end, loop.WRITE)\n"
             "lunado.coroutine(function()\n"
             "  both = coroutine.yield { promised, lunado.sleep(0) }\n"
             "end)()");
  check_int(lunado_promise_settle(promise, deliver_one, NULL), 0);
  while (lua_gettop(L) < LUA_MINSTACK) lua_pushnil(L);
  check_int(uv_run(lunado_getloop(L), UV_RUN_DEFAULT), 0);
  check_int(lua_gettop(L), LUA_MINSTACK);
  lua_settop(L, 0);
  host_do(L, "assert(done == 3 and called and late and writable)\n"
             "assert(both[1] == 1)");
  close(ends[0]);
  close(ends[1]);
}

static lua_Integer get_count(lua_State *L) {
  lua_Integer count;
  lua_getglobal(L, "count");
  count = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return count;
}

/* A callback that fails because memory is short is reported, with at most two
 * messages, and the loop goes on. */
static void callbacks_for_want_of_memory(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  host_do(L, "count = 0\n"
             "function add() count = count + 1 end\n"
             "loop = lunado.IOLoop.current()");
  for (int depth = 20; depth < 120; depth++) {
    host_do(L, "loop:add_callback(add)\n"
               "loop:call_later(0, add, table.unpack({}, 1, 60))");
    lua_pushcfunction(L, take_turn);
    host_starve(L, 0, depth, depth % 3);
    for (int i = 0; i < 3; i++) take_turn(L);
  }
  check(get_count(L) + log.count >= 200);
  check(get_count(L) + log.count <= 400);
}

#ifdef __linux__
/* A program with its own epoll loop drives lunado's loop: it waits for the
 * descriptor of the loop, at most as long as the loop would wait. */
static void it_runs_inside_of_epoll(lua_State *L) {
  uv_loop_t *loop = lunado_getloop(L);
  struct epoll_event event = {.events = EPOLLIN};
  int epoll = epoll_create1(0), ends[2], rounds = 0;
  check_int(pipe(ends), 0);
  check_int(epoll_ctl(epoll, EPOLL_CTL_ADD, uv_backend_fd(loop), &event), 0);
  lua_pushinteger(L, ends[0]);
  lua_setglobal(L, "fd");
  host_do(L, sleeper);
  host_do(L, "local loop = lunado.IOLoop.current()\n"
             "loop:add_handler(fd, function(fd)\n"
             "  readable = true\n"
             "  loop:remove_handler(fd)\n"
             "end, loop.READ)");
  check_int(write(ends[1], "x", 1), 1);
  while (uv_run(loop, UV_RUN_NOWAIT) != 0) {
    check(rounds++ < 1000);
    (void)epoll_wait(epoll, &event, 1, uv_backend_timeout(loop));
  }
  host_do(L, "assert(done == 3 and readable)");
  close(epoll);
  close(ends[0]);
  close(ends[1]);
}
#endif

static const host_test tests[] = {
    test_alone(the_host_drives_the_loop),
    test_alone(scripts_drive_it_as_well),
    test_alone(the_host_stops_it),
    test_alone(closing_leaves_the_hosts_handles_alone),
    test_alone(a_script_that_closes_it_gets_another),
    test_alone(two_states_share_a_loop),
    test_alone(lunados_handles_are_known),
    test_alone(closed_handles_are_not_known),
    test(a_slice_has_its_length),
    test(a_loop_in_use_is_not_replaced),
    test(the_host_can_drive_it),
    test(it_may_close_while_it_runs),
    test(the_stack_may_be_full),
    test(callbacks_for_want_of_memory),
    test_alone(a_hosts_run_may_close_it),
#ifdef __linux__
    test(it_runs_inside_of_epoll),
#endif
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
