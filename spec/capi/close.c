/* SPDX-License-Identifier: MIT */
/* close.c - closing the state in callbacks, and when lunado_close refuses. */

#include "../support/posix.h"
#include "host.h"

static lua_State *state;
static bool polite; /* by lunado_close */

static void close_state(void) {
  if (polite)
    check_int(lunado_close(state), 0);
  else
    lua_close(state);
  state = NULL;
}

/* Gives the loop a suspended coroutine, a callback and a timeout. */
static void fill(void) {
  host_do(state, "local loop = lunado.IOLoop.current()\n"
                 "lunado.coroutine(function()\n"
                 "  coroutine.yield(lunado.sleep(3600))\n"
                 "end)()\n"
                 "loop:add_callback(function() end)\n"
                 "loop:call_later(3600, print)");
}

/* --- on a loop of either kind -------------------------------------------- */

typedef struct {
  uv_loop_t *loop;
  uv_timer_t timer; /* a handle of the host's that stays open */
  union {
    uv_timer_t timer;
    uv_async_t async;
    uv_idle_t idle;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_poll_t poll;
    uv_handle_t handle;
  } own;
  uv_fs_t request;
  int closed; /* calls of on_closed */
} host;

static host self;
static int ends[2];

static void on_closed(uv_handle_t *handle) {
  (void)handle;
  self.closed++;
}

static void on_post(void *arg) {
  (void)arg;
  close_state();
}

static void by_post(void) {
  lunado_newfuture(state);
  (void)lunado_newpromise(state, -1); /* keeps the loop running */
  check_int(lunado_post(lunado_looponly(state), on_post, NULL), 0);
}

