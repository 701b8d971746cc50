/* SPDX-License-Identifier: MIT */
/* walk.c - a host closes all handles of its loop, including lunado's. */

#include "../support/posix.h"
#include "host.h"

typedef struct {
  uv_loop_t loop;
  uv_timer_t timer;
  uv_idle_t idle;
} walked;

static unsigned closed; /* by on_closed */

static void on_closed(uv_handle_t *handle) {
  (void)handle;
  closed++;
}

static void close_silently(uv_handle_t *handle, void *count) {
  if (count != NULL) ++*(unsigned *)count;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void close_counted(uv_handle_t *handle, void *count) {
  ++*(unsigned *)count;
  if (!uv_is_closing(handle)) uv_close(handle, on_closed);
}

static void never(uv_timer_t *timer) { (void)timer; }

static const char busy[] = "loop = lunado.IOLoop.current()\n"
                           "handle = loop:call_later(60, error)\n"
                           "loop:add_callback(function() end)\n"
                           "loop:add_handler(0, error, loop.ERROR)\n"
                           "loop:add_signal_handler('sigusr1', error)\n"
                           "waiting = lunado.coroutine(function() "
                           "lunado.await(lunado.sleep(60)) end)()";

static lua_State *open_walked(walked *self) {
  lua_State *L = host_open();
  check_int(uv_loop_init(&self->loop), 0);
  check_int(uv_timer_init(&self->loop, &self->timer), 0);
  uv_timer_start(&self->timer, never, 60000, 0);
  check_int(lunado_setloop(L, &self->loop), 0);
  host_do(L, busy);
  check_int(uv_run(&self->loop, UV_RUN_NOWAIT) != 0, 1);
  return L;
}

static void end_loop(walked *self) {
  check_int(uv_run(&self->loop, UV_RUN_DEFAULT), 0);
  check_int(uv_loop_close(&self->loop), 0);
  memset(&self->loop, 0xa5, sizeof self->loop); /* a later use crashes */
}

/* Checks that all functions refuse a loop whose handles are closed, and that
 * another loop works. */
static const char refused[] =
    "local function refuses(f, ...)\n"
    "  local ok, err = pcall(f, ...)\n"
    "  assert(not ok and tostring(err):find('IOLoop is closed', 1, true), "
    "err)\n"
    "end\n"
    "refuses(loop.add_callback, loop, print)\n"
    "refuses(loop.call_later, loop, 1, print)\n"
    "refuses(loop.remove_timeout, loop, handle)\n"
    "refuses(loop.add_handler, loop, 1, print, loop.READ)\n"
    "refuses(loop.update_handler, loop, 0, loop.READ)\n"
    "refuses(loop.remove_handler, loop, 0)\n"
    "refuses(loop.add_signal_handler, loop, 'sigusr1', print)\n"
    "refuses(loop.start, loop)\n"
    "refuses(loop.stop, loop)\n"
    "refuses(loop.run_sync, loop, print)\n"
    "refuses(lunado.run, print)\n"
    "refuses(lunado.sleep, 1)\n"
    "local own <close> = lunado.IOLoop(false)\n"
    "own:run_sync(function() end)\n";

static void all_is_closed_before_the_state(lua_State *L) {
  walked host;
  L = open_walked(&host);
  uv_walk(&host.loop, close_silently, NULL);
  end_loop(&host);
  host_do(L, refused);
  host_close(L);
}

static void lunado_closes_after_the_loop(lua_State *L) {
  walked host;
  L = open_walked(&host);
  uv_walk(&host.loop, close_silently, NULL);
  end_loop(&host);
  host_do(L, "loop:close() loop:close(true)");
  host_close(L);
}

static void the_state_ends_while_all_is_closing(lua_State *L) {
  walked host;
  L = open_walked(&host);
  uv_walk(&host.loop, close_silently, NULL);
  lua_close(L);
  end_loop(&host);
  check_int(atomic_load(&host_blocks), 0);
}

/* libuv calls the host's close callback for each handle that the host
 * closed. */
static void whoever_closes_is_called_back(lua_State *L) {
  walked host;
  unsigned walked_over = 0;
  closed = 0;
  L = open_walked(&host);
  uv_walk(&host.loop, close_counted, &walked_over);
  check(walked_over > 5);
  lua_close(L);
  end_loop(&host);
  check_int(closed, walked_over);
  check_int(atomic_load(&host_blocks), 0);
}

static void the_state_ends_first(lua_State *L) {
  walked host;
  L = open_walked(&host);
  lua_close(L);
  uv_walk(&host.loop, close_silently, NULL);
  end_loop(&host);
  check_int(atomic_load(&host_blocks), 0);
}

static void close_in_run(uv_idle_t *idle) {
  uv_walk(idle->loop, close_silently, NULL);
}

static void a_run_ends_where_all_is_closed(lua_State *L) {
  walked host;
  L = open_walked(&host);
  check_int(uv_idle_init(&host.loop, &host.idle), 0);
  uv_idle_start(&host.idle, close_in_run);
  host_do(L,
          "ok, err = pcall(lunado.run, lunado.sleep, 60)\n"
          "assert(not ok and tostring(err):find('was closed', 1, true), err)");
  end_loop(&host);
  host_do(L, refused);
  host_close(L);
}

static const host_test tests[] = {
    test_alone(all_is_closed_before_the_state),
    test_alone(lunado_closes_after_the_loop),
    test_alone(the_state_ends_while_all_is_closing),
    test_alone(whoever_closes_is_called_back),
    test_alone(the_state_ends_first),
    test_alone(a_run_ends_where_all_is_closed),
};

/* Makes descriptor 0 one that can be watched. */
int main(int argc, char **argv) {
  int ends[2];
  check_int(pipe(ends), 0);
  check(dup2(ends[0], 0) == 0);
  return run_tests(argc, argv, tests);
}
