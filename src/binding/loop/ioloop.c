/* SPDX-License-Identifier: MIT */
/*
 * ioloop.c - IOLoop: finding a loop, its life cycle, and its runs.
 *
 * Invariants: a new ioloop has no core; it gets one before other code sees it,
 * and has one from then on.  An ioloop is in SLOT_LOOPS while it is open, while
 * a run or a callback of it is on the C stack, and while coroutines ref it.
 * The userdata of a loop is created after everything that the loop runs on, so
 * that at the state's end its finalizer runs first.
 */
#include "binding/loop/ioloop.h"

#include <string.h>

#include "binding/coroutine/received.h"
#include "binding/error/protect.h"
#include "binding/future/awaited.h"
#include "binding/loop/drive.h"
#include "binding/loop/guest.h"
#include "binding/loop/handler.h"
#include "binding/loop/interrupt.h"
#include "binding/loop/methods.h"
#include "binding/loop/promise.h"
#include "binding/loop/timeout.h"
#include "binding/luv/luv.h"
#include "binding/state/class.h"
#include "binding/state/context.h"

/* Stack slots that are reserved for callbacks of the loop. */
#define LOOP_STACK 64

/* Replaces the core of a finalized loop.  Finalizers that run later, and
 * programs that call the finalizer themselves, may still have the userdata;
 * they see a closed loop, on which nothing has an effect. */
static lunado_loop closed_core = {
    .refs = 1, .closed = true, .mail = {.closed = true}};

/* Marks the metatables of loops: that of the class, and those of single loops
 * whose fields have been set.  Those have no identity in realm->types. */
static const char loop_key = 0;

/* --- finding -------------------------------------------------------------- */

lunado_ioloop *lunado__ioloop_at(lua_State *L, const lunado_realm *realm,
                                 int arg) {
  lunado_ioloop *loop = lua_touserdata(L, arg);
  bool marked;
  if (loop == NULL) return NULL;
  if (loop == realm->loops.current && lua_type(L, arg) == LUA_TUSERDATA)
    return loop;
  if (lunado__toclass(L, arg, realm->types.ioloop) != NULL) return loop;
  if (!lua_getmetatable(L, arg)) return NULL;
  marked = lua_rawgetp(L, -1, &loop_key) != LUA_TNIL;
  lua_pop(L, 2);
  return marked ? loop : NULL;
}

lunado_ioloop *lunado__ioloop_check_any(lua_State *L, int arg) {
  lunado_ioloop *loop = lunado__ioloop_at(L, lunado__realm_upvalue(L), arg);
  if (loop == NULL || loop->core == NULL) luaL_typeerror(L, arg, "IOLoop");
  return loop;
}

static void refuse_loop(lua_State *L, const lunado_ioloop *loop) {
  if (loop->core->closed) luaL_error(L, "the IOLoop is closed");
  luaL_error(L, "the IOLoop is closed: the owner of its uv_loop_t has closed "
                "all handles of that");
}

/* Raises if the loop is closed, or if the owner of its uv_loop_t has closed the
 * loop's handles. */
static inline void check_usable(lua_State *L, const lunado_ioloop *loop) {
  if (loop->core->closed || lunado_loop_taken(loop->core)) refuse_loop(L, loop);
}

lunado_ioloop *lunado__ioloop_check(lua_State *L, lunado_realm *realm,
                                    int arg) {
  lunado_ioloop *loop = lunado__ioloop_at(L, realm, arg);
  if (loop == NULL || loop->core == NULL) luaL_typeerror(L, arg, "IOLoop");
  check_usable(L, loop);
  return loop;
}

void lunado__ioloop_push(lua_State *L, lunado_ioloop *loop) {
  lunado__getslot(L, loop->realm, LUNADO_SLOT_LOOPS);
  lua_rawgetp(L, -1, loop);
  lua_remove(L, -2);
}

