/* SPDX-License-Identifier: MIT */
/*
 * luv.c - one uv_loop_t for luv and lunado, whichever came first.
 *
 * luv first: its uv_loop_t is borrowed.  lunado first: luv is given the one of
 * the default loop before it is opened, and from then on that uv_loop_t is
 * kept here, since luv goes on with it when the IOLoop is closed.
 *
 * Invariant: while luv is tied, its table is in LUNADO_SLOT_LUV, its callbacks
 * run on the main thread, and those that fail end in the default loop's
 * handle_callback_exception.
 */
#include "binding/luv/luv.h"

#include "binding/loop/drive.h"
#include "binding/loop/ioloop.h"
#include "binding/luv/attachment.h"
#include "binding/state/realm.h"
#include "core/jump.h"
#include "core/poll.h"

/* What luv's runners are asked for beside the call: leave the process alone,
 * whatever happens. */
#define NO_EXIT 0x01

static lunado_luv_context *find_context(lua_State *L) {
  lunado_luv_context *context;
  lua_getfield(L, LUA_REGISTRYINDEX, "luv_context");
  context = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return context;
}

lunado_ioloop *lunado__luv_sharer(const lunado_realm *realm) {
  lunado_ioloop *loop = realm->instance;
  if (!lunado__luv_istied(realm->luv) || loop == NULL || loop->closed)
    return NULL;
  return loop->core->uv == realm->luv->uv ? loop : NULL;
}

/* --- luv's callbacks ------------------------------------------------------ */

/* Calls for luv as the loop calls: in no coroutine and in no stack context,
 * with errors brought to the loop, which the stack holds meanwhile. */
static void call_for_luv(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                         int nargs) {
  lunado_coroutine *outer = realm->current;
  lunado_loop *core = loop->core;
  lunado__pushloop(L, loop);
  lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  lua_rotate(L, -3 - nargs, 2); /* loop context function arguments */
  lua_pushboolean(L, 0);
  lunado__set_context(L, realm);
  realm->current = NULL;
  lunado__loop_enter(core);
  lunado__callback(L, realm, loop, nargs);
  lunado__watchers_check(core); /* libuv may be about to poll */
  lunado__loop_exit(core); /* it may have been a timer */
  realm->current = outer;
  lunado__set_context(L, realm);
  lua_pop(L, 1);
}

/* In place of luv's runner, which ends the process when a callback fails. */
static int run_callback(lua_State *L, int nargs, int nresults, int flags) {
  lunado_realm *realm;
  lunado_ioloop *loop;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_pop(L, nargs + 1);
    return -LUA_ERRMEM;
  }
  realm = lunado__findrealm(L);
  if (nresults != 0)
    return realm->luv->plain(L, nargs, nresults, flags | NO_EXIT);
  if (realm->luv->buried > 0) lunado__luv_finalize(L, realm->luv);
  loop = lunado__luv_sharer(realm);
  if (loop != NULL)
    call_for_luv(L, realm, loop, nargs);
  else
    lunado__callback(L, realm, NULL, nargs);
  return 0;
}

/* --- running -------------------------------------------------------------- */

void lunado__luv_stopped(lunado_realm *realm) {
  const lunado_luv *self = realm->luv;
  if (self->set_loop != NULL) self->set_loop(realm->main, self->uv);
}

/* (tie) → what luv's loop_mode returns. */
static int call_loop_mode(lua_State *L) {
  const lunado_luv *self = lua_touserdata(L, 1);
  lua_pushcfunction(L, self->loop_mode);
  lua_call(L, 0, 1);
  return 1;
}

bool lunado__luv_running(lua_State *L, const lunado_ioloop *loop) {
  lunado_luv *self = loop->realm->luv;
  bool running;
  if (!lunado__luv_istied(self) || self->uv != loop->core->uv ||
      self->loop_mode == NULL)
    return false;
  lua_pushcfunction(L, call_loop_mode);
  lua_pushlightuserdata(L, self);
  running = lua_pcall(L, 1, 1, 0) == LUA_OK && !lua_isnil(L, -1);
  lua_pop(L, 1);
  return running;
}

