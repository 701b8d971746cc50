/* SPDX-License-Identifier: MIT */
/*
 * luv.c - one uv_loop_t for luv and lunado, in whatever order they are loaded.
 *
 * If luv is loaded first, the default loop borrows luv's uv_loop_t.  If the
 * default loop is made first, it lends its own uv_loop_t to luv before luv is
 * opened.  The attachment then keeps that uv_loop_t, because luv still uses it
 * after the IOLoop is closed.
 *
 * Invariant: while luv is attached, its table is in LUNADO_SLOT_LUV, its
 * callbacks run on the main thread, and errors of its callbacks are passed to
 * the default loop's handle_callback_exception.
 */
#include "binding/luv/luv.h"

#include "binding/loop/ioloop.h"
#include "binding/luv/attachment.h"
#include "binding/luv/loader.h"
#include "core/jump.h"
#include "core/poll.h"

/* --- running -------------------------------------------------------------- */

/* (attachment) → the result of luv's loop_mode. */
static int call_loop_mode(lua_State *L) {
  const lunado_attachment *self = lua_touserdata(L, 1);
  lua_pushcfunction(L, self->loop_mode);
  lua_call(L, 0, 1);
  return 1;
}

bool lunado__luv_running(lua_State *L, const lunado_ioloop *loop) {
  lunado_attachment *self = loop->realm->luv;
  bool running;
  if (!lunado__attachment_is_live(self) || self->uv != loop->core->uv ||
      self->loop_mode == NULL)
    return false;
  lua_pushcfunction(L, call_loop_mode);
  lua_pushlightuserdata(L, self);
  running = lua_pcall(L, 1, 1, 0) == LUA_OK && !lua_isnil(L, -1);
  lua_pop(L, 1);
  return running;
}

/* --- for the default loop ------------------------------------------------- */

/* Pushes luv's table and returns its name in package.loaded, or "luv".  Returns
 * NULL if luv is not loaded, or if package.loaded lost it before lunado held
 * the table: luv's loop may be closed then. */
static const char *push_module(lua_State *L, lunado_realm *realm) {
  const char *name = lunado__loader_pushmodule(L);
  if (name != NULL) return name;
  lunado__getslot(L, realm, LUNADO_SLOT_LUV);
  if (lua_istable(L, -1)) return "luv";
  lua_pop(L, 1);
  return NULL;
}

uv_loop_t *lunado__luv_loop(lua_State *L, lunado_realm *realm) {
  lunado_luv_context *context = lunado__attachment_context(L);
  lunado_luv_object object;
  if (context == NULL || context->uv == NULL) return NULL;
  if (lunado__attachment_is_live(realm->luv)) return context->uv;
  if (push_module(L, realm) == NULL) return NULL;
  if (!lunado__loader_inspect(
          lunado__attachment_function(L, lua_gettop(L), "loop_close"), &object))
    lunado__loader_refuse(L, NULL);
  if (!object.same_uv) lunado__loader_refuse(L, &object);
  lua_pop(L, 1);
  return context->uv;
}

void lunado__luv_share(lua_State *L, lunado_ioloop *loop) {
  lunado_luv_context *context = lunado__attachment_context(L);
  const char *name = push_module(L, loop->realm);
  if (name == NULL || context == NULL || context->uv == NULL) {
    lunado__loader_install(L, NULL);
  } else if (context->uv == loop->core->uv) {
    lunado__attachment_attach(L, loop, context);
    lunado__loader_install(L, name);
  }
  if (name != NULL) lua_pop(L, 1);
}

void lunado__luv_release(lua_State *L, lunado_ioloop *loop) {
  lunado_realm *realm = loop->realm;
  lunado_luv_context *context = lunado__attachment_context(L);
  if (realm->loops.default_loop != loop) return;
  lunado__loader_remove(L);
  if (!lunado__attachment_is_live(realm->luv) && context != NULL &&
      context->uv == loop->core->own)
    context->uv = NULL; /* luv got it but could not be opened */
}

void lunado__luv_open(lua_State *L, lunado_realm *realm) {
  if (lunado__loader_pushmodule(L) == NULL) return;
  lunado__attachment_hold_module(L, realm, lua_gettop(L));
  lua_pop(L, 1);
}