void lunado__ioloop_pushmethod(lua_State *L, lunado_ioloop *loop,
                               const char *name) {
  lunado__ioloop_push(L, loop);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* --- life cycle ----------------------------------------------------------- */

/* Makes the realm release a closed loop once no coroutine belongs to it and no
 * run or call of it is on the C stack. */
static void forget_if_unused(lua_State *L, lunado_ioloop *loop) {
  if (!loop->closed || loop->refs > 0) return;
  if (loop->core != NULL && lunado_loop_running(loop->core)) return;
  lunado__getslot(L, loop->realm, LUNADO_SLOT_LOOPS);
  lua_pushnil(L);
  lua_rawsetp(L, -2, loop);
  lua_pop(L, 1);
}

void lunado__ioloop_unref(lua_State *L, lunado_ioloop *loop) {
  if (--loop->refs == 0 && loop->closed) forget_if_unused(L, loop);
}

static void on_unused(lunado_loop *core) {
  lunado_ioloop *loop = core->owner;
  forget_if_unused(loop->L, loop);
}

/* Releases the values that the loop held, and its queue and slabs. */
static void let_go(lua_State *L, lunado_ioloop *loop) {
  lunado_realm *realm = loop->realm;
  lunado__awaited_leave(loop);
  lunado__queue_fini(L, &loop->queue);
  luaL_unref(L, LUA_REGISTRYINDEX, loop->anchors);
  loop->anchors = LUA_NOREF;
  if (realm->loops.current == loop) realm->loops.current = NULL;
  if (realm->loops.default_loop == loop) realm->loops.default_loop = NULL;
  lunado__handler_forget_all(L, loop);
  lunado_slab_fini(&loop->promises);
  lunado_slab_fini(&loop->timeouts);
}

void lunado__ioloop_close(lua_State *L, lunado_ioloop *loop) {
  bool open = !loop->closed;
  lunado__ioloop_ref(loop); /* keeps it until this function returns */
  loop->closed = true;
  loop->signals = NULL; /* closed with the other watchers */
  lunado__interrupt_unwatch(loop);
  lunado__guest_close_all(L, loop);
  lunado_loop_close(loop->core);
  if (open) let_go(L, loop);
  lunado__ioloop_unref(L, loop);
}

/* (loop): detaches the loop from luv. */
static int release_luv(lua_State *L) {
  lunado__luv_release(L, lua_touserdata(L, 1));
  return 0;
}

/* True if a program called the finalizer: while a state is being closed, there
 * is no function below its finalizers on the stack. */
static bool is_called_by_hand(lua_State *L) {
  lua_Debug ar;
  return lua_getstack(L, 1, &ar) != 0;
}

/* If a program finalizes a loop that is running, the loop is closed now and
 * finalized later.  If a callback of the host closes the state, this function
 * drops its reference to the core; the core is freed once the callback has
 * returned.  If memory is too short for detaching from luv, the loop is closed
 * nevertheless. */
static int loop__gc(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_at(L, lunado__realm_upvalue(L), 1);
  lunado_loop *core;
  if (loop == NULL) return luaL_typeerror(L, 1, "IOLoop");
  core = loop->core;
  if (core == NULL || core == &closed_core) return 0;
  lua_pushcfunction(L, release_luv);
  lua_pushlightuserdata(L, loop);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  loop->ending = !loop->closed;
  lunado__ioloop_close(L, loop);
  if (lunado_loop_running(core) && is_called_by_hand(L)) return 0;
  loop->core = &closed_core;
  lunado_link_remove(&core->kin);
  core->owner = NULL;
  lunado_loop_set_unused(core, NULL);
  lunado_loop_set_drive(core, NULL);
  lunado_loop_set_clock(core, NULL); /* it may have been loop->clock */
  lunado_loop_close(core);
  lunado_loop_unref(core);
  return 0;
}

static void register_loop(lua_State *L, lunado_ioloop *loop) {
  lunado__getslot(L, loop->realm, LUNADO_SLOT_LOOPS);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, loop);
  lua_pop(L, 1);
}

