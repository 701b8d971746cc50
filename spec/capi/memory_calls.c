/* SPDX-License-Identifier: MIT */
/*
 * memory_calls.c - no memory at any place of one call.
 *
 *   memory_calls memory_calls.lua [group]
 *
 * The script returns groups of scenarios.  Each makes something, and gives a
 * function that is called with the first allocation failing, the second, and so
 * on, and one that finds out afterwards, with memory, what became of it: a call
 * that raised has changed nothing, so that it succeeds when it is made again.
 */
#include "host.h"

static const char *script;
static bool logged; /* an error was: then the call need not raise */
static char name[120];
static int stride; /* of its places one is tried */

static bool tells_of_memory(const char *text) {
  return strstr(text, "not enough memory") != NULL ||
         strstr(text, "stack overflow") != NULL ||
         strstr(text, "too many results to unpack") != NULL;
}

static void on_log(void *ud, const char *level, const char *message) {
  (void)ud, (void)message; /* which cannot always be made then */
  logged = logged || strcmp(level, "error") == 0;
}

/* Leaves the groups on the stack. */
static void load_script(lua_State *L) {
  if (luaL_dofile(L, script) != LUA_OK)
    host_fail(__FILE__, __LINE__, script, ": %s", luaL_tolstring(L, -1, NULL));
}

/* Makes scenario number i of the group; false where there is none.  Leaves its
 * two functions on the stack, the call on top. */
static bool make(lua_State *L, const char *group, lua_Integer i) {
  load_script(L);
  if (lua_getfield(L, -1, group) != LUA_TTABLE)
    host_fail(__FILE__, __LINE__, "a group", ": %s", group);
  if (lua_rawgeti(L, -1, i) == LUA_TNIL) return false;
  lua_rawgeti(L, -1, 1);
  (void)snprintf(name, sizeof name, "%s", lua_tostring(L, -1));
  lua_rawgeti(L, -2, 3);
  stride = (int)lua_tointeger(L, -1);
  lua_rawgeti(L, -3, 2);
  if (lua_pcall(L, 0, 2, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, name, " was not made: %s",
              luaL_tolstring(L, -1, NULL));
  lua_insert(L, -2);
  return true;
}

/* Calls the function on top without memory, and pops it.  True if it raised. */
static bool call_starving(lua_State *L, long long n, long long more) {
  int status;
  logged = false;
  host_fail_at(n, more);
  status = lua_pcall(L, 0, 0, 0);
  atomic_store(&host_fail_from, 0);
  if (status == LUA_OK) return false;
  if (status != LUA_ERRMEM && !logged &&
      !tells_of_memory(luaL_tolstring(L, -1, NULL)))
    host_fail(__FILE__, __LINE__, name, " at %lld raises %s", n,
              luaL_tolstring(L, -1, NULL));
  lua_settop(L, lua_gettop(L) - 1);
  return true;
}

/* One run; false where the call needed fewer than n allocations. */
static bool run_once(const char *group, lua_Integer i, long long n,
                     long long more) {
  lua_State *L = host_open();
  bool any, raised;
  int top;
  lunado_setlog(L, on_log, NULL);
  check(make(L, group, i));
  top = lua_gettop(L) - 1;
  /* Lua gives back what stack and call records it has beyond need. */
  for (int j = 0; j < 3; j++) lua_gc(L, LUA_GCCOLLECT);
  raised = call_starving(L, n, more);
  any = atomic_load(&host_asked) >= n;
  lua_settop(L, top);
  lua_pushboolean(L, raised);
  lua_pushboolean(L, logged);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, name, " after %lld: %s", n,
              luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  host_close(L);
  return any;
}

enum { ONE = 1, ALL = 1000000000 };

static long long run_scenario(const char *group, lua_Integer i,
                              long long more) {
  long long n = 1;
  while (run_once(group, i, n, more)) n += host_haste() * stride;
  return n;
}

static void run_group(const char *group) {
  for (lua_Integer i = 1;; i++) {
    lua_State *L = host_open();
    bool any = make(L, group, i);
    host_close(L);
    if (!any) return;
    printf("%s: %s", group, name);
    (void)fflush(stdout);
    printf(", %lld", run_scenario(group, i, ONE));
    printf(" and %lld places\n", run_scenario(group, i, ALL));
  }
}

int main(int argc, char **argv) {
  lua_State *L;
  if (argc < 2) return EXIT_FAILURE;
  script = argv[1];
  lunado__set_allocator(host_core_alloc);
  check_int(uv_replace_allocator(host_uv_malloc, host_resize, host_uv_calloc,
                                 host_free),
            0);
  if (argc > 2) {
    run_group(argv[2]);
    return EXIT_SUCCESS;
  }
  L = host_open(); /* for the names of the groups */
  load_script(L);
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
    char group[60];
    (void)snprintf(group, sizeof group, "%s", lua_tostring(L, -2));
    run_group(group);
  }
  lua_close(L);
  return EXIT_SUCCESS;
}
