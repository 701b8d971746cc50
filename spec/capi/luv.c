/* SPDX-License-Identifier: MIT */
/* luv.c - luv in a state of a host's: on the host's loop, and with the host's
 * own runner of callbacks. */
#include "host.h"

/* Sets package.cpath, so that require finds luv like the interpreter. */
static void allow_files(lua_State *L) {
  lua_getglobal(L, "package");
  lua_pushliteral(L, LUA_CPATH_DEFAULT);
  lua_setfield(L, -2, "cpath");
  lua_pop(L, 1);
}

/* --- on the host's loop ------------------------------------------------- */

typedef struct {
  uv_loop_t loop;
  uv_timer_t timer; /* its data is not luv's */
  int ticks;
} host_loop;

static void on_tick(uv_timer_t *timer) {
  host_loop *self = timer->data;
  self->ticks++;
}

static lua_State *open_on(host_loop *self) {
  lua_State *L = host_new();
  check_int(uv_loop_init(&self->loop), 0);
  check_int(uv_timer_init(&self->loop, &self->timer), 0);
  self->timer.data = self;
  self->ticks = 0;
  check_int(lunado_setloop(L, &self->loop), 0);
  lua_pushcfunction(L, host_open_libs);
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
  allow_files(L);
  check(lunado_getloop(L) == &self->loop);
  return L;
}

static void close_loop(host_loop *self) {
  check(!uv_is_closing((uv_handle_t *)&self->timer));
  uv_close((uv_handle_t *)&self->timer, NULL);
  uv_run(&self->loop, UV_RUN_DEFAULT);
  check_int(uv_loop_close(&self->loop), 0);
  check_int(atomic_load(&host_blocks), 0);
}

static void luv_comes_to_the_hosts_loop(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  host_do(L, "local uv, t = require 'luv'\n"
             "t = uv.new_timer()\n"
             "t:start(1, 0, function() t:close() fired = true end)");
  uv_timer_start(&host.timer, on_tick, 1, 0);
  check_int(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
  check_int(host.ticks, 1);
  host_do(L, "assert(fired)");
  lua_close(L);
  close_loop(&host);
}

/* The state is closed while handles of luv's are open and closing. */
static void handles_of_luv_end_with_the_state(lua_State *L) {
  host_loop host;
  L = open_on(&host);
  uv_timer_start(&host.timer, on_tick, 60000, 0);
  host_do(L, "local uv = require 'luv'\n"
             "uv.new_timer():start(0, 1, error)\n"
             "uv.new_idle():start(error)\n"
             "uv.new_timer():close(error)\n"
             "local server = uv.new_tcp()\n"
             "server:bind('127.0.0.1', 0)\n"
             "server:listen(8, error)\n"
             "lunado.IOLoop.current():call_later(60, error)");
  lua_close(L);
  check_int(host.ticks, 0);
  close_loop(&host);
}

/* --- callbacks --------------------------------------------------------- */

/* The first fields of luv's context. */
typedef struct {
  uv_loop_t *loop;
  lua_State *L;
  int (*call)(lua_State *L, int nargs, int nresults, int flags);
} luv_context;

static luv_context *open_luv(lua_State *L) {
  luv_context *context;
  allow_files(L);
  host_do(L, "uv = require 'luv'");
  lua_getfield(L, LUA_REGISTRYINDEX, "luv_context");
  context = lua_touserdata(L, -1);
  check(context != NULL);
  lua_pop(L, 1);
  return context;
}

static char last_error[100];

static int call_hosts_way(lua_State *L, int nargs, int nresults, int flags) {
  (void)flags;
  if (lua_pcall(L, nargs, nresults, 0) == LUA_OK) return nresults;
  (void)snprintf(last_error, sizeof last_error, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return -LUA_ERRRUN;
}

static const char failing[] =
    "handled = nil\n"
    "local loop = lunado.IOLoop.current()\n"
    "function loop.handle_callback_exception(_, _, err) handled = err end\n"
    "local t = uv.new_timer()\n"
    "t:start(0, 0, function()\n"
    "  t:close()\n"
    "  started = pcall(loop.start, loop)\n"
    "  error('from luv', 0)\n"
    "end)\n"
    "uv.run()\n"
    "assert(started == false)";

static void a_way_of_the_hosts_stays(lua_State *L) {
  luv_context *context = open_luv(L);
  context->call = call_hosts_way;
  host_do(L, failing);
  check(context->call == call_hosts_way);
  check_text(last_error, "from luv");
  host_do(L, "assert(handled == nil)");
}

static void luvs_own_way_is_replaced(lua_State *L) {
  luv_context *context = open_luv(L);
  void *before = context->L;
  host_do(L, failing);
  host_do(L, "assert(handled == 'from luv')");
  check(before == L && context->L == L);
}

static void callbacks_run_on_the_main_thread(lua_State *L) {
  luv_context *context;
  host_do(L, "thread = coroutine.create(function() uv = require 'luv' end)");
  allow_files(L);
  host_do(L, "assert(coroutine.resume(thread)) thread = nil");
  context = open_luv(L);
  check(lunado_getloop(L) == context->loop);
  check(context->L == L);
}

static const host_test tests[] = {
    test_alone(luv_comes_to_the_hosts_loop),
    test_alone(handles_of_luv_end_with_the_state),
    test(a_way_of_the_hosts_stays),
    test(luvs_own_way_is_replaced),
    test(callbacks_run_on_the_main_thread),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
