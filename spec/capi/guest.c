/* SPDX-License-Identifier: MIT */
/* guest.c - handles of C modules: calls into Lua, and the ends of guests. */
#include "host.h"

/* An object of a module, with a timer that calls `call`. */
typedef struct {
  lunado_guest *guest; /* NULL: it has ended */
  lua_CFunction call;
  int calls;  /* of `call` */
  int closes; /* of on_close */
  int status; /* of the last lunado_guest_call */
} module;

typedef struct {
  uv_timer_t timer;
  module *owner;
} ticker;

static void on_close(lua_State *L, void *ud) {
  module *self = ud;
  lua_pushnil(L);
  lua_pop(L, 1);
  self->closes++;
  self->guest = NULL;
}

static void on_tick(uv_timer_t *timer) {
  module *self = ((ticker *)timer)->owner;
  self->status = lunado_guest_call(self->guest, self->call, self);
}

static ticker *add_ticker(module *self) {
  ticker *result = lunado_guest_newhandle(self->guest, sizeof *result);
  check(result != NULL);
  result->owner = self;
  check(lunado_ishandle((uv_handle_t *)result));
  check_int(uv_timer_init(lunado_guest_getloop(self->guest), &result->timer),
            0);
  check_int(uv_timer_start(&result->timer, on_tick, 0, 1), 0);
  return result;
}

static ticker *start(lua_State *L, module *self, lua_CFunction call) {
  *self = (module){.call = call};
  self->guest = lunado_newguest(L, on_close, self);
  return add_ticker(self);
}

/* (module): calls the script's function `tick`. */
static int tick(lua_State *L) {
  module *self = lua_touserdata(L, 1);
  self->calls++;
  lua_getglobal(L, "tick");
  lua_call(L, 0, 0);
  return 0;
}

static void enters_lua(lua_State *L) {
  module self;
  start(L, &self, tick);
  (void)host_do(L, "loop = lunado.IOLoop.current()\n"
                   "n = 0\n"
                   "function tick() n = n + 1\n"
                   "  if n == 3 then loop:stop() end\n"
                   "end\n"
                   "loop:start()\n"
                   "assert(n == 3)");
  check_int(self.calls, 3);
  check_int(self.status, 0);
  lunado_guest_leave(self.guest);
  check_int(self.closes, 0);
}

/* The active handle keeps the run going until it is closed. */
static int stop_ticking(lua_State *L) {
  module *self = lua_touserdata(L, 1);
  self->calls++;
  lunado_guest_leave(self->guest);
  self->guest = NULL;
  lua_getglobal(L, "future");
  lunado_setresult(L, -1, 0);
  return 0;
}

static void leaves_in_a_call(lua_State *L) {
  module self;
  (void)host_do(L, "future = lunado.Future()");
  start(L, &self, stop_ticking);
  (void)host_do(L, "lunado.run(function() coroutine.yield(future) end)");
  check_int(self.calls, 1);
  check_int(self.status, UV_ECANCELED);
  check_int(self.closes, 0);
}

static void reports_errors(lua_State *L) {
  module self;
  start(L, &self, tick);
  (void)host_do(L, "loop = lunado.IOLoop.current()\n"
                   "function loop:handle_callback_exception(_, err)\n"
                   "  seen = err\n"
                   "  loop:stop()\n"
                   "end\n"
                   "function tick() error({}) end\n"
                   "loop:start()\n"
                   "assert(type(seen) == 'table')");
  check_int(self.status, 0);
  lunado_guest_leave(self.guest);
}

static void ends_with_the_loop(lua_State *L) {
  module self;
  start(L, &self, tick);
  add_ticker(&self);
  (void)host_do(L, "lunado.IOLoop.current():close()");
  check_int(self.closes, 1);
}

static void ends_in_a_call_that_closes_the_loop(lua_State *L) {
  module self;
  start(L, &self, tick);
  (void)host_do(L, "loop = lunado.IOLoop.current()\n"
                   "function tick() loop:close() end\n"
                   "loop:start()");
  check_int(self.closes, 1);
  check_int(self.calls, 1);
  check_int(self.status, UV_ECANCELED);
}

static void ends_with_the_state(lua_State *L) {
  module self;
  (void)L;
  L = host_open();
  start(L, &self, tick);
  host_close(L);
  check_int(self.closes, 1);
}

/* The handles are closed once, whoever walks the host's loop. */
static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void ends_on_the_loop_of_a_host(lua_State *L) {
  for (int walked = 0; walked < 3; walked++) {
    uv_loop_t uv;
    module self;
    (void)L;
    check_int(uv_loop_init(&uv), 0);
    L = host_new();
    check_int(lunado_setloop(L, &uv), 0);
    lua_pushcfunction(L, host_open_libs);
    check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
    start(L, &self, tick);
    if (walked > 0) uv_walk(&uv, close_handle, NULL);
    if (walked > 1) (void)uv_run(&uv, UV_RUN_DEFAULT);
    lua_close(L);
    check_int(self.closes, 1);
    (void)uv_run(&uv, UV_RUN_DEFAULT);
    check_int(uv_loop_close(&uv), 0);
    check_int(atomic_load(&host_bytes), 0);
  }
}

/* A handle whose initialization has failed is freed without closing. */
static void frees_what_was_not_initialized(lua_State *L) {
  module self = {0};
  void *memory;
  self.guest = lunado_newguest(L, on_close, &self);
  memory = lunado_guest_newhandle(self.guest, sizeof(uv_poll_t));
  check(memory != NULL);
  check(uv_poll_init(lunado_guest_getloop(self.guest), memory, 9999) < 0);
  lunado_guest_closehandle(memory);
  (void)lunado_guest_newhandle(self.guest, sizeof(uv_poll_t));
  lunado_guest_leave(self.guest);
}

static int new_guest(lua_State *L) {
  static module self;
  self.guest = lunado_newguest(L, on_close, &self);
  return 0;
}

static void needs_an_open_loop(lua_State *L) {
  (void)host_do(L, "loop = lunado.IOLoop.current()\n"
                   "lunado.IOLoop(true):close()\n"
                   "loop:close()");
  lua_pushcfunction(L, new_guest); /* makes the default loop anew */
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
}

static void fails_without_memory(lua_State *L) {
  module self = {0};
  self.guest = lunado_newguest(L, on_close, &self);
  atomic_store(&host_failing, HOST_CORE);
  for (int n = 1; n <= 2; n++) {
    host_fail_at(n, 0);
    if (lunado_guest_newhandle(self.guest, sizeof(uv_timer_t)) != NULL)
      check_int(n, 2); /* there was room among the handles */
  }
  host_fail_at(1, 0);
  lua_pushcfunction(L, new_guest);
  check(lua_pcall(L, 0, 0, 0) != LUA_OK);
  check_text(lua_tostring(L, -1), "not enough memory");
  host_fail_at(0, 0);
  atomic_store(&host_failing, HOST_LUA | HOST_CORE);
  lunado_guest_leave(self.guest);
}

static const host_test tests[] = {
    test(enters_lua),
    test(leaves_in_a_call),
    test(reports_errors),
    test(ends_with_the_loop),
    test(ends_in_a_call_that_closes_the_loop),
    test_alone(ends_with_the_state),
    test_alone(ends_on_the_loop_of_a_host),
    test(frees_what_was_not_initialized),
    test(needs_an_open_loop),
    test(fails_without_memory),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