lunado_ioloop *lunado__ioloop_new(lua_State *L, lunado_realm *realm,
                                  uv_loop_t *uv) {
  lunado_loop *core;
  lunado_ioloop *loop = lua_newuserdatauv(L, sizeof *loop, 1);
  int rc;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (!lua_checkstack(realm->main, LOOP_STACK))
    luaL_error(L, "not enough memory");
  *loop = (lunado_ioloop){0};
  loop->realm = realm;
  loop->id = ++realm->loops.made;
  loop->L = realm->main;
  loop->anchors = LUA_NOREF;
  lunado_link_init(&loop->guests);
  lunado__promise_init(loop);
  lunado__timeout_init(loop);
  lunado_callback_init(&loop->drain, lunado__queue_run);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  lunado__class_set(L, realm->types.ioloop);
  lunado__queue_init(L, &loop->queue);
  lua_newtable(L);
  loop->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
  rc = lunado_loop_new(&core, uv);
  if (rc < 0) luaL_error(L, "cannot open a loop: %s", uv_strerror(rc));
  core->owner = loop;
  lunado_loop_set_unused(core, on_unused);
  lunado_loop_set_drive(core, lunado__drive);
  loop->core = core;
  lunado_list_append(&realm->loops.cores, &core->kin);
  register_loop(L, loop);
  return loop;
}

/* (loop): lets luv share the loop's uv_loop_t. */
static int share_luv(lua_State *L) {
  lunado__luv_share(L, lua_touserdata(L, 1));
  return 0;
}

/* Closes the new default loop, which cannot be shared with luv, and raises the
 * error on top. */
static int abandon_default(lua_State *L, lunado_ioloop *loop) {
  lua_pushcfunction(L, release_luv);
  lua_pushlightuserdata(L, loop);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  lunado__ioloop_close(L, loop);
  return lua_error(L);
}

lunado_ioloop *lunado__ioloop_default(lua_State *L, lunado_realm *realm) {
  lunado_ioloop *loop;
  uv_loop_t *uv;
  if (realm->loops.default_loop != NULL) {
    check_usable(L, realm->loops.default_loop);
    return realm->loops.default_loop;
  }
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  uv = realm->loops.host_uv != NULL ? realm->loops.host_uv
                                    : lunado__luv_loop(L, realm);
  loop = lunado__ioloop_new(L, realm, uv);
  if (realm->loops.default_loop !=
      NULL) { /* a finalizer has made it meanwhile */
    lunado__ioloop_close(L, loop);
    lua_pop(L, 1);
    return realm->loops.default_loop;
  }
  realm->loops.default_loop = loop;
  lua_pushcfunction(L, share_luv);
  lua_pushlightuserdata(L, loop);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) (void)abandon_default(L, loop);
  lua_pop(L, 1);
  if (realm->loops.default_loop == NULL) luaL_error(L, "the IOLoop is closed");
  return realm->loops.default_loop;
}

lunado_ioloop *lunado__ioloop_current(lua_State *L, lunado_realm *realm) {
  if (realm->loops.current == NULL) {
    lunado_ioloop *loop = lunado__ioloop_default(L, realm);
    if (realm->loops.current == NULL) realm->loops.current = loop;
  }
  check_usable(L, realm->loops.current);
  return realm->loops.current;
}

/* --- running -------------------------------------------------------------- */

/* Pushes the current loop, or nil. */
static void push_current(lua_State *L, const lunado_realm *realm) {
  if (realm->loops.current != NULL)
    lunado__ioloop_push(L, realm->loops.current);
  else
    lua_pushnil(L);
}

