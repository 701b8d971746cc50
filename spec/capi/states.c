/* SPDX-License-Identifier: MIT */
/* states.c - many Lua states, in parallel threads and one after the other. */
#include "host.h"

static const char script[] =
    "local gen = lunado.gen\n"
    "local child = lunado.coroutine(function(i)\n"
    "  coroutine.yield(gen.sleep(i / 1e9))\n"
    "  return i\n"
    "end)\n"
    "assert(10 == lunado.run(function()\n"
    "  local sum = 0\n"
    "  for _, v in ipairs(coroutine.yield { child(1), child(2), child(7) }) "
    "do\n"
    "    sum = sum + v\n"
    "  end\n"
    "  return sum\n"
    "end))\n"
    "left = lunado.coroutine(function()\n"
    "  coroutine.yield(lunado.Future())\n"
    "end)()\n"
    "lunado.IOLoop.current():call_later(1000, error)\n";

static void ignore(void *ud, const char *level, const char *message) {
  (void)ud, (void)level, (void)message;
}

/* Uses several parts of lunado, and leaves some work unfinished. */
static void use(lua_State *L) {
  lunado_promise *promise;
  lunado_setlog(L, ignore, NULL);
  host_do(L, script);
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1);
  (void)lunado_newpromise(L, -1);
  check_int(lunado_promise_settle(promise, NULL, NULL), 0);
  check_int(lunado_post(lunado_looponly(L), NULL, NULL), 0);
  uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
  lua_settop(L, 0);
}

/* --- on several threads --------------------------------------------------- */

enum { THREADS = 4, STATES = 25 };

typedef struct {
  uv_thread_t id;
  uint32_t random;
  lua_State *states[STATES];
} owner;

static uv_barrier_t all_open;

static uint32_t random_below(owner *self, uint32_t bound) {
  self->random ^= self->random << 13;
  self->random ^= self->random >> 17;
  self->random ^= self->random << 5;
  return self->random % bound;
}

static void open_use_or_close(owner *self) {
  lua_State **state = &self->states[random_below(self, STATES)];
  if (*state == NULL) {
    *state = host_open();
  } else if (random_below(self, 2) == 0) {
    use(*state);
  } else {
    lua_close(*state);
    *state = NULL;
  }
}

static void open_all(owner *self) {
  for (int i = 0; i < STATES; i++)
    if (self->states[i] == NULL) self->states[i] = host_open();
}

static void close_in_random_order(owner *self) {
  for (uint32_t left = STATES; left > 0; left--) {
    lua_State **state = &self->states[random_below(self, left)];
    use(*state);
    lua_close(*state);
    *state = self->states[left - 1];
  }
}

static void own_states(void *arg) {
  owner *self = arg;
  for (int i = host_times(300); i > 0; i--) open_use_or_close(self);
  open_all(self);
  uv_barrier_wait(&all_open);
  close_in_random_order(self);
}

static void a_hundred_states_on_four_threads(lua_State *L) {
  static owner owners[THREADS];
  (void)L;
  check_int(uv_barrier_init(&all_open, THREADS), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    owners[i].random = 2463534242u + i;
    check_int(uv_thread_create(&owners[i].id, own_states, &owners[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) uv_thread_join(&owners[i].id);
  uv_barrier_destroy(&all_open);
  check_int(atomic_load(&host_blocks), 0);
  check_int(atomic_load(&host_bytes), 0);
}

/* Threads may use a state one after the other, but not at the same time. */
static void use_elsewhere(void *arg) { use(arg); }

static void a_state_may_change_its_thread(lua_State *L) {
  for (int i = 0; i < 10; i++) {
    uv_thread_t thread;
    use(L);
    check_int(uv_thread_create(&thread, use_elsewhere, L), 0);
    uv_thread_join(&thread);
  }
}

/* --- one after the other -------------------------------------------------- */

static void five_thousand_states_one_after_the_other(lua_State *L) {
  for (int i = host_times(5000); i > 0; i--) {
    L = host_open();
    use(L);
    host_close(L);
  }
}

/* More loops, one after the other, than can have an id at the same time. */
static void a_state_makes_ten_thousand_loops(lua_State *L) {
  long long before = 0;
  for (int i = host_times(10000); i > 0; i--) {
    check(lunado_looponly(L) != NULL);
    lunado_newfuture(L);
    (void)lunado_newpromise(L, -1);
    lua_settop(L, 0);
    host_do(L, "lunado.IOLoop.instance():close()");
    if (before == 0) before = atomic_load(&host_bytes);
    check(atomic_load(&host_bytes) < before + 10000);
  }
}

/* --- on one loop ---------------------------------------------------------- */

static int find_loop(lua_State *L) {
  (void)lunado_looponly(L);
  return 0;
}

static int promise_one(lua_State *L) {
  lunado_newfuture(L);
  (void)lunado_newpromise(L, -1);
  return 0;
}

/* The maximum number of loops with an id in a process. */
static void four_thousand_on_one_loop(lua_State *L) {
  enum { MOST = sizeof(void *) > 4 ? 4096 : 256 };
  static lua_State *states[MOST + 1];
  uv_loop_t loop;
  (void)L;
  check_int(uv_loop_init(&loop), 0);
  for (int i = 0; i <= MOST; i++) {
    states[i] = host_new();
    check_int(lunado_setloop(states[i], &loop), 0);
    lua_pushcfunction(states[i], promise_one);
    if (i < MOST) check_int(lua_pcall(states[i], 0, 0, 0), LUA_OK);
  }
  lua_settop(states[MOST], 0);
  host_check_raises(states[MOST], promise_one, "too many IOLoops");
  host_check_raises(states[MOST], find_loop, "too many IOLoops");
  lua_close(states[0]);
  check_int(promise_one(states[MOST]), 0);
  for (int i = 1; i <= MOST; i++) lua_close(states[i]);
  uv_run(&loop, UV_RUN_NOWAIT);
  check_int(uv_loop_close(&loop), 0);
  check_int(atomic_load(&host_blocks), 0);
}

static const host_test tests[] = {
    test_alone(a_hundred_states_on_four_threads),
    test(a_state_may_change_its_thread),
    test_alone(five_thousand_states_one_after_the_other),
    test(a_state_makes_ten_thousand_loops),
    test_alone(four_thousand_on_one_loop),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
