/* SPDX-License-Identifier: MIT */
/*
 * host.h - functions that the hosts of this folder share.
 *
 * A host is a program with a list of tests.  A failed check ends the program.
 * All memory is counted; allocations of the Lua states and of the core fail on
 * command.
 */
#ifndef LUNADO_SPEC_CAPI_HOST_H
#define LUNADO_SPEC_CAPI_HOST_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

#include "core/alloc.h"
#include "compiled.h"

/* --- checks -------------------------------------------------------------- */

#define check(expr) \
  ((expr) ? (void)0 : host_fail(__FILE__, __LINE__, #expr, ""))
#define check_int(actual, expected) \
  host_check_int(__FILE__, __LINE__, #actual, (long long)(actual), \
                 (long long)(expected))
#define check_text(actual, expected) \
  host_check_text(__FILE__, __LINE__, #actual, actual, expected)

/* Prints a message and ends the program; `format` and the further arguments are
 * printf's. */
_Noreturn static inline void host_fail(const char *file, int line,
                                       const char *what, const char *format,
                                       ...) {
  va_list args;
  fprintf(stderr, "%s:%d: failed: %s", file, line, what);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(EXIT_FAILURE);
}

static inline void host_check_int(const char *file, int line, const char *what,
                                  long long actual, long long expected) {
  if (actual != expected)
    host_fail(file, line, what, " is %lld, not %lld", actual, expected);
}

/* Passes if `actual` contains `expected`. */
static inline void host_check_text(const char *file, int line, const char *what,
                                   const char *actual, const char *expected) {
  if (actual == NULL) actual = "(no string)";
  if (strstr(actual, expected) == NULL)
    host_fail(file, line, what, " is \"%s\", without \"%s\"", actual, expected);
}

/* --- memory -------------------------------------------------------------- */

/* The memory in use, by all states of the process, the core and libuv. */
static atomic_llong host_bytes;
static atomic_llong host_blocks;
static atomic_llong host_asked; /* requested allocations */

/* The requested allocations number fail_from to fail_to fail; 0: none. */
static atomic_llong host_fail_from;
static atomic_llong host_fail_to;

/* Whose requests are numbered and may fail. */
enum { HOST_LUA = 1, HOST_CORE = 2 };
static atomic_int host_failing = HOST_LUA | HOST_CORE;

static inline bool host_fails_now(int whose) {
  long long from = atomic_load(&host_fail_from), n;
  if (!(atomic_load(&host_failing) & whose)) return false;
  n = atomic_fetch_add(&host_asked, 1) + 1;
  return from > 0 && n >= from && n <= atomic_load(&host_fail_to);
}

static inline void host_count(long long bytes, long long blocks) {
  atomic_fetch_add(&host_bytes, bytes);
  atomic_fetch_add(&host_blocks, blocks);
}

/* The allocator for lua_newstate. */
static inline void *host_lua_alloc(void *ud, void *block, size_t old,
                                   size_t size) {
  void *moved;
  (void)ud;
  if (block == NULL) old = 0;
  if (size == 0) {
    if (block != NULL) host_count(-(long long)old, -1);
    free(block);
    return NULL;
  }
  if (size > old && host_fails_now(HOST_LUA)) return NULL;
  moved = realloc(block, size);
  if (moved == NULL) return NULL;
  host_count((long long)size - (long long)old, block == NULL ? 1 : 0);
  return moved;
}

/* Resizes or frees a block whose old size is not passed: a header stores it. */
static inline void *host_resize(void *block, size_t size) {
  size_t *old = block != NULL ? (size_t *)block - 2 : NULL;
  size_t old_size = old != NULL ? *old : 0;
  size_t *moved = realloc(old, size + 2 * sizeof *moved);
  if (moved == NULL) return NULL;
  host_count((long long)size - (long long)old_size, old == NULL ? 1 : 0);
  *moved = size;
  return moved + 2;
}

static inline void host_free(void *block) {
  size_t *old = block != NULL ? (size_t *)block - 2 : NULL;
  if (old != NULL) host_count(-(long long)*old, -1);
  free(old);
}

/* The allocator for the core. */
static inline void *host_core_alloc(void *block, size_t size) {
  if (size > 0)
    return host_fails_now(HOST_CORE) ? NULL : host_resize(block, size);
  host_free(block);
  return NULL;
}

/* The allocator for libuv.  It never fails, because libuv aborts the process if
 * it has no memory for a descriptor. */
static inline void *host_uv_malloc(size_t size) {
  return host_resize(NULL, size);
}

static inline void *host_uv_calloc(size_t count, size_t size) {
  void *block = host_resize(NULL, count * size);
  return block != NULL ? memset(block, 0, count * size) : NULL;
}

/* Makes the n-th allocation from now on, and the `more` next ones, fail. */
static inline void host_fail_at(long long n, long long more) {
  atomic_store(&host_asked, 0);
  atomic_store(&host_fail_to, n + more);
  atomic_store(&host_fail_from, n);
}

/* --- states -------------------------------------------------------------- */

/* Opens the standard libraries, and lunado as a global; require cannot find
 * files. */
static inline int host_open_libs(lua_State *L) {
  luaL_openlibs(L);
  compiled_use(L);
  luaL_requiref(L, "lunado", luaopen_lunado, 1);
  lua_getglobal(L, "package");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "path");
  lua_pushliteral(L, "");
  lua_setfield(L, -2, "cpath");
  lua_settop(L, 0);
  return 0;
}

/* Keeps luv loaded until the end of the process.  Each time luv is loaded
 * again, it takes a thread-specific key of the process and does not release
 * it. */
static inline void host_keep_luv(void) {
  static lua_State *keeper;
  if (keeper != NULL) return;
  keeper = luaL_newstate();
  check(keeper != NULL);
  luaL_openlibs(keeper);
  (void)luaL_dostring(keeper, "require 'luv'");
}

/* Makes the collector incremental, with parameters as Lua 5.4 has them: `step`
 * is the logarithm of a step's bytes.  In Lua 5.5 a step that comes to less than
 * one unit of work would be a whole collection. */
static inline void host_incremental(lua_State *L, int pause, int multiplier,
                                    int step) {
#if LUA_VERSION_NUM >= 505
  lua_gc(L, LUA_GCINC);
  lua_gc(L, LUA_GCPARAM, LUA_GCPPAUSE, pause);
  lua_gc(L, LUA_GCPARAM, LUA_GCPSTEPMUL, multiplier < 100 ? 100 : multiplier);
  lua_gc(L, LUA_GCPARAM, LUA_GCPSTEPSIZE, 1 << (step < 6 ? 6 : step));
#else
  lua_gc(L, LUA_GCINC, pause, multiplier, step);
#endif
}

/* Sets the mode of the collector that LUNADO_GC names; see spec/helper.lua. */
static inline void host_set_collector(lua_State *L) {
  const char *mode = getenv("LUNADO_GC");
  if (mode == NULL || strcmp(mode, "incremental") == 0) return;
  if (strcmp(mode, "generational") == 0)
    lua_gc(L, LUA_GCGEN, 0, 0);
  else if (strcmp(mode, "stress") == 0)
    host_incremental(L, 10, 400, 13);
  else if (strcmp(mode, "tiny") == 0)
    host_incremental(L, 100, 100, 6);
  else
    host_fail(__FILE__, __LINE__, "LUNADO_GC", " is %s", mode);
}

static inline lua_State *host_new(void) {
#if LUA_VERSION_NUM >= 505
  lua_State *L = lua_newstate(host_lua_alloc, NULL, luaL_makeseed(NULL));
#else
  lua_State *L = lua_newstate(host_lua_alloc, NULL);
#endif
  check(L != NULL);
  host_set_collector(L);
  return L;
}

static inline lua_State *host_open(void) {
  lua_State *L = host_new();
  lua_pushcfunction(L, host_open_libs);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, "opening lunado", ": %s",
              lua_tostring(L, -1));
  return L;
}

/* Runs a chunk, which must succeed, and leaves its results on the stack. */
static inline int host_do(lua_State *L, const char *chunk) {
  int top = lua_gettop(L);
  if (luaL_dostring(L, chunk) != LUA_OK)
    host_fail(__FILE__, __LINE__, chunk, "\n%s", luaL_tolstring(L, -1, NULL));
  return lua_gettop(L) - top;
}

/* (depth, allocations, function, ...): calls itself `depth` times, then the
 * function with memory for so many allocations. */
static inline int host_call_starving(lua_State *L) {
  lua_Integer depth = lua_tointeger(L, 1);
  int status;
  if (depth > 0) {
    lua_pushcfunction(L, host_call_starving);
    lua_insert(L, 1);
    lua_pushinteger(L, depth - 1);
    lua_replace(L, 2);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
  }
  host_fail_at(lua_tointeger(L, 2) + 1, 1000000);
  status = lua_pcall(L, lua_gettop(L) - 3, 0, 0);
  host_fail_at(0, 0);
  check(status == LUA_OK || status == LUA_ERRMEM);
  return 0;
}

/* Calls the function below the nargs arguments with memory for `allocations`
 * allocations only, `depth` calls deep: at a depth that Lua has not reached
 * before, even a call needs memory.  Checks that no error except lack of memory
 * is raised; leaves no result. */
static inline void host_starve(lua_State *L, int nargs, int depth,
                               int allocations) {
  lua_pushcfunction(L, host_call_starving);
  lua_pushinteger(L, depth);
  lua_pushinteger(L, allocations);
  lua_rotate(L, -(nargs + 4), 3);
  lua_call(L, nargs + 3, 0);
}

/* Closes the state and checks that no memory is in use. */
static inline void host_close(lua_State *L) {
  lua_close(L);
  check_int(atomic_load(&host_blocks), 0);
  check_int(atomic_load(&host_bytes), 0);
}

/* Calls a C function and checks that it raises an error which contains the
 * text. */
static inline void host_check_raises(lua_State *L, lua_CFunction function,
                                     const char *text) {
  lua_pushcfunction(L, function);
  check_int(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), text);
  lua_pop(L, 1);
}

