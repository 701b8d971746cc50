/* SPDX-License-Identifier: MIT */
/* system.c - what lunado.process asks of the system. */
#include "binding/process/system.h"

#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "core/system.h"

/* Longer names of programs are cut off by no system that libuv knows. */
#define PATH_SIZE 4096

/* cpu_count() → the number of processors that this process may use. */
static int core_cpu_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lunado_system_processors());
  return 1;
}

typedef struct {
  uv_env_item_t *items; /* NULL: none */
  int count;
} environment;

static int environment__gc(lua_State *L) {
  environment *self = lua_touserdata(L, 1);
  if (self->items != NULL) uv_os_free_environ(self->items, self->count);
  self->items = NULL;
  return 0;
}

/* environ() → a list of the texts "NAME=value". */
static int core_environ(lua_State *L) {
  environment *self = lunado__class_private(
      L, sizeof *self, 0, "lunado.environment", environment__gc);
  int rc = uv_os_environ(&self->items, &self->count);
  if (rc < 0) {
    lunado__uverror_pushtext(L, rc);
    return lua_error(L);
  }
  lua_createtable(L, self->count, 0);
  for (int i = 0; i < self->count; i++) {
    const uv_env_item_t *item = &self->items[i];
    lua_pushfstring(L, "%s=%s", item->name, item->value);
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

/* can_pass_sockets() → whether a program can get a socket of this process as a
 * descriptor. */
static int core_can_pass_sockets(lua_State *L) {
  lua_pushboolean(L, lunado_system_has_socket_descriptors());
  return 1;
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
    {"can_pass_sockets", core_can_pass_sockets},
    {"is_any_loop_running", core_is_any_loop_running},
    {NULL, NULL}};

void lunado__system_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