static void on_timer(uv_timer_t *handle) {
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_timer(void) {
  uv_timer_init(self.loop, &self.own.timer);
  uv_timer_start(&self.own.timer, on_timer, 0, 0);
}

static void on_closed_timer(uv_timer_t *handle) {
  uv_close((uv_handle_t *)handle, on_closed);
  close_state();
}

static void by_closed_timer(void) {
  uv_timer_init(self.loop, &self.own.timer);
  uv_timer_start(&self.own.timer, on_closed_timer, 0, 0);
}

static void on_async(uv_async_t *handle) {
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_async(void) {
  uv_async_init(self.loop, &self.own.async, on_async);
  uv_async_send(&self.own.async);
}

static void on_idle(uv_idle_t *handle) {
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_idle(void) {
  uv_idle_init(self.loop, &self.own.idle);
  uv_idle_start(&self.own.idle, on_idle);
}

static void on_prepare(uv_prepare_t *handle) {
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_prepare(void) {
  uv_prepare_init(self.loop, &self.own.prepare);
  uv_prepare_start(&self.own.prepare, on_prepare);
}

static void on_check(uv_check_t *handle) {
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_check(void) {
  uv_check_init(self.loop, &self.own.check);
  uv_check_start(&self.own.check, on_check);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  (void)status, (void)events;
  close_state();
  uv_close((uv_handle_t *)handle, on_closed);
}

static void by_poll(void) {
  uv_poll_init(self.loop, &self.own.poll, ends[1]);
  uv_poll_start(&self.own.poll, UV_WRITABLE, on_poll);
}

static void on_close(uv_handle_t *handle) {
  close_state();
  on_closed(handle);
}

static void by_close(void) {
  uv_timer_init(self.loop, &self.own.timer);
  uv_close(&self.own.handle, on_close);
}

static void on_request(uv_fs_t *request) {
  uv_fs_req_cleanup(request);
  close_state();
  self.closed++;
}

static void by_request(void) {
  check_int(uv_fs_stat(self.loop, &self.request, ".", on_request), 0);
}

static void on_walk(uv_handle_t *handle, void *arg) {
  (void)handle, (void)arg;
  if (state != NULL) close_state();
}

static void by_walk(void) { uv_walk(self.loop, on_walk, NULL); }

static void by_hand(void) { close_state(); }

static void (*const ways[])(void) = {
    by_post,  by_timer, by_closed_timer, by_async,   by_idle, by_prepare,
    by_check, by_poll,  by_close,        by_request, by_walk, by_hand};

enum { WAYS = sizeof ways / sizeof ways[0] };

/* Closes the state in the given way, with or without a handle of the host's
 * that stays open, and then runs the loop like a host. */
static void close_and_go_on(int way, bool stays, uv_run_mode mode) {
  fill();
  self.closed = 0;
  if (stays) {
    uv_timer_init(self.loop, &self.timer);
    uv_timer_start(&self.timer, on_timer, 3600000, 0);
  }
  ways[way]();
  for (int i = 0; state != NULL; i++) {
    check(i < 100000);
    (void)uv_run(self.loop, mode != UV_RUN_DEFAULT ? mode : UV_RUN_ONCE);
  }
  if (stays) {
    check(uv_is_active((uv_handle_t *)&self.timer));
    check(!uv_is_closing((uv_handle_t *)&self.timer));
    uv_close((uv_handle_t *)&self.timer, on_closed);
  }
  while (uv_run(self.loop, mode) != 0) continue;
  check_int(self.closed,
            (int)stays + (ways[way] != by_post && ways[way] != by_walk &&
                          ways[way] != by_hand));
}

static void each_way(void (*close_one)(int way, bool stays, uv_run_mode mode)) {
  static const uv_run_mode modes[] = {UV_RUN_DEFAULT, UV_RUN_ONCE,
                                      UV_RUN_NOWAIT};
  check_int(pipe(ends), 0);
  for (int way = 0; way < WAYS; way++)
    for (int i = 0; i < 12; i++) {
      polite = i & 1;
      close_one(way, (i & 2) != 0, modes[i / 4]);
      check_int(atomic_load(&host_blocks), 0);
    }
  close(ends[0]);
  close(ends[1]);
}

static void close_on_hosts(int way, bool stays, uv_run_mode mode) {
  uv_loop_t loop;
  check_int(uv_loop_init(&loop), 0);
  state = host_new();
  check_int(lunado_setloop(state, &loop), 0);
  lua_pushcfunction(state, host_open_libs);
  check_int(lua_pcall(state, 0, 0, 0), LUA_OK);
  self.loop = &loop;
  close_and_go_on(way, stays, mode);
  (void)uv_run(&loop, UV_RUN_NOWAIT);
  check_int(uv_loop_close(&loop), 0);
}

static void from_any_callback_on_the_hosts_loop(lua_State *L) {
  (void)L;
  each_way(close_on_hosts);
}

/* Closes a state with a uv_loop_t of its own.  If the state is closed at rest,
 * and no handle of the host's stays open, the uv_loop_t is freed at once, so
 * the host cannot go on with it. */
static void close_on_own(int way, bool stays, uv_run_mode mode) {
  state = host_open();
  self.loop = lunado_getloop(state);
  if (ways[way] == by_hand && !stays)
    close_state();
  else
    close_and_go_on(way, stays, mode);
}

static void from_any_callback_on_lunados_loop(lua_State *L) {
  (void)L;
  each_way(close_on_own);
}

/* --- where Lua runs ------------------------------------------------------ */

static int refusals;

static int be_refused(lua_State *L) {
  lua_State *main;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  main = lua_tothread(L, -1);
  lua_pop(L, 1);
  check_int(lunado_close(L), UV_EBUSY);
  check_int(lunado_close(main), UV_EBUSY);
  refusals++;
  return 0;
}

static void log_and_be_refused(void *ud, const char *level,
                               const char *message) {
  (void)level, (void)message;
  check_int(lunado_close(ud), UV_EBUSY);
  refusals++;
}

static void refuse_post(void *arg) { (void)be_refused(arg); }

static void it_is_refused_where_lua_runs(lua_State *L) {
  lunado_promise *promise;
  lunado_setlog(L, log_and_be_refused, L);
  lua_register(L, "refused", be_refused);
  refusals = 0;
  host_do(L, "refused()\n"
             "local loop = lunado.IOLoop.current()\n"
             "loop:add_callback(refused)\n"
             "loop:call_later(0, refused)\n"
             "lunado.coroutine(function()\n"
             "  refused()\n"
             "  coroutine.yield()\n"
             "  refused()\n"
             "end)()\n"
             "lunado.log.app_log:error 'logged'\n"
             "coroutine.wrap(refused)()\n"
             "setmetatable({}, { __gc = refused })\n"
             "collectgarbage()");
  check_int(refusals, 5);
  lunado_newfuture(L);
  lua_pushcfunction(L, be_refused);
  lunado_ondone(L, -2);
  check_int(lunado_setresult(L, -1, 0), 0);
  check_int(refusals, 6);
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1);
  check_int(lunado_promise_settle(promise, be_refused, NULL), 0);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(refusals, 10);
  lua_settop(L, 0);
  check_int(lunado_post(lunado_looponly(L), refuse_post, L), 0);
  host_do(L, "lunado.run(lunado.sleep, 0.001)");
  check_int(refusals, 11);
  lunado_setlog(L, NULL, NULL);
}

static const host_test tests[] = {
    test_alone(from_any_callback_on_the_hosts_loop),
    test_alone(from_any_callback_on_lunados_loop),
    test(it_is_refused_where_lua_runs),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
