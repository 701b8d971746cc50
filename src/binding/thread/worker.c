/* SPDX-License-Identifier: MIT */
/*
 * worker.c - the Lua state of a worker thread.
 *
 * Invariants: between two jobs the stack is empty.  The state runs only inside
 * lua_pcall, except while it is made, collected or closed.
 */
#include "binding/thread/worker.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "binding/coroutine/received.h"
#include "binding/error/failure.h"
#include "binding/loop/uncaught.h"
#include "binding/state/open.h"
#include "binding/thread/code.h"
#include "binding/thread/decode.h"
#include "binding/thread/encode.h"
#include "core/alloc.h"

/* Kilobytes by which a state may grow before a job's end triggers a full
 * collection, because the state may then be idle for long. */
#define WORKER_SLACK 8192

struct lunado__worker {
  lua_State *L;           /* owned */
  lunado__lender *lender; /* owned */
  int limit; /* kilobytes in use, without those that are lent, that trigger a
                collection */
};

/* Registry key under which the message handler stores the traceback. */
static const char worker_traceback_key = 0;

/* --- opening -------------------------------------------------------------- */

/* Replaces os.exit: a worker must not end the process. */
static int worker_os_exit(lua_State *L) {
  return luaL_error(L, "os.exit is not allowed in a worker");
}

/* (path, cpath, filler) */
static int open_worker(lua_State *L) {
  luaL_openlibs(L);
  lunado__realm_prepare(L, lua_touserdata(L, 3));
  lunado__uncaught_none(L);
  lunado__open_preload(L);
  lunado__code_keep(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_setfield(L, -2, "path");
  lua_pushstring(L, lua_touserdata(L, 2));
  lua_setfield(L, -2, "cpath");
  lua_getglobal(L, "os");
  lua_pushcfunction(L, worker_os_exit);
  lua_setfield(L, -2, "exit");
  return 0;
}

static lua_State *new_worker_state(lunado_realm_filler filler, const char *path,
                                   const char *cpath) {
  lua_State *L = luaL_newstate();
  if (L == NULL) return NULL;
  lua_pushcfunction(L, open_worker);
  lua_pushlightuserdata(L, (void *)path);
  lua_pushlightuserdata(L, (void *)cpath);
  lua_pushlightuserdata(L, (void *)filler);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK) return L;
  lua_close(L);
  return NULL;
}

lunado__worker *lunado__worker_new(lunado_realm_filler filler, const char *path,
                                   const char *cpath) {
  lunado__worker *worker = lunado__alloc(sizeof *worker);
  if (worker == NULL) return NULL;
  worker->lender = lunado__loan_lender();
  if (worker->lender != NULL) worker->L = new_worker_state(filler, path, cpath);
  if (worker->L == NULL) {
    if (worker->lender != NULL) lunado__loan_close(worker->lender);
    lunado__free(worker);
    return NULL;
  }
  worker->limit = WORKER_SLACK;
  return worker;
}

void lunado__worker_free(lunado__worker *worker) {
  lunado__loan_close(worker->lender);
  lua_close(worker->L);
  lunado__free(worker);
}

/* --- running -------------------------------------------------------------- */

static void push_result_name(lua_State *L, const lunado__route *route, int i) {
  (void)route;
  lua_pushfstring(L, "result #%d", i + 1);
}

static void push_error_name(lua_State *L, const lunado__route *route, int i) {
  (void)route;
  (void)i;
  lua_pushliteral(L, "error");
}

static const lunado__route result_route = {
    "from a worker", push_result_name, -1, {NULL, NULL}, 0, true, 0};
static const lunado__route error_route = {
    "from a worker", push_error_name, -1, {NULL, NULL}, 0, false, 0};

/* Pushes the traceback of the error at 1.  If the job uses lunado itself, the
 * traceback includes the coroutines and Futures through which the error
 * came. */
static void push_worker_traceback(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  if (realm == NULL) {
    luaL_traceback(L, L, NULL, 1);
    return;
  }
  (void)lunado__received_raised(L, realm, 1, 1);
  lunado__failure_traceback(L, lua_gettop(L));
}

/* The message handler: stores the traceback of the error, without the last
 * line, which is run_work's. */