/* --- tying ---------------------------------------------------------------- */

/* True if luv's table at idx holds a loop that luv made. */
static bool has_loop(lua_State *L, int idx) {
  bool has;
  lua_pushliteral(L, "_loop");
  lua_rawget(L, idx);
  has = lua_isuserdata(L, -1);
  lua_pop(L, 1);
  return has;
}

/* Whoever forgets luv's table must not take its loop along.  A table without
 * a loop is of a luv that found one, its own from before or lunado's. */
static void anchor_module(lua_State *L, lunado_realm *realm, int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  if (lua_istable(L, -1) && (!has_loop(L, idx) || lua_rawequal(L, -1, idx))) {
    lua_pop(L, 1);
    return;
  }
  (void)luaL_ref(L, LUA_REGISTRYINDEX); /* for ever */
  lua_pushvalue(L, idx);
  lunado__setslot(L, realm, LUNADO_SLOT_LUV);
}

static lua_CFunction get_function(lua_State *L, int idx, const char *name) {
  lua_CFunction function;
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  function = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return function;
}

/* luv's callbacks run on the main thread, for the coroutine that opened luv
 * may be gone; a runner that the host has set stays. */
static void take_context(lunado_realm *realm, lunado_luv *self,
                         lunado_luv_context *context,
                         const lunado_luv_object *object) {
  self->context = context;
  self->uv = context->uv;
  context->L = realm->main;
  if (object->runner == NULL || context->runner != object->runner) return;
  self->plain = object->runner;
  context->runner = run_callback;
}

/* luv goes on with the uv_loop_t of the IOLoop's own when that is closed.  The
 * one that was lent before, if any, luv has closed. */
static void take_uv(lunado_luv *self, lunado_loop *core) {
  if (self->lender == core) return;
  if (self->lender != NULL) lunado_loop_reclaim_uv(self->lender, false);
  self->lender = lunado_loop_lend_uv(core) ? core : NULL;
}

/* What ties the loop to luv. */
typedef struct {
  lunado_ioloop *loop;
  lunado_luv_context *context; /* has the loop's uv_loop_t */
} tying;

/* (tying, luv's table): all that may fail comes first. */
static int tie_loop(lua_State *L) {
  const tying *self = lua_touserdata(L, 1);
  lunado_realm *realm = self->loop->realm;
  lunado_luv_object object = {0};
  if (realm->luv == NULL) realm->luv = lunado__luv_newtie(L);
  lunado__luv_wrap(L, realm->luv, 2);
  if (!lunado__luv_istied(realm->luv)) {
    realm->luv->loop_mode = get_function(L, 2, "loop_mode");
    if (!lunado__luv_inspect(realm->luv->run, &object))
      object = (lunado_luv_object){0};
    lunado__luv_dig(L);
  }
  anchor_module(L, realm, 2);
  if (!lunado__luv_istied(realm->luv)) {
    realm->luv->set_loop = object.set_loop;
    take_uv(realm->luv, self->loop->core);
    take_context(realm, realm->luv, self->context, &object);
  }
  (void)lunado__works_guard(self->loop->core); /* without is no failure */
  return 0;
}

/* Ties the loop to luv, whose context has the loop's uv_loop_t and whose table
 * is on top; where that fails nothing is left of it, and luv is without a
 * loop. */
static void tie(lua_State *L, lunado_ioloop *loop,
                lunado_luv_context *context) {
  tying self = {loop, context};
  lua_pushcfunction(L, tie_loop);
  lua_pushlightuserdata(L, &self);
  lua_pushvalue(L, -3);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  if (!lunado__luv_istied(loop->realm->luv)) lunado__luv_undig(L);
  lua_error(L);
}

/* --- for the hooks -------------------------------------------------------- */

bool lunado__luv_again(lua_State *L, lunado_realm *realm) {
  if (!lunado__luv_istied(realm->luv)) return false;
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  return true;
}

