/* SPDX-License-Identifier: MIT */
/*
 * capi.c - lunado.h in terms of the binding.
 *
 * Each function checks the host's arguments before it changes anything.
 */
#include "binding/host/capi.h"

#include <string.h>

#include "binding/coroutine/await.h"
#include "binding/coroutine/cancel.h"
#include "binding/coroutine/canceller.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/received.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/future/ticket.h"
#include "binding/future/untie.h"
#include "binding/loop/guest.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/promise.h"
#include "binding/loop/runsync.h"
#include "binding/module.h"
#include "binding/state/argument.h"
#include "core/alloc.h"
#include "core/handle.h"

/* --- arguments of hosts -------------------------------------------------- */

/* The pseudo-indices of upvalues are above this index. */
#define LAST_PSEUDO_INDEX (LUA_REGISTRYINDEX - 256)

/* Returns whether a C function is running, and so may have upvalues.  Lua looks
 * for upvalues without this check. */
static bool has_upvalues(lua_State *L) {
  lua_Debug ar;
  return lua_getstack(L, 0, &ar) && lua_getinfo(L, "S", &ar) && *ar.what == 'C';
}

int lunado__capi_index(lua_State *L, int idx) {
  int top = lua_gettop(L);
  if (idx > 0) return idx <= top ? idx : 0;
  if (idx >= -top) return idx == 0 ? 0 : top + idx + 1;
  if (idx == LUA_REGISTRYINDEX) return idx;
  if (idx > LUA_REGISTRYINDEX || idx <= LAST_PSEUDO_INDEX) return 0;
  return has_upvalues(L) ? idx : 0;
}

lunado_future *lunado__capi_future(lua_State *L, lunado_realm *realm,
                                   int *idx) {
  lunado_future *future = NULL;
  int given = *idx;
  *idx = lunado__capi_index(L, given);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (*idx != 0) future = lunado__tofuture(L, realm, *idx);
  if (future != NULL) return future;
  if (*idx > 0) luaL_typeerror(L, *idx, "future");
  luaL_error(L, "no future at index %d (got %s)", given,
             *idx != 0 ? luaL_typename(L, *idx) : "no value");
  return NULL;
}

/* Raises unless there are n values above the one at idx. */
static void check_count(lua_State *L, int idx, int n) {
  int above = idx > 0 ? lua_gettop(L) - idx : lua_gettop(L);
  if (n < 0 || n > above)
    luaL_error(L, "%d values expected above the future, got %d", n, above);
}

/* Raises unless there is a function below nargs arguments. */
static void check_call(lua_State *L, int nargs) {
  if (nargs < 0 || nargs >= lua_gettop(L))
    luaL_error(L, "no function below %d arguments", nargs);
}

/* --- version ------------------------------------------------------------- */

int lunado_version(void) { return LUNADO_VERSION_NUM; }

/* --- memory -------------------------------------------------------------- */

int lunado_setallocator(lua_Alloc fn, void *ud) {
  return lunado__set_host_allocator(fn, ud);
}

/* --- closing ------------------------------------------------------------- */

int lunado_close(lua_State *L) {
  const lunado_realm *realm = lunado__realm_find(L);
  lua_State *main = realm != NULL ? realm->main : L;
  lua_Debug ar;
  if (lua_getstack(L, 0, &ar) || lua_getstack(main, 0, &ar)) return UV_EBUSY;
  lua_close(main);
  return 0;
}

/* --- the loop ------------------------------------------------------------ */

int lunado_setloop(lua_State *L, uv_loop_t *uv) {
  lunado_realm *realm = lunado__module_realm(L);
  if (realm->loops.default_loop != NULL) return UV_EBUSY;
  realm->loops.host_uv = uv;
  return 0;
}

uv_loop_t *lunado_getloop(lua_State *L) {
  return lunado__ioloop_default(L, lunado__module_realm(L))->core->uv;
}

lunado_loop *lunado_looponly(lua_State *L) {
  lunado_loop *core = lunado__ioloop_default(L, lunado__module_realm(L))->core;
  lunado_loopid id;
  if (core->closed) luaL_error(L, "the IOLoop is closed");
  if (lunado_loop_open_posts(core) < 0) luaL_error(L, "not enough memory");
  if (lunado_loopid_get(core, &id) < 0)
    luaL_error(L, "too many IOLoops are known to other threads");
  return (lunado_loop *)(uintptr_t)id;
}

