/* SPDX-License-Identifier: MIT */
/* attachment.c - attaching a Lua state's luv to lunado's default loop. */
#include "binding/luv/attachment.h"

#include "binding/loop/ioloop.h"
#include "binding/luv/runner.h"
#include "binding/luv/shutdown.h"
#include "binding/luv/wrapper.h"
#include "core/jump.h"
#include "core/poll.h"

lunado_luv_context *lunado__attachment_context(lua_State *L) {
  lunado_luv_context *context;
  lua_getfield(L, LUA_REGISTRYINDEX, "luv_context");
  context = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return context;
}

lunado_ioloop *lunado__attachment_loop(const lunado_realm *realm) {
  lunado_ioloop *loop = realm->loops.default_loop;
  if (!lunado__attachment_is_live(realm->luv) || loop == NULL || loop->closed)
    return NULL;
  return loop->core->uv == realm->luv->uv ? loop : NULL;
}

void lunado__attachment_run_stopped(lunado_realm *realm) {
  const lunado_attachment *self = realm->luv;
  if (self->set_loop != NULL) self->set_loop(realm->main, self->uv);
}

/* --- attaching ------------------------------------------------------------ */

/* True if luv's table at idx owns a loop that luv made. */
static bool has_loop(lua_State *L, int idx) {
  bool has;
  lua_pushliteral(L, "_loop");
  lua_rawget(L, idx);
  has = lua_isuserdata(L, -1);
  lua_pop(L, 1);
  return has;
}

void lunado__attachment_hold_module(lua_State *L, lunado_realm *realm,
                                    int idx) {
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  if (lua_istable(L, -1) && (!has_loop(L, idx) || lua_rawequal(L, -1, idx))) {
    lua_pop(L, 1);
    return;
  }
  (void)luaL_ref(L, LUA_REGISTRYINDEX); /* holds the earlier table for ever */
  lua_pushvalue(L, idx);
  lunado__setslot(L, realm, LUNADO_SLOT_LUV);
}

lua_CFunction lunado__attachment_function(lua_State *L, int idx,
                                          const char *name) {
  lua_CFunction function;
  lua_pushstring(L, name);
  lua_rawget(L, idx);
  function = lua_tocfunction(L, -1);
  lua_pop(L, 1);
  return function;
}

/* Takes over luv's context.  From now on luv's callbacks run on the main
 * thread, because the coroutine that opened luv may be collected.  Replaces
 * luv's own runner, but keeps a runner that the host has set. */
static void take_context(lunado_realm *realm, lunado_attachment *self,
                         lunado_luv_context *context,
                         const lunado_luv_object *object) {
  self->context = context;
  self->uv = context->uv;
  context->L = realm->main;
  if (object->runner == NULL || context->runner != object->runner) return;
  self->luv_runner = object->runner;
  context->runner = lunado__runner_call;
}

/* Lends the IOLoop's own uv_loop_t to luv, which may use it after the IOLoop is
 * closed.  If another uv_loop_t was lent before, luv has closed that one. */
static void take_uv(lunado_attachment *self, lunado_loop *core) {
  if (self->lender == core) return;
  if (self->lender != NULL) lunado_loop_reclaim_uv(self->lender, false);
  self->lender = lunado_loop_lend_uv(core) ? core : NULL;
}

/* The argument of attach_loop. */
typedef struct {
  lunado_ioloop *loop;
  lunado_luv_context *context; /* luv's, which has the loop's uv_loop_t */
} attaching;

/* (attaching, luv's table): attaches the loop to luv.  The steps that may raise
 * an error come first. */
static int attach_loop(lua_State *L) {
  const attaching *self = lua_touserdata(L, 1);
  lunado_realm *realm = self->loop->realm;
  lunado_luv_object object = {0};
  if (realm->luv == NULL) realm->luv = lunado__shutdown_newattachment(L);
  lunado__wrapper_install(L, realm->luv, 2);
  if (!lunado__attachment_is_live(realm->luv)) {
    realm->luv->loop_mode = lunado__attachment_function(L, 2, "loop_mode");
    if (!lunado__loader_inspect(realm->luv->run, &object))
      object = (lunado_luv_object){0};
    lunado__shutdown_defer(L);
  }
  lunado__attachment_hold_module(L, realm, 2);
  if (!lunado__attachment_is_live(realm->luv)) {
    realm->luv->set_loop = object.set_loop;
    take_uv(realm->luv, self->loop->core);
    take_context(realm, realm->luv, self->context, &object);
  }
  (void)lunado__jump_guard(self->loop->core); /* fails harmlessly if memory is
                                                  short */
  return 0;
}

void lunado__attachment_attach(lua_State *L, lunado_ioloop *loop,
                               lunado_luv_context *context) {
  attaching self = {loop, context};
  lua_pushcfunction(L, attach_loop);
  lua_pushlightuserdata(L, &self);
  lua_pushvalue(L, -3);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  if (!lunado__attachment_is_live(loop->realm->luv)) lunado__shutdown_undo(L);
  lua_error(L);
}

/* --- for the loader ------------------------------------------------------- */

bool lunado__attachment_again(lua_State *L, lunado_realm *realm) {
  if (!lunado__attachment_is_live(realm->luv)) return false;
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  return true;
}

/* Replaces luv's finalizer of loops, which would close the current loop of
 * luv's context instead of its argument.  Handles may point to the argument, so
 * it is kept for ever. */
static int keep_loop(lua_State *L) {
  lua_settop(L, 1);
  (void)luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* Detaches luv from its earlier loop, when lunado has not found luv's table.
 * If that table is garbage, a full collection frees the loop; if the program
 * still refers to the table, the loop is kept. */
static void part_from_loop(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  if (luaL_getmetatable(L, "uv_loop.meta") == LUA_TTABLE) {
    lua_pushcfunction(L, keep_loop);
    lua_setfield(L, -2, "__gc");
  }
  lua_pop(L, 1);
}

/* A loader in Lua (`opener` is NULL) cannot be inspected:
 * lunado__attachment_complete checks the opened module instead. */
void lunado__attachment_prepare(lua_State *L, lunado_realm *realm,
                                lua_CFunction opener) {
  lunado_luv_object object;
  lunado_luv_context *context = lunado__attachment_context(L);
  if (realm->loops.default_loop == NULL || opener == NULL ||
      !lunado__loader_inspect(opener, &object))
    return;
  if (!object.same_uv) lunado__loader_refuse(L, &object);
  if (context != NULL && context->uv != NULL) part_from_loop(L);
  object.set_loop(realm->main, realm->loops.default_loop->core->uv);
}

void lunado__attachment_cancel(lua_State *L, lunado_realm *realm) {
  lunado_luv_context *context = lunado__attachment_context(L);
  if (lunado__attachment_is_live(realm->luv) || context == NULL ||
      realm->loops.default_loop == NULL ||
      context->uv != realm->loops.default_loop->core->uv)
    return;
  context->uv = NULL;
}

void lunado__attachment_complete(lua_State *L, lunado_realm *realm, int idx) {
  lunado_luv_context *context = lunado__attachment_context(L);
  if (realm->loops.default_loop == NULL) return;
  if (context == NULL || context->uv != realm->loops.default_loop->core->uv)
    lunado__loader_refuse(L, NULL);
  lua_pushvalue(L, idx);
  lunado__attachment_attach(L, realm->loops.default_loop, context);
  lua_pop(L, 1);
}
