/* SPDX-License-Identifier: MIT */
/* threads.c - promises under load: eight threads settle them, and one state
 * delivers them and is closed while the threads still settle. */
#include "host.h"

enum { THREADS = 8 };

/* --- a million settlements ------------------------------------------------ */

enum { ROUND = 10000 };

/* The promises of one round.  Two threads try to settle each of them. */
static lunado_promise *promises[ROUND];
static atomic_int accepted[ROUND];
static atomic_int refused;
static int delivered[ROUND];
static int deliveries;

static uv_barrier_t begin, end;
static atomic_bool over;

typedef struct {
  uv_thread_t id;
  int number;
} worker;

/* The result is the number of the promise. */
static int deliver_number(lua_State *L) {
  const atomic_int *slot = lua_touserdata(L, 1);
  delivered[slot - accepted]++;
  deliveries++;
  lua_pushinteger(L, slot - accepted);
  return 1;
}

static void try_promise(int i) {
  int rc = lunado_promise_settle(promises[i], deliver_number, &accepted[i]);
  if (rc == 0)
    atomic_fetch_add(&accepted[i], 1);
  else
    atomic_fetch_add(&refused, rc == UV_EALREADY ? 1 : 1000000);
}

/* Half of the threads work upwards, half downwards. */
static void settle_rounds(void *arg) {
  const worker *self = arg;
  int first = self->number % (THREADS / 2);
  for (;;) {
    uv_barrier_wait(&begin);
    if (atomic_load(&over)) return;
    for (int i = first; i < ROUND; i += THREADS / 2)
      try_promise(self->number < THREADS / 2 ? i : ROUND - 1 - i);
    uv_barrier_wait(&end);
  }
}

/* Pushes a table of Futures with a promise of each. */
static void make_promises(lua_State *L) {
  deliveries = 0;
  atomic_store(&refused, 0);
  lua_createtable(L, ROUND, 0);
  for (int i = 0; i < ROUND; i++) {
    atomic_store(&accepted[i], 0);
    delivered[i] = 0;
    lunado_newfuture(L);
    promises[i] = lunado_newpromise(L, -1);
    lua_rawseti(L, -2, i + 1);
  }
}

static void check_round(lua_State *L) {
  check_int(deliveries, ROUND);
  check_int(atomic_load(&refused), ROUND);
  for (int i = 0; i < ROUND; i++) {
    check_int(atomic_load(&accepted[i]), 1);
    check_int(delivered[i], 1);
    lua_rawgeti(L, -1, i + 1);
    check_int(lunado_result(L, -1), 1);
    check_int(lua_tointeger(L, -1), i);
    lua_pop(L, 2);
  }
}

static void one_round(lua_State *L) {
  make_promises(L);
  uv_barrier_wait(&begin);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  uv_barrier_wait(&end);
  check_round(L);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
}

static void none_is_lost_and_none_doubled(lua_State *L) {
  int rounds = host_times(1000000) / ROUND + 2;
  long long after_two = 0;
  worker workers[THREADS];
  atomic_store(&over, false);
  check_int(uv_barrier_init(&begin, THREADS + 1), 0);
  check_int(uv_barrier_init(&end, THREADS + 1), 0);
  for (int i = 0; i < THREADS; i++) {
    workers[i].number = i;
    check_int(uv_thread_create(&workers[i].id, settle_rounds, &workers[i]), 0);
  }
  for (int i = 0; i < rounds; i++) {
    one_round(L);
    if (i == 1) after_two = atomic_load(&host_bytes);
  }
  check_int(atomic_load(&host_bytes), after_two);
  atomic_store(&over, true);
  uv_barrier_wait(&begin);
  for (int i = 0; i < THREADS; i++) uv_thread_join(&workers[i].id);
  uv_barrier_destroy(&begin);
  uv_barrier_destroy(&end);
}

/* --- one promise, all threads --------------------------------------------- */

static lunado_promise *contested;

