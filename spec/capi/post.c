/* SPDX-License-Identifier: MIT */
/* post.c - waking the loop from threads and from signal handlers; a host's
 * log. */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "host.h"

static atomic_int posted;
static void *last_argument;

static void on_post(void *arg) {
  atomic_fetch_add(&posted, 1);
  last_argument = arg;
}

/* Returns the loop for use by other threads.  A pending promise keeps it alive,
 * because posts alone do not. */
static lunado_loop *open_loop(lua_State *L) {
  lunado_newfuture(L);
  (void)lunado_newpromise(L, -1);
  lua_pop(L, 1);
  return lunado_looponly(L);
}

/* --- posts ---------------------------------------------------------------- */

static void a_post_is_called_in_the_next_turn(lua_State *L) {
  lunado_loop *loop = open_loop(L);
  int here;
  check(loop != NULL);
  check(lunado_looponly(L) == loop);
  atomic_store(&posted, 0);
  check_int(lunado_post(loop, on_post, &here), 0);
  check_int(lunado_post(loop, NULL, NULL), 0);
  check_int(atomic_load(&posted), 0);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  check_int(atomic_load(&posted), 1);
  check(last_argument == &here);
}

static void posts_are_limited(lua_State *L) {
  lunado_loop *loop = open_loop(L);
  lunado_setslice(L, 60);
  atomic_store(&posted, 0);
  for (int i = 0; i < 1024; i++) check_int(lunado_post(loop, on_post, NULL), 0);
  check_int(lunado_post(loop, on_post, NULL), UV_ENOBUFS);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  check_int(atomic_load(&posted), 1024);
  check_int(lunado_post(loop, on_post, NULL), 0);
}

static void after_the_loop_closed_posts_are_refused(lua_State *L) {
  lunado_loop *loop, *next;
  L = host_open();
  loop = lunado_looponly(L);
  atomic_store(&posted, 0);
  check_int(lunado_post(loop, on_post, NULL), 0);
  host_do(L, "lunado.IOLoop.instance():close()");
  check_int(lunado_post(loop, on_post, NULL), UV_ECANCELED);
  next = lunado_looponly(L);
  check(next != loop);
  check_int(lunado_post(next, on_post, NULL), 0);
  host_close(L);
  check_int(lunado_post(loop, on_post, NULL), UV_ECANCELED);
  check_int(lunado_post(next, on_post, NULL), UV_ECANCELED);
  check_int(lunado_post(NULL, on_post, NULL), UV_ECANCELED);
  check_int(atomic_load(&posted), 0);
}

/* --- with Lua ------------------------------------------------------------- */

typedef struct {
  lua_State *L;
  int future; /* in the registry */
} pending;

static int settle_pending(lua_State *L) {
  pending *self = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, self->future);
  lua_pushliteral(L, "posted");
  check_int(lunado_setresult(L, -2, 1), 0);
  return 0;
}

static void on_pending(void *arg) {
  pending *self = arg;
  lua_pushcfunction(self->L, settle_pending);
  lua_pushlightuserdata(self->L, self);
  check_int(lua_pcall(self->L, 1, 0, 0), LUA_OK);
}

static int run_within(lua_State *L) {
  lua_pushcfunction(L, settle_pending);
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), "already running");
  lua_pop(L, 1);
  return 0;
}

static void on_run(void *arg) { (void)run_within(arg); }

/* If the host drives the loop, a post does not start a nested run either. */
static void a_post_does_not_run_the_loop(lua_State *L) {
  check_int(lunado_post(open_loop(L), on_run, L), 0);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  check_int(lua_gettop(L), 0);
}

static lunado_loop *posting_to;

static void *post_from_thread(void *arg) {
  check_int(lunado_post(posting_to, on_pending, arg), 0);
  return NULL;
}

/* Pushes a function that waits for self->future. */
static void push_waiter(lua_State *L, pending *self) {
  lunado_newfuture(L);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "f");
  self->L = L;
  self->future = luaL_ref(L, LUA_REGISTRYINDEX);
  host_do(L, "return function()\n"
             "  local late = lunado.with_timeout({ seconds = 100 }, f)\n"
             "  return coroutine.yield(late)\n"
             "end");
}

static void a_thread_wakes_a_coroutine(lua_State *L) {
  pending one;
  pthread_t thread;
  posting_to = lunado_looponly(L);
  push_waiter(L, &one);
  check_int(pthread_create(&thread, NULL, post_from_thread, &one), 0);
  check_int(lunado_runsync(L, 0, 0), LUA_OK);
  check_text(lua_tostring(L, -1), "posted");
  pthread_join(thread, NULL);
}

static pending *signalled;