/* In place of luv's finalizer of loops, which works on the loop that luv has by
 * then.  Handles may point to this one: it stays. */
static int keep_loop(lua_State *L) {
  lua_settop(L, 1);
  (void)luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* luv has a loop, but its table was forgotten: either the loop is garbage, or
 * somebody holds the table still. */
static void part_from_loop(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  if (luaL_getmetatable(L, "uv_loop.meta") == LUA_TTABLE) {
    lua_pushcfunction(L, keep_loop);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
}

/* What a loader in Lua will open is seen afterwards. */
void lunado__luv_lend(lua_State *L, lunado_realm *realm, lua_CFunction opener) {
  lunado_luv_object object;
  lunado_luv_context *context = find_context(L);
  if (realm->instance == NULL || opener == NULL ||
      !lunado__luv_inspect(opener, &object))
    return;
  if (!object.same_uv) lunado__luv_refuse(L, &object);
  if (context != NULL && context->uv != NULL) part_from_loop(L);
  object.set_loop(realm->main, realm->instance->core->uv);
}

void lunado__luv_take_back(lua_State *L, lunado_realm *realm) {
  lunado_luv_context *context = find_context(L);
  if (lunado__luv_istied(realm->luv) || context == NULL ||
      realm->instance == NULL || context->uv != realm->instance->core->uv)
    return;
  context->uv = NULL;
}

void lunado__luv_receive(lua_State *L, lunado_realm *realm, int idx) {
  lunado_luv_context *context = find_context(L);
  if (realm->instance == NULL) return;
  if (context == NULL || context->uv != realm->instance->core->uv)
    lunado__luv_refuse(L, NULL);
  lua_pushvalue(L, idx);
  tie(L, realm->instance, context);
  lua_pop(L, 1);
}

/* --- for the default loop ------------------------------------------------- */

/* Pushes luv's table and returns the name it goes by; NULL: luv is not loaded,
 * or was forgotten, and then its loop may be gone. */
static const char *push_module(lua_State *L, lunado_realm *realm) {
  const char *name = lunado__luv_pushmodule(L);
  if (name != NULL) return name;
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  if (lua_istable(L, -1)) return "luv";
  lua_pop(L, 1);
  return NULL;
}

uv_loop_t *lunado__luv_loop(lua_State *L, lunado_realm *realm) {
  lunado_luv_context *context = find_context(L);
  lunado_luv_object object;
  if (context == NULL || context->uv == NULL) return NULL;
  if (lunado__luv_istied(realm->luv)) return context->uv;
  if (push_module(L, realm) == NULL) return NULL;
  if (!lunado__luv_inspect(get_function(L, lua_gettop(L), "loop_close"),
                           &object))
    lunado__luv_refuse(L, NULL);
  if (!object.same_uv) lunado__luv_refuse(L, &object);
  lua_pop(L, 1);
  return context->uv;
}

void lunado__luv_share(lua_State *L, lunado_ioloop *loop) {
  lunado_luv_context *context = find_context(L);
  const char *name = push_module(L, loop->realm);
  if (name == NULL || context == NULL || context->uv == NULL) {
    lunado__luv_hook(L, NULL);
  } else if (context->uv == loop->core->uv) {
    tie(L, loop, context);
    lunado__luv_hook(L, name);
  }
  if (name != NULL) lua_pop(L, 1);
}

void lunado__luv_release(lua_State *L, lunado_ioloop *loop) {
  lunado_realm *realm = loop->realm;
  lunado_luv_context *context = find_context(L);
  if (realm->instance != loop) return;
  lunado__luv_unhook(L);
  if (!lunado__luv_istied(realm->luv) && context != NULL &&
      context->uv == loop->core->own)
    context->uv = NULL; /* luv was given it, and could not be opened */
}

void lunado__luv_open(lua_State *L, lunado_realm *realm) {
  if (lunado__luv_pushmodule(L) == NULL) return;
  anchor_module(L, realm, lua_gettop(L));
  lua_pop(L, 1);
}
