/* SPDX-License-Identifier: MIT */
/* allocator.c - a host's allocator provides the core's memory. */
#include "host.h"

/* Memory in use, and the number of requests; request number fail_at fails. */
typedef struct {
  atomic_llong bytes, blocks, asked, fail_at;
} pool;

static void *pool_alloc(void *ud, void *block, size_t old, size_t size) {
  pool *self = ud;
  void *moved;
  check((block == NULL) == (old == 0));
  if (size > 0) {
    if (atomic_fetch_add(&self->asked, 1) + 1 == atomic_load(&self->fail_at))
      return NULL;
    moved = realloc(block, size);
    check(moved != NULL);
  } else {
    free(block);
    moved = NULL;
  }
  atomic_fetch_add(&self->bytes, (long long)size - (long long)old);
  atomic_fetch_add(&self->blocks, (block == NULL) - (size == 0));
  return moved;
}

/* Restores the allocator that the next test expects. */
static void restore(void) {
  check_int(lunado_setallocator(NULL, NULL), 0);
  lunado__set_allocator(host_core_alloc);
}

static const char script[] =
    "local loop = lunado.IOLoop.current()\n"
    "for i = 1, 100 do loop:call_later(i * 1e-5, function() end) end\n"
    "local pool <close> = lunado.concurrent.ThreadPoolExecutor(2)\n"
    "lunado.run(function()\n"
    "  local rep = function(s, n) return s:rep(n) end\n"
    "  for i = 1, 10 do\n"
    "    assert(#lunado.await(pool:submit(rep, 'x', 5000)) == 5000)\n"
    "  end\n"
    "  lunado.await(lunado.sleep(0.002))\n"
    "end)";

static void it_gets_and_gives_back_all(lua_State *L) {
  pool memory = {0};
  check_int(lunado_setallocator(pool_alloc, &memory), 0);
  L = host_open();
  host_do(L, script);
  check(atomic_load(&memory.blocks) > 0);
  host_close(L);
  check_int(atomic_load(&memory.bytes), 0);
  check_int(atomic_load(&memory.blocks), 0);
  check(atomic_load(&memory.asked) > 5);
  restore();
}

static void it_may_be_that_of_lua(lua_State *L) {
  check_int(lunado_setallocator(host_lua_alloc, NULL), 0);
  L = host_open();
  host_do(L, script);
  host_close(L);
  restore();
}

static void it_is_not_replaced_while_in_use(lua_State *L) {
  pool memory = {0};
  L = host_open();
  (void)lunado_getloop(L);
  check_int(lunado_setallocator(pool_alloc, &memory), UV_EBUSY);
  check_int(lunado_setallocator(NULL, NULL), UV_EBUSY);
  host_do(L, "lunado.run(lunado.sleep, 0)");
  check_int(atomic_load(&memory.asked), 0);
  host_close(L);
  check_int(lunado_setallocator(pool_alloc, &memory), 0);
  restore();
}

/* Runs the script with request number n failing, then again with memory.
 * Returns false if there was no n-th request. */
static bool run_without(pool *memory, long long n) {
  lua_State *L = host_open();
  bool refused;
  atomic_store(&memory->asked, 0);
  atomic_store(&memory->fail_at, n);
  (void)(luaL_dostring(L, script) == LUA_OK);
  refused = atomic_load(&memory->asked) >= n;
  atomic_store(&memory->fail_at, 0);
  lua_settop(L, 0);
  host_do(L, script);
  host_close(L);
  return refused;
}

static void it_may_refuse(lua_State *L) {
  pool memory = {0};
  (void)L;
  check_int(lunado_setallocator(pool_alloc, &memory), 0);
  for (long long n = 1; run_without(&memory, n); n++)
    check_int(atomic_load(&memory.blocks), 0);
  restore();
}

static const host_test tests[] = {
    test_alone(it_gets_and_gives_back_all),
    test_alone(it_may_be_that_of_lua),
    test_alone(it_is_not_replaced_while_in_use),
    test_alone(it_may_refuse),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