static void on_signal(int number) {
  (void)number;
  (void)lunado_post(posting_to, on_pending, signalled);
}

static void *raise_signal(void *arg) {
  pthread_kill(*(pthread_t *)arg, SIGUSR1);
  return NULL;
}

static void a_signal_handler_wakes_a_coroutine(lua_State *L) {
  pending one;
  pthread_t self = pthread_self(), thread;
  posting_to = lunado_looponly(L);
  signalled = &one;
  push_waiter(L, &one);
  check(signal(SIGUSR1, on_signal) != SIG_ERR);
  check_int(pthread_create(&thread, NULL, raise_signal, &self), 0);
  check_int(lunado_runsync(L, 0, 0), LUA_OK);
  check_text(lua_tostring(L, -1), "posted");
  pthread_join(thread, NULL);
}

static lunado_promise *promised;

static void settle_on_signal(int number) {
  (void)number;
  (void)lunado_promise_settle(promised, NULL, NULL);
}

static void a_signal_handler_settles_a_promise(lua_State *L) {
  lunado_newfuture(L);
  promised = lunado_newpromise(L, -1);
  lua_setglobal(L, "f");
  check(signal(SIGUSR1, settle_on_signal) != SIG_ERR);
  raise(SIGUSR1);
  raise(SIGUSR1);
  host_do(L, "lunado.run(function() coroutine.yield(f) end)");
}

static lunado_loop *_Atomic signal_to;

static void post_on_signal(int number) {
  (void)number;
  (void)lunado_post(atomic_load(&signal_to), on_post, NULL);
}

/* Signals arrive at any time: while their thread posts and settles, and while
 * the loop closes. */
static void signals_may_come_at_any_time(lua_State *L) {
  struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
  atomic_store(&posted, 0);
  check(signal(SIGALRM, post_on_signal) != SIG_ERR);
  check_int(setitimer(ITIMER_REAL, &often, NULL), 0);
  for (int i = 0; i < 100; i++) {
    L = host_open();
    atomic_store(&signal_to, open_loop(L));
    lunado_setslice(L, 60); /* one pass delivers all accepted posts */
    for (int n = 0; n < 20; n++) {
      lunado_promise *promise;
      lunado_newfuture(L);
      promise = lunado_newpromise(L, -1);
      for (int own = 0; own < 50; own++)
        (void)lunado_post(signal_to, on_post, NULL);
      check_int(lunado_promise_settle(promise, NULL, NULL), 0);
      uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
      check_int(lunado_result(L, -1), 0);
      lua_settop(L, 0);
    }
    host_close(L);
  }
  check_int(setitimer(ITIMER_REAL, &never, NULL), 0);
  check(atomic_load(&posted) > 100 * 20 * 50);
}

/* --- the log -------------------------------------------------------------- */

static void the_host_gets_the_log(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  host_do(L, "lunado.log.app_log:warning('%d%%', 7)");
  check_text(log.last, "warning: 7%");
  host_do(L, "lunado.log.app_log:info('quiet')");
  check_int(log.count, 1);
  host_do(L, "lunado.log.set_level('debug')\n"
             "lunado.log.app_log:debug('loud')");
  check_text(log.last, "debug: loud");
}

static void a_script_takes_precedence(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  host_do(L, "lunado.log.set_handler(function(_, text) got = text end)\n"
             "lunado.log.app_log:error('mine')\n"
             "assert(got == 'mine')");
  check_int(log.count, 0);
  host_do(L, "lunado.log.set_handler(nil)\n"
             "lunado.log.app_log:error('yours')");
  check_text(log.last, "error: yours");
  host_do(L, "lunado.log.set_handler(function() error('bad') end)\n"
             "lunado.log.app_log:error('kept')");
  check_text(log.last, "error: kept");
}

static void what_finalizers_say_is_logged_while_closing(lua_State *L) {
  host_log log = {0};
  L = host_open();
  lunado_setlog(L, host_on_log, &log);
  host_do(L, "f = lunado.Future() f:set_exception('unseen')");
  host_close(L);
  check_text(log.last, "never retrieved: unseen");
}

static const host_test tests[] = {
    test(a_post_is_called_in_the_next_turn),
    test(posts_are_limited),
    test_alone(after_the_loop_closed_posts_are_refused),
    test(a_post_does_not_run_the_loop),
    test(a_thread_wakes_a_coroutine),
    test(a_signal_handler_wakes_a_coroutine),
    test(a_signal_handler_settles_a_promise),
    test_alone(signals_may_come_at_any_time),
    test(the_host_gets_the_log),
    test(a_script_takes_precedence),
    test_alone(what_finalizers_say_is_logged_while_closing),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