static int run_core(lunado_loop *core, lunado_until *until) {
  int rc;
  if (until == NULL) return lunado_loop_run(core, true);
  if (until->ended) return LUNADO_RUN_STOPPED;
  until->running = true;
  rc = lunado_loop_run(core, false);
  until->running = false;
  return rc;
}

void lunado__ioloop_end(lunado_loop *core, lunado_until *until) {
  until->ended = true;
  if (until->running) lunado_loop_stop(core);
}

/* Returns the thread on which a run that L asked for calls the callbacks.  In
 * Lua 5.5 a coroutine can close itself, and by that jumps over all C functions
 * that were called inside it, uv_run too; only the main thread cannot. */
static lua_State *thread_of_callbacks(lua_State *L, const lunado_realm *realm) {
#if LUA_VERSION_NUM >= 505
  (void)L;
  return realm->main;
#else
  (void)realm;
  return L;
#endif
}

int lunado__ioloop_run(lua_State *L, lunado_ioloop *loop, lunado_until *until) {
  lunado_realm *realm = loop->realm;
  lua_State *thread = thread_of_callbacks(L, realm);
  lua_State *outer_thread = loop->L;
  lunado_ioloop *outer_loop = realm->loops.current;
  lunado_task *outer_coroutine = realm->coroutines.current;
  lunado_ioloop *outer_run = realm->loops.running;
  bool watched;
  int rc;
  if (!lunado__protect_reserve(L, LOOP_STACK)) return UV_ENOMEM;
  if (thread != L && !lunado__protect_reserve(thread, LOOP_STACK))
    return UV_ENOMEM;
  if (realm->errors.receiver != NULL) lunado__received_forget(L, realm);
  /* The loop and the context that were current are on the stack below the run,
   * and become current again after it. */
  push_current(L, realm); /* keeps outer_loop, which may be closed during the
                           * run */
  loop->L = thread;
  realm->loops.current = realm->loops.running = loop;
  realm->coroutines.current = NULL;
  lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  lua_pushboolean(L, 0); /* callbacks have contexts of their own */
  lunado__context_set(L, realm);
  watched = lunado__interrupt_watch(L, loop);
  rc = run_core(loop->core, until);
  if (watched) lunado__interrupt_unwatch(loop);
  lunado__context_set(L, realm);
  realm->coroutines.current = outer_coroutine;
  realm->loops.running = outer_run;
  if (realm->loops.current == loop || realm->loops.current == NULL)
    realm->loops.current = outer_loop != NULL && outer_loop->core != NULL &&
                                   !outer_loop->core->closed
                               ? outer_loop
                               : NULL;
  lua_pop(L, 1);
  loop->L = outer_thread;
  return rc;
}

void lunado__ioloop_checkidle(lua_State *L, lunado_ioloop *loop) {
  check_usable(L, loop);
  if (loop->awaited || lunado_loop_running(loop->core) ||
      lunado__drive_is_running(loop->realm, loop->core->uv) ||
      lunado__luv_running(L, loop))
    luaL_error(L, "the IOLoop is already running");
}

/* Longest slice in seconds: longer than any program runs, and the nanoseconds
 * still fit in 64 bits. */
#define SLICE_MAX 1e9

void lunado__ioloop_setslice(lua_State *L, lunado_ioloop *loop,
                             double seconds) {
  if (!(seconds > 0)) luaL_error(L, "a slice of more than 0 seconds expected");
  if (seconds > SLICE_MAX) seconds = SLICE_MAX;
  lunado_loop_set_slice(loop->core, (uint64_t)(seconds * 1e9) + 1);
}

static const luaL_Reg metamethods[] = {{"__gc", loop__gc}, {NULL, NULL}};

void lunado__ioloop_open(lua_State *L, lunado_realm *realm) {
  lunado__queue_open(L, realm);
  realm->types.ioloop =
      lunado__class_new(L, "lunado.IOLoop", NULL, metamethods);
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &loop_key);
  lunado__methods_add(L);
  lua_pop(L, 1);
}