static int worker_handler(lua_State *L) {
  static const char last[] = "\n\t[C]: in ?";
  size_t length;
  const char *text;
  lua_settop(L, 1);
  push_worker_traceback(L);
  text = lua_tolstring(L, -1, &length);
  if (length > sizeof last &&
      strcmp(text + length - (sizeof last - 1), last) == 0)
    lua_pushlstring(L, text, length - (sizeof last - 1));
  lua_rawsetp(L, LUA_REGISTRYINDEX, &worker_traceback_key);
  lua_settop(L, 1);
  if (!lua_isnil(L, 1)) return 1;
  lua_pushliteral(L, "<no error object>");
  return 1;
}

/* Pushes the traceback that the message handler stored, or nil, and clears it.
 * [-0, +1, -] */
static void take_traceback(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &worker_traceback_key);
  if (lua_isnil(L, -1)) return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &worker_traceback_key);
}

/* (error, traceback) → parcel */
static int encode_error(lua_State *L) {
  (void)lunado__encode(L, 1, 2, &error_route);
  return 1;
}

/* Replaces the error on top by a parcel of the error and its traceback.  An
 * error that cannot be sent is replaced by its text, with the reason.
 * [-1, +1, m] */
static void pack_worker_error(lua_State *L) {
  int error = lua_gettop(L), traceback = error + 1;
  take_traceback(L);
  lua_pushcfunction(L, encode_error);
  lua_pushvalue(L, error);
  lua_pushvalue(L, traceback);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) return;
  luaL_tolstring(L, error, NULL);
  luaL_tolstring(L, -2, NULL);
  lua_pushfstring(L, "%s (%s)", lua_tostring(L, -2), lua_tostring(L, -1));
  lua_pushvalue(L, traceback);
  (void)lunado__encode(L, -2, 2, &error_route);
}

/* (work): runs the job in the parcel and replaces the parcel by the outcome. */
static int run_work(lua_State *L) {
  lunado__work *work = lua_touserdata(L, 1);
  lua_pushcfunction(L, worker_handler);
  lunado__decode(L, &work->parcel);
  lunado__parcel_free(&work->parcel);
  if (lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 2) == LUA_OK) {
    if (lua_gettop(L) == 2) return 0; /* the parcel is empty: no results */
    (void)lunado__encode(L, 3, lua_gettop(L) - 2, &result_route);
    work->loan = lunado__loan_new(L, work->lender, -1);
  } else {
    work->failed = true;
    pack_worker_error(L);
  }
  lunado__parcel_move(L, -1, &work->parcel, NULL);
  return 0;
}

/* (work, error): handles an error of run_work itself, usually that a result
 * cannot be sent. */
static int fail_work(lua_State *L) {
  lunado__work *work = lua_touserdata(L, 1);
  lua_settop(L, 2);
  pack_worker_error(L);
  lunado__parcel_move(L, -1, &work->parcel, NULL);
  return 0;
}

static int kilobytes_in_use(const lunado__worker *worker) {
  return lua_gc(worker->L, LUA_GCCOUNT) -
         lunado__loan_kilobytes(worker->lender);
}

static void collect_worker(lunado__worker *worker) {
  if (kilobytes_in_use(worker) < worker->limit) return;
  lua_gc(worker->L, LUA_GCCOLLECT);
  worker->limit = 2 * kilobytes_in_use(worker) + WORKER_SLACK;
}

void lunado__worker_rest(lunado__worker *worker) {
  lunado__loan_collect(worker->L, worker->lender);
  collect_worker(worker);
}

void lunado__worker_run(lunado__worker *worker, lunado__work *work) {
  lua_State *L;
  work->failed = worker == NULL;
  work->loan = NULL;
  if (worker == NULL) {
    lunado__parcel_free(&work->parcel);
    return;
  }
  L = worker->L;
  work->lender = worker->lender;
  lunado__loan_collect(L, worker->lender);
  lua_pushcfunction(L, run_work);
  lua_pushlightuserdata(L, work);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    work->failed = true;
    lunado__parcel_free(&work->parcel);
    lua_pushcfunction(L, fail_work);
    lua_pushlightuserdata(L, work);
    lua_rotate(L, 1, -1);
    (void)lua_pcall(L, 2, 0, 0);
  }
  lua_settop(L, 0);
  lua_sethook(L, NULL, 0, 0); /* remove a hook that the job has set */
  collect_worker(worker);
}