static void wake_only(void *arg) { (void)arg; }

int lunado_post(lunado_loop *handle, void (*fn)(void *arg), void *arg) {
  lunado_loopid id = (lunado_loopid)(uintptr_t)handle;
  lunado_loop *core = lunado_loopid_enter(id);
  int rc;
  if (core == NULL) return UV_ECANCELED;
  rc = lunado_loop_post(core, fn != NULL ? fn : wake_only, arg);
  lunado_loopid_leave(id);
  return rc;
}

void lunado_setslice(lua_State *L, double seconds) {
  lunado_ioloop *loop = lunado__ioloop_default(L, lunado__module_realm(L));
  lunado__ioloop_setslice(L, loop, seconds);
}

int lunado_ishandle(const uv_handle_t *handle) {
  return lunado__handle_is_ours(handle);
}

void lunado_setlog(lua_State *L, lunado_log_fn *fn, void *ud) {
  lunado_realm *realm = lunado__module_realm(L);
  realm->logging.host_log = fn;
  realm->logging.host_log_data = ud;
}

/* --- futures ------------------------------------------------------------- */

void lunado_newfuture(lua_State *L) {
  lunado_realm *realm = lunado__module_realm(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
}

int lunado_isfuture(lua_State *L, int idx) {
  const lunado_realm *realm = lunado__realm_find(L);
  idx = lunado__capi_index(L, idx);
  return realm != NULL && idx != 0 && lunado__tofuture(L, realm, idx) != NULL;
}

int lunado_setresult(lua_State *L, int idx, int nvalues) {
  lunado_realm *realm = lunado__module_realm(L);
  lunado_future *future = lunado__capi_future(L, realm, &idx);
  check_count(L, idx, nvalues);
  if (!lunado_future_pending(future)) {
    lua_pop(L, nvalues);
    return UV_EALREADY;
  }
  lunado__future_pack(L, nvalues);
  if (!lunado_future_pending(future)) { /* a finalizer has settled it */
    lua_pop(L, 1);
    return UV_EALREADY;
  }
  future->count = (uint32_t)nvalues;
  lunado__settle(L, realm, idx, LUNADO_DONE);
  lunado__untie_tied(L, realm, idx, future);
  return 0;
}

int lunado_seterror(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  lunado_future *future = lunado__capi_future(L, realm, &idx);
  bool pending;
  check_count(L, idx, 1);
  pending = lunado_future_pending(future);
  (void)lunado__received_handed(L, realm, -1, 0);
  lua_remove(L, -2);
  lunado__settle_failed(L, realm, idx);
  return pending ? 0 : UV_EALREADY;
}

int lunado_result(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  lunado_future *future = lunado__capi_future(L, realm, &idx);
  if ((future->flags & LUNADO_IS_WITHDRAWN) && lunado_future_pending(future))
    lunado__ticket_ask(L, idx);
  if (lunado_future_pending(future)) return -2;
  if (future->state == LUNADO_DONE) return lunado__future_push_results(L, idx);
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado__received_throw(L, realm);
  return -1;
}

/* --- coroutines ---------------------------------------------------------- */

int lunado_spawn(lua_State *L, int nargs) {
  lunado_realm *realm = lunado__module_realm(L);
  check_call(L, nargs);
  lunado__coroutine_spawn(L, realm, nargs);
  return 0;
}

int lunado_cancel(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  bool cancelled;
  (void)lunado__capi_future(L, realm, &idx);
  lua_pushnil(L);
  cancelled = lunado__cancel_future(L, realm, idx, -1, 0);
  lua_pop(L, 1);
  return cancelled;
}

void lunado_setcanceller(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  (void)lunado__capi_future(L, realm, &idx);
  check_count(L, idx, 1);
  if (!lua_isnil(L, -1)) lunado__checkcallable(L, lua_gettop(L));
  lunado__canceller_set(L, realm, idx);
}

typedef struct {
  double timeout;
  int status; /* of the function; unused if the run itself raises */
} sync_run;

/* (run, function, ...) → the results, or the error if run->status is not
 * LUA_OK */
static int run_protected(lua_State *L) {
  sync_run *run = lua_touserdata(L, 1);
  lunado_ioloop *loop = lunado__ioloop_default(L, lunado__module_realm(L));
  lunado__ioloop_checkidle(L, loop);
  lua_pushboolean(L, 0);
  lunado__setslot(L, loop->realm, LUNADO_SLOT_RUN_FAILED);
  run->status = lunado__runsync(L, loop, lua_gettop(L) - 2, run->timeout);
  if (run->status != LUA_OK) {
    lua_pushvalue(L, 2);
    lunado__setslot(L, loop->realm, LUNADO_SLOT_RUN_FAILED);
    lunado__failure_observe(L, 2);
  }
  return run->status != LUA_OK ? 1 : lua_gettop(L) - 1;
}

/* Lua's own message.  The status LUA_ERRMEM is lost when a Failure passes the
 * error on, but this message is kept. */
#define MEMORY_ERROR "not enough memory"

static bool is_memory_error(lua_State *L) {
  return lua_type(L, -1) == LUA_TSTRING &&
         strcmp(lua_tostring(L, -1), MEMORY_ERROR) == 0;
}

int lunado_runsync(lua_State *L, int nargs, double timeout) {
  sync_run run = {timeout, LUA_OK};
  int status;
  check_call(L, nargs);
  if (!lua_checkstack(L, 2)) {
    lua_settop(L, -(nargs + 2));
    lua_pushliteral(L, MEMORY_ERROR);
    return LUA_ERRMEM;
  }
  lua_pushcfunction(L, run_protected);
  lua_pushlightuserdata(L, &run);
  lua_rotate(L, -(nargs + 3), 2);
  status = lua_pcall(L, nargs + 2, LUA_MULTRET, 0);
  if (status == LUA_OK) status = run.status;
  return status != LUA_OK && is_memory_error(L) ? LUA_ERRMEM : status;
}

/* The continuation of lunado_awaitk.  The lowest `top` values are those of the
 * caller.  Above them are the caller's continuation and context, the Future and
 * the results. */
static int awaited(lua_State *L, int status, lua_KContext top) {
  lunado_realm *realm = lunado__module_realm(L);
  lua_KFunction k =
      (lua_KFunction)(void (*)(void))lua_tocfunction(L, (int)top + 1);
  lua_KContext ctx = (lua_KContext)lua_touserdata(L, (int)top + 2);
  (void)lunado__await_result(L, realm, (int)top + 2);
  lua_rotate(L, (int)top + 1, -3);
  lua_pop(L, 3);
  return k != NULL ? k(L, status, ctx) : lua_gettop(L) - (int)top;
}

int lunado_awaitk(lua_State *L, int idx, lua_KContext ctx, lua_KFunction k) {
  lunado_realm *realm = lunado__module_realm(L);
  lunado_future *future = lunado__capi_future(L, realm, &idx);
  int top = lua_gettop(L), count;
  if (lunado_future_pending(future) || (future->flags & LUNADO_IS_MOMENT)) {
    lua_pushcfunction(L, (lua_CFunction)(void (*)(void))k);
    lua_pushlightuserdata(L, (void *)ctx);
    return lunado__await(L, realm, idx, top, awaited);
  }
  if (future->state == LUNADO_FAILED) return lunado__await_raise(L, realm, idx);
  count = lunado__future_push_results(L, idx);
  return k != NULL ? k(L, LUA_OK, ctx) : count;
}

lunado_promise *lunado_newpromise(lua_State *L, int idx) {
  lunado_realm *realm = lunado__module_realm(L);
  (void)lunado__capi_future(L, realm, &idx);
  return lunado__promise_new(L, realm, idx);
}

/* --- handles of C modules ------------------------------------------------- */

lunado_guest *lunado_newguest(lua_State *L,
                              void (*on_close)(lua_State *L, void *ud),
                              void *ud) {
  return lunado__guest_new(L, lunado__module_realm(L), on_close, ud);
}

uv_loop_t *lunado_guest_getloop(const lunado_guest *guest) {
  return lunado__guest_uv(guest);
}

void *lunado_guest_newhandle(lunado_guest *guest, size_t size) {
  return lunado__guest_newhandle(guest, size);
}

void lunado_guest_closehandle(void *handle) {
  lunado__guest_closehandle(handle);
}

int lunado_guest_call(lunado_guest *guest, lua_CFunction fn, void *ud) {
  return lunado__guest_call(guest, fn, ud);
}

void lunado_guest_leave(lunado_guest *guest) { lunado__guest_leave(guest); }