/* --- logs ---------------------------------------------------------------- */

/* Counts log messages and keeps the last one. */
typedef struct {
  int count;
  char last[400];
} host_log;

static inline void host_on_log(void *ud, const char *level,
                               const char *message) {
  host_log *self = ud;
  self->count++;
  (void)snprintf(self->last, sizeof self->last, "%s: %s", level, message);
}

/* Returns LUNADO_SCALE, a number that ctest sets if a checker makes each step
 * slow; else 1. */
static inline int host_scale(void) {
  const char *scale = getenv("LUNADO_SCALE");
  int n = scale != NULL ? atoi(scale) : 1;
  return n > 1 ? n : 1;
}

/* Returns n divided by the scale: how often to repeat something that takes
 * time. */
static inline int host_times(int n) {
  return (n + host_scale() - 1) / host_scale();
}

/* --- tests --------------------------------------------------------------- */

/* A test gets a state, which is closed afterwards.  A test_alone gets NULL and
 * opens its own states. */
typedef struct {
  const char *name;
  void (*run)(lua_State *L);
  bool alone;
} host_test;

#define test(function) \
  { #function, function, false }
#define test_alone(function) \
  { #function, function, true }

static inline void host_run(const host_test *self) {
  lua_State *L = self->alone ? NULL : host_open();
  printf("%s\n", self->name);
  (void)fflush(stdout);
  self->run(L);
  if (L != NULL) host_close(L);
}

/* To be called first: counts memory from now on, and prepares what makes new
 * states cheap under a checker. */
static inline void host_begin(void) {
  lunado__set_allocator(host_core_alloc);
  check_int(uv_replace_allocator(host_uv_malloc, host_resize, host_uv_calloc,
                                 host_free),
            0);
  if (host_scale() > 1) compiled_begin();
}

/* Runs all tests, or only the test whose name is the program's argument. */
static inline int host_main(int argc, char **argv, const host_test *tests,
                            size_t count) {
  host_begin();
  for (size_t i = 0; i < count; i++)
    if (argc < 2 || strcmp(argv[1], tests[i].name) == 0) host_run(&tests[i]);
  return EXIT_SUCCESS;
}

#define run_tests(argc, argv, tests) \
  host_main(argc, argv, tests, sizeof tests / sizeof tests[0])

#endif