static void contest(void *arg) {
  int *rc = arg;
  uv_barrier_wait(&begin);
  *rc = lunado_promise_settle(contested, NULL, NULL);
}

static void one_of_eight_wins(lua_State *L) {
  check_int(uv_barrier_init(&begin, THREADS), 0);
  for (int round = host_times(300); round > 0; round--) {
    uv_thread_t ids[THREADS];
    int codes[THREADS], winners = 0;
    lunado_newfuture(L);
    contested = lunado_newpromise(L, -1);
    for (int i = 0; i < THREADS; i++)
      check_int(uv_thread_create(&ids[i], contest, &codes[i]), 0);
    uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
    for (int i = 0; i < THREADS; i++) uv_thread_join(&ids[i]);
    for (int i = 0; i < THREADS; i++)
      if (codes[i] == 0)
        winners++;
      else
        check_int(codes[i], UV_EALREADY);
    check_int(winners, 1);
    check_int(lunado_result(L, 1), 0);
    lua_settop(L, 0);
  }
  uv_barrier_destroy(&begin);
}

/* --- closing under fire --------------------------------------------------- */

enum { EACH = 400 };

typedef struct {
  uv_thread_t id;
  lunado_loop *loop;
  lunado_promise *promises[EACH];
  int codes[EACH];
  int deliveries[EACH]; /* written on the loop's thread */
} shooter;

static shooter shooters[THREADS];
static atomic_int posts_handled;
static int closed_after; /* deliveries */

static void on_post(void *arg) {
  (void)arg;
  atomic_fetch_add(&posts_handled, 1);
}

static int deliver_shot(lua_State *L) {
  ++*(int *)lua_touserdata(L, 1);
  deliveries++;
  if (deliveries == closed_after)
    host_do(L, "lunado.IOLoop.instance():close()");
  return 0;
}

static void shoot(void *arg) {
  shooter *self = arg;
  for (int i = 0; i < EACH; i++) {
    int rc = lunado_post(self->loop, on_post, NULL);
    check(rc == 0 || rc == UV_ENOBUFS || rc == UV_ECANCELED);
    self->codes[i] = lunado_promise_settle(self->promises[i], deliver_shot,
                                           &self->deliveries[i]);
  }
  while (lunado_post(self->loop, on_post, NULL) != UV_ECANCELED) continue;
}

static void start_shooting(lua_State *L) {
  for (int i = 0; i < THREADS; i++) {
    shooter *self = &shooters[i];
    self->loop = lunado_looponly(L);
    for (int n = 0; n < EACH; n++) {
      self->deliveries[n] = 0;
      lunado_newfuture(L);
      self->promises[n] = lunado_newpromise(L, -1);
      lua_settop(L, 0);
    }
    check_int(uv_thread_create(&self->id, shoot, self), 0);
  }
}

static void check_shots(void) {
  for (int i = 0; i < THREADS; i++) uv_thread_join(&shooters[i].id);
  for (int i = 0; i < THREADS; i++)
    for (int n = 0; n < EACH; n++) {
      int rc = shooters[i].codes[n];
      check(rc == 0 || rc == UV_ECANCELED);
      check_int(shooters[i].deliveries[n], rc == 0);
    }
}

/* A delivery closes the loop, or the host closes the state, while the threads
 * still post and settle. */
static void a_state_closes_under_fire(lua_State *L) {
  for (int round = host_times(200); round > 0; round--) {
    int limit = (round * 7919) % (THREADS * EACH);
    bool inside = round % 2 == 0;
    L = host_open();
    deliveries = 0;
    closed_after = inside ? limit + 1 : -1;
    start_shooting(L);
    while (deliveries <= limit && (!inside || deliveries < closed_after))
      uv_run(lunado_getloop(L), UV_RUN_NOWAIT);
    lua_close(L);
    check_shots();
    check_int(atomic_load(&host_blocks), 0);
  }
}

static const host_test tests[] = {
    test(none_is_lost_and_none_doubled),
    test(one_of_eight_wins),
    test_alone(a_state_closes_under_fire),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
