/* SPDX-License-Identifier: MIT */
/*
 * drive.c - running a uv_loop_t, even if its callbacks raise errors.
 *
 * lunado's own callbacks raise nothing.  Callbacks of luv raise if there is no
 * memory for the values they push, and a host's callbacks may raise too.  Such
 * an error jumps to the innermost protected call of the thread on which it was
 * raised, which is the main thread.  So the run is made in a protected call on
 * the main thread, whichever thread asked for the run.  The error then jumps
 * over nothing but libuv's frames, and lunado__jump_mend repairs libuv's state.
 */
#include "binding/loop/drive.h"

#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/luv/attachment.h"
#include "binding/luv/shutdown.h"
#include "core/jump.h"

/* After this number of errors in a row, with no run ending between them, the
 * cause is taken to be permanent and the run ends. */
#define MOST_JUMPS 50

/* One call of uv_run or of luv's run. */
typedef struct {
  lunado_attachment *luv; /* its run is called; NULL: uv_run is called */
  uv_loop_t *uv;
  uv_run_mode mode;
  int alive; /* what uv_run returned */
} attempt;

bool lunado__drive_is_running(const lunado_realm *realm, const uv_loop_t *uv) {
  const lunado_link *link = realm->loops.cores.next;
  for (; link != &realm->loops.cores; link = link->next) {
    const lunado_loop *core = lunado_container_of(link, lunado_loop, kin);
    if (core->running && core->uv == uv) return true;
  }
  return false;
}

/* The realm's fields that must be restored after an error has jumped out of a
 * run: the jump leaves them as they were inside the run. */
typedef struct {
  lunado_settle_frame *frame;
  unsigned settling;
  unsigned nesting;
  uintptr_t stack_base;
  lunado_task *current;
} surroundings;

static surroundings remember(const lunado_realm *realm) {
  return (surroundings){realm->futures.frame, realm->futures.settler.depth,
                        realm->coroutines.nesting, realm->coroutines.stack_base,
                        realm->coroutines.current};
}

static void restore(lunado_realm *realm, const surroundings *before) {
  realm->futures.frame = before->frame;
  realm->futures.settler.depth = before->settling;
  realm->coroutines.nesting = before->nesting;
  realm->coroutines.stack_base = before->stack_base;
  realm->coroutines.current = before->current;
}

/* Calls luv's run; pushes its results and returns their number. */
static int call_luv(lua_State *L, const lunado_attachment *luv,
                    uv_run_mode mode) {
  static const char *const modes[] = {"default", "once", "nowait"};
  int top = lua_gettop(L);
  lua_pushcfunction(L, luv->run);
  lua_pushstring(L, modes[mode]);
  lua_call(L, 1, LUA_MULTRET);
  return lua_gettop(L) - top;
}

/* (attempt): runs once.  If luv refuses the call, this counts as a run that was
 * stopped.  A debug hook may run before libuv's run begins, and close or stop
 * the loop; libuv's stop flag then ends the run, because no other run can have
 * consumed the flag. */
static int run_once(lua_State *L) {
  attempt *self = lua_touserdata(L, 1);
  (void)lunado__protect_reserve(L,
                                LUA_MINSTACK); /* if there is memory for it */
  if (self->luv == NULL) {
    self->alive = uv_run(self->uv, self->mode);
    return 0;
  }
  (void)call_luv(L, self->luv, self->mode);
  self->alive = !lua_isboolean(L, 2) || lua_toboolean(L, 2);
  return 0;
}

/* Repairs the realm and the loop after an error has jumped out of a run on the
 * realm's main thread, and reports the error, which is on top of that thread's
 * stack. */
static void recover(lunado_realm *realm, lunado_ioloop *loop,
                    const surroundings *before) {
  lua_State *L = realm->main;
  static const char what[] = "of a function that libuv calls";
  restore(realm, before);
  if (loop != NULL) lunado__jump_mend(loop->core);
  if (lunado__attachment_is_live(realm->luv))
    lunado__attachment_run_stopped(realm);
  lua_pushlightuserdata(L, (void *)what);
  lua_insert(L, -2);
  lunado__callback_report(L, realm, loop);
}

int lunado__drive(lunado_loop *core, uv_run_mode mode) {
  lunado_ioloop *loop = core->owner;
  lunado_realm *realm = loop->realm;
  lua_State *L = realm->main;
  surroundings before = remember(realm);
  unsigned depth = core->depth;
  attempt self = {NULL, core->uv, mode, 1};
  if (lunado__attachment_is_live(realm->luv) && realm->luv->uv == core->uv) {
    self.luv = realm->luv;
    if (self.luv->deferred > 0) lunado__shutdown_finalize(loop->L, self.luv);
  }
  if (!lua_checkstack(L, LUA_MINSTACK)) return uv_run(core->uv, mode);
  for (int jumps = 0; jumps < MOST_JUMPS; jumps++) {
    if (lunado__protect_call(L, realm, run_once, &self)) return self.alive;
    while (core->depth > depth) lunado__loop_leave(core);
    recover(realm, loop, &before);
    if (core->stopped || core->closed || mode != UV_RUN_DEFAULT) {
      core->uv->stop_flag = 0; /* as uv_run does when it returns */
      break;
    }
  }
  return 1;
}

/* (realm, mode) → the results of luv's run. */
static int run_luv(lua_State *L) {
  const lunado_realm *realm = lua_touserdata(L, 1);
  return call_luv(L, realm->luv, (uv_run_mode)lua_tointeger(L, 2));
}

int lunado__drive_luv(lua_State *L, lunado_realm *realm, uv_run_mode mode) {
  lua_State *main = realm->main;
  surroundings before = remember(realm);
  if (lunado__drive_is_running(realm, realm->luv->uv))
    return luaL_error(L, "loop already running");
  if (!lua_checkstack(main, LUA_MINSTACK) || !lua_checkstack(L, LUA_MINSTACK))
    return luaL_error(L, "not enough memory");
  for (int jumps = 0; jumps < MOST_JUMPS; jumps++) {
    int handler = lua_gettop(main) + 1;
    lua_rawgeti(main, LUA_REGISTRYINDEX, realm->errors.handler);
    lua_pushcfunction(main, run_luv);
    lua_pushlightuserdata(main, realm);
    lua_pushinteger(main, mode);
    if (lua_pcall(main, 2, LUA_MULTRET, handler) == LUA_OK) {
      int n = lua_gettop(main) - handler;
      if (main != L) lua_xmove(main, L, n);
      lua_remove(main, handler);
      return n;
    }
    lunado__failure_take(main, realm);
    lua_remove(main, handler);
    recover(realm, lunado__attachment_loop(realm), &before);
    if (mode != UV_RUN_DEFAULT) break;
  }
  lua_pushboolean(L, 1);
  return 1;
}
