/* SPDX-License-Identifier: MIT */
/*
 * memory_calls.c - every allocation of one call fails once.
 *
 *   memory_calls memory_calls.lua [group]
 *
 * The script returns groups of scenarios.  Each sets up objects and returns two
 * functions.  The first function is called with the first allocation failing,
 * then with the second, and so on.  The other function checks the result
 * afterwards, with memory: a call that raised must have changed nothing, so it
 * succeeds when it is repeated.  Allocations of Lua and of the core fail
 * together and separately (under a checker, which is slow, not of Lua alone).
 */
#include "places.h"

static char *code; /* the script, compiled once for all states */
static size_t code_size;
static bool logged; /* an error was logged, so the call need not raise */
static char name[120];

static void on_log(void *ud, const char *level, const char *message) {
  (void)ud, (void)message; /* the message may be missing when memory is short */
  logged = logged || strcmp(level, "error") == 0;
}

static int keep_code(lua_State *L, const void *piece, size_t size, void *ud) {
  (void)L, (void)ud;
  code = realloc(code, code_size + size);
  check(code != NULL);
  memcpy(code + code_size, piece, size);
  code_size += size;
  return 0;
}

static void compile(const char *script) {
  lua_State *L = luaL_newstate();
  check(L != NULL);
  if (luaL_loadfile(L, script) != LUA_OK)
    host_fail(__FILE__, __LINE__, script, ": %s", lua_tostring(L, -1));
  check_int(lua_dump(L, keep_code, NULL, 0), 0);
  lua_close(L);
}

/* Pushes the table of groups.  The script loads luv if the wanted group needs
 * it. */
static void load_script(lua_State *L, const char *wanted) {
  if (luaL_loadbuffer(L, code, code_size, "script") != LUA_OK)
    host_fail(__FILE__, __LINE__, "the script", " cannot be loaded");
  lua_pushstring(L, wanted);
  lua_pushliteral(L, LUA_CPATH_DEFAULT);
  if (lua_pcall(L, 2, 1, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, "the script", ": %s",
              luaL_tolstring(L, -1, NULL));
}

/* Makes scenario number i of the group; false if there is none.  Leaves its two
 * functions on the stack, with the call on top. */
static bool make(lua_State *L, const char *group, lua_Integer i) {
  load_script(L, group);
  if (lua_getfield(L, -1, group) != LUA_TTABLE)
    host_fail(__FILE__, __LINE__, "a group", ": %s", group);
  if (lua_rawgeti(L, -1, i) == LUA_TNIL) return false;
  lua_rawgeti(L, -1, 1);
  (void)snprintf(name, sizeof name, "%s: %s", group, lua_tostring(L, -1));
  lua_rawgeti(L, -2, 2);
  if (lua_pcall(L, 0, 2, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, name, " was not made: %s",
              luaL_tolstring(L, -1, NULL));
  lua_insert(L, -2);
  return true;
}

/* Calls the function on top with an allocation failing, and pops it.  True if
 * it raised. */
static bool call_starving(lua_State *L, places *tried, int more) {
  int status;
  logged = false;
  places_fail(tried, name, more);
  status = lua_pcall(L, 0, 0, 0);
  places_end(tried);
  if (status == LUA_OK) return false;
  if (status != LUA_ERRMEM && !logged &&
      !places_explain_error(L))
    host_fail(__FILE__, __LINE__, name, " at %lld raises %s", tried->n,
              luaL_tolstring(L, -1, NULL));
  lua_settop(L, lua_gettop(L) - 1);
  return true;
}

static void run_once(const char *group, lua_Integer i, places *tried,
                     int more) {
  lua_State *L = host_open();
  bool raised;
  int top;
  lunado_setlog(L, on_log, NULL);
  check(make(L, group, i));
  top = lua_gettop(L) - 1;
  /* Collections make Lua free unused stack space and call records. */
  for (int j = 0; j < 3; j++) lua_gc(L, LUA_GCCOLLECT);
  raised = call_starving(L, tried, more);
  lua_settop(L, top);
  lua_pushboolean(L, raised);
  lua_pushboolean(L, logged);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, name, " after %lld: %s", tried->n,
              luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  host_close(L);
}

enum { BETWEEN = 60 };

static void run_scenario(const char *group, lua_Integer i, int failing,
                         int more) {
  places tried;
  places_begin(&tried, BETWEEN);
  atomic_store(&host_failing, failing);
  while (places_next(&tried)) run_once(group, i, &tried, more);
  atomic_store(&host_failing, HOST_LUA | HOST_CORE);
  printf(", %d of %lld", tried.tried, tried.total);
}

/* A checker that makes each step slow tries each scenario in one way. */
static void run_all(const char *group, lua_Integer i) {
  if (host_scale() >= PLACES_GREAT_SCALE) {
    run_scenario(group, i, HOST_LUA | HOST_CORE,
                 i % 2 == 0 ? PLACES_ONE : PLACES_MANY);
    return;
  }
  run_scenario(group, i, HOST_LUA | HOST_CORE, PLACES_ONE);
  run_scenario(group, i, HOST_LUA | HOST_CORE, PLACES_MANY);
  run_scenario(group, i, HOST_LUA, PLACES_MANY);
  run_scenario(group, i, HOST_CORE, PLACES_MANY);
}

static void run_group(const char *group) {
  for (lua_Integer i = 1;; i++) {
    lua_State *L = host_open();
    bool any = make(L, group, i);
    host_close(L);
    if (!any) return;
    printf("%s", name);
    (void)fflush(stdout);
    run_all(group, i);
    puts(" places");
  }
}

int main(int argc, char **argv) {
  lua_State *L;
  if (argc < 2) return EXIT_FAILURE;
  compile(argv[1]);
  host_keep_luv();
  host_begin();
  if (argc > 2) {
    run_group(argv[2]);
    return EXIT_SUCCESS;
  }
  L = host_open(); /* for the names of the groups */
  load_script(L, NULL);
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
    char group[60];
    (void)snprintf(group, sizeof group, "%s", lua_tostring(L, -2));
    run_group(group);
  }
  lua_close(L);
  return EXIT_SUCCESS;
}
