/* SPDX-License-Identifier: MIT */
/* system.c - what lunado.process asks of the system. */
#include "binding/process/system.h"

#include "binding/state/uverror.h"

/* Libraries of macOS cannot name the variable itself. */
#ifdef __APPLE__
char ***_NSGetEnviron(void);
static char **variables(void) { return *_NSGetEnviron(); }
#else
extern char **environ;
static char **variables(void) { return environ; }
#endif

/* Longer names of programs are cut off by no system that libuv knows. */
#define PATH_SIZE 4096

/* cpu_count() → the number of processors that this process may use. */
static int core_cpu_count(lua_State *L) {
#if UV_VERSION_HEX >= 0x012c00
  lua_pushinteger(L, (lua_Integer)uv_available_parallelism());
#else
  uv_cpu_info_t *cpus;
  int count = 0;
  if (uv_cpu_info(&cpus, &count) == 0) uv_free_cpu_info(cpus, count);
  lua_pushinteger(L, count > 0 ? count : 1);
#endif
  return 1;
}

/* environ() → a list of the texts "NAME=value". */
static int core_environ(lua_State *L) {
  char **list = variables();
  lua_newtable(L);
  for (lua_Integer i = 0; list != NULL && list[i] != NULL; i++) {
    lua_pushstring(L, list[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* exepath() → the path of the program that this process runs; nil and an
 * error. */
static int core_exepath(lua_State *L) {
  char path[PATH_SIZE];
  size_t size = sizeof path;
  int rc = uv_exepath(path, &size);
  if (rc < 0) return lunado__uverror_pushresults(L, rc);
  lua_pushlstring(L, path, size);
  return 1;
}

/* signal_self(number): sends this process a signal. */
static int core_signal_self(lua_State *L) {
  (void)uv_kill((int)uv_os_getpid(), (int)luaL_checkinteger(L, 1));
  return 0;
}

/* is_any_loop_running() → whether a loop of this state runs. */
static int core_is_any_loop_running(lua_State *L) {
  const lunado_link *all = &lunado__realm_upvalue(L)->loops.cores;
  bool running = false;
  for (const lunado_link *link = all->next; link != all; link = link->next)
    running = running ||
              lunado_loop_running(lunado_container_of(link, lunado_loop, kin));
  lua_pushboolean(L, running);
  return 1;
}

static const luaL_Reg functions[] = {
    {"cpu_count", core_cpu_count},
    {"environ", core_environ},
    {"exepath", core_exepath},
    {"signal_self", core_signal_self},
    {"is_any_loop_running", core_is_any_loop_running},
    {NULL, NULL}};

void lunado__system_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
