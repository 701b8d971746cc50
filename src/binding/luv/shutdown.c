/* SPDX-License-Identifier: MIT */
/*
 * shutdown.c - closing luv's handles and jobs at the end of a Lua state.
 *
 * If the finalizer of a luv handle runs while the handle is closing, luv frees
 * its memory, although libuv still uses it.  And luv leaves handles open on a
 * loop that it did not make.  So lunado defers the finalizers of luv's handles:
 * a list keeps the finalizers and their handles, which remain intact.  The
 * finalizers run when a callback proves that the state lives on, or after the
 * attachment's finalizer has let libuv finish with the handles.  Finalizers of
 * luv's work are deferred, too, because a thread may be running the job.
 */
#include "binding/luv/shutdown.h"

#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/log.h"

/* User value of the attachment: the list of deferred finalizers, each followed
 * by its handle. */
enum { DEFERRED_LIST = 1 };

static const char attachment_key = 0;

/* --- deferred finalizers -------------------------------------------------- */

static void push_deferred(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &attachment_key);
  lua_getiuservalue(L, -1, DEFERRED_LIST);
  lua_remove(L, -2);
}

/* Defers luv's finalizer of the value at 1, because a finalizer cannot tell
 * whether the state is being closed.  Once libuv has finished with luv's
 * handles, calls it at once. */
static int defer(lua_State *L) {
  lunado_attachment *self = lunado__realm_find(L)->luv;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1); /* finalizer handle */
  if (self->ended) {
    lua_call(L, 1, 0);
    return 0;
  }
  push_deferred(L);
  lua_insert(L, 1);
  lua_rawseti(L, 1, self->deferred + 2);
  lua_rawseti(L, 1, self->deferred + 1);
  self->deferred += 2;
  return 0;
}

/* Replace luv's finalizers of handles and of work.  Upvalue 1 is luv's
 * finalizer. */
static int handle__gc(lua_State *L) { return defer(L); }
static int work__gc(lua_State *L) { return defer(L); }

void lunado__shutdown_finalize(lua_State *L, lunado_attachment *self) {
  push_deferred(L);
  while (self->deferred > 0) {
    lua_rawgeti(L, -1, self->deferred - 1);
    lua_rawgeti(L, -2, self->deferred);
    lua_pushnil(L);
    lua_rawseti(L, -4, self->deferred--);
    lua_pushnil(L);
    lua_rawseti(L, -4, self->deferred--);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

#define TYPE(upper, lower) {"uv_" #lower, handle__gc},
static const struct {
  const char *name; /* of a metatable of luv's in the registry */
  lua_CFunction gc;
} types[] = {UV_HANDLE_TYPE_MAP(TYPE){"luv_work_ctx", work__gc}, {NULL, NULL}};
#undef TYPE

/* Pushes the metatable of a type of luv's and its finalizer.  Returns false if
 * there is none; the pushed values then have no meaning. */
static bool push_finalizer(lua_State *L, const char *type) {
  return luaL_getmetatable(L, type) == LUA_TTABLE &&
         lua_getfield(L, -1, "__gc") == LUA_TFUNCTION;
}

void lunado__shutdown_defer(lua_State *L) {
  int top = lua_gettop(L);
  for (int i = 0; types[i].name != NULL; i++) {
    if (push_finalizer(L, types[i].name) &&
        lua_tocfunction(L, -1) != types[i].gc) {
      lua_pushcclosure(L, types[i].gc, 1);
      lua_setfield(L, -2, "__gc");
    }
    lua_settop(L, top);
  }
}

/* Cannot run out of memory: Lua has the strings already, because they are in
 * the metatables. */
void lunado__shutdown_undo(lua_State *L) {
  int top = lua_gettop(L);
  for (int i = 0; types[i].name != NULL; i++) {
    if (push_finalizer(L, types[i].name) &&
        lua_tocfunction(L, -1) == types[i].gc &&
        lua_getupvalue(L, -1, 1) != NULL)
      lua_setfield(L, -3, "__gc");
    lua_settop(L, top);
  }
}

/* --- the end of the state ------------------------------------------------- */

/* True if the value at idx is a userdata with the finalizer `gc`.  Each type of
 * luv's handles has its own metatable, but all have the same finalizer. */
static bool has_finalizer(lua_State *L, int idx, lua_CFunction gc) {
  bool has;
  if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx))
    return false;
  lua_pushliteral(L, "__gc");
  lua_rawget(L, -2);
  has = lua_tocfunction(L, -1) == gc;
  lua_pop(L, 2);
  return has;
}

bool lunado__shutdown_ishandle(lua_State *L, int idx) {
  return has_finalizer(L, idx, handle__gc);
}

/* True if the registry holds a work of luv's, as it does while the job runs. */
static bool is_working(lua_State *L) {
  bool working = false;
  for (lua_pushnil(L); !working && lua_next(L, LUA_REGISTRYINDEX) != 0;) {
    working = has_finalizer(L, -1, work__gc);
    lua_pop(L, working ? 2 : 1);
  }
  return working;
}

/* (handle): closes the handle unless it is closing already. */
static int close_handle(lua_State *L) {
  lua_getfield(L, 1, "is_closing");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  if (lua_toboolean(L, -1)) return 0;
  lua_getfield(L, 1, "close");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

/* (table, depth) → the number of luv's handles in the table and in `depth`
 * levels of nested tables.  Closes these handles.  Does not use luv's own walk,
 * which would abort the process at a handle that is not luv's. */
static int close_handles(lua_State *L) {
  lua_Integer depth = lua_tointeger(L, 2), count = 0;
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_settop(L, 2)) {
    if (lunado__shutdown_ishandle(L, 3)) {
      lua_pushcfunction(L, close_handle);
      lua_insert(L, 3);
      (void)lua_pcall(L, 1, 0, 0);
      count++;
    } else if (depth > 0 && lua_istable(L, 3)) {
      lua_pushcfunction(L, close_handles);
      lua_insert(L, 3);
      lua_pushinteger(L, depth - 1);
      lua_call(L, 2, 1);
      count += lua_tointeger(L, 3);
    }
  }
  lua_pushinteger(L, count);
  return 1;
}

/* Closes luv's open handles.  Returns true if there were any.  Until a handle
 * is closed, it is in the registry or in a table in the registry. */
static bool close_all(lua_State *L) {
  bool any;
  lua_pushcfunction(L, close_handles);
  lua_pushvalue(L, LUA_REGISTRYINDEX);
  lua_pushinteger(L, 1);
  any = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_tointeger(L, -1) > 0;
  lua_pop(L, 1);
  return any;
}

/* Returns the lent uv_loop_t to its loop, which closes it. */
static void end_lender(lunado_attachment *self) {
  lunado_loop *core = self->lender;
  self->lender = NULL;
  lunado_loop_close(core);
  lunado_loop_reclaim_uv(core, true);
  self->context->uv = NULL;
}

/* Replaces luv's runner at the end of the state.  It does not run callbacks,
 * because their upvalues may be finalized. */
static int run_nothing(lua_State *L, int nargs, int nresults, int flags) {
  (void)nresults, (void)flags;
  lua_pop(L, nargs + 1);
  return 0;
}

/* --- jobs ----------------------------------------------------------------- */

/* How long the end of a state waits for jobs before it logs a warning, in
 * milliseconds. */
enum { SILENCE = 1000 };

/* A timer that logs, once, what the end of a state waits for.  It is on the C
 * stack of end_jobs, which closes it. */
typedef struct {
  uv_timer_t timer;
  lua_State *L;
  bool closed;
} reminder;

/* (): logs the warning. */
static int log_waiting(lua_State *L) {
  lua_pushliteral(L, "the end of the Lua state waits for a job of luv's "
                     "(queue_work), which cannot be stopped");
  lunado__log(L, lunado__realm_find(L), LUNADO_LOG_WARNING);
  return 0;
}

static void remind(uv_timer_t *timer) {
  reminder *self = lunado_container_of(timer, reminder, timer);
  lua_pushcfunction(self->L, log_waiting);
  if (lua_pcall(self->L, 0, 0, 0) != LUA_OK) lua_pop(self->L, 1);
}

static void on_reminder_closed(uv_handle_t *handle) {
  lunado_container_of((uv_timer_t *)handle, reminder, timer)->closed = true;
}

/* True while libuv runs a job of luv's.  Without an active request of libuv's,
 * a work in the registry is not a running job: other code holds the work, or
 * its callback is closing the state. */
static bool has_jobs(lua_State *L, const uv_loop_t *uv) {
  return uv->active_reqs.count > 0 && is_working(L);
}

/* Waits until luv's jobs have ended, because their threads use the work and
 * luv's code.  May be called from a callback of the loop. */
static void end_jobs(lua_State *L, uv_loop_t *uv) {
  reminder self = {.L = L};
  if (!has_jobs(L, uv)) return;
  (void)uv_timer_init(uv, &self.timer);
  uv_update_time(uv);
  (void)uv_timer_start(&self.timer, remind, SILENCE, 0);
  do (void)uv_run(uv, UV_RUN_ONCE);
  while (has_jobs(L, uv));
  uv_close((uv_handle_t *)&self.timer, on_reminder_closed);
  while (!self.closed) (void)uv_run(uv, UV_RUN_NOWAIT);
}

/* --- leaving the loop ----------------------------------------------------- */

static void find_unfinished(uv_handle_t *handle, void *found) {
  if (handle->type == UV_FS_POLL && uv_is_closing(handle))
    *(bool *)found = true;
}

/* Runs the loop until libuv has closed luv's closing handles.  One pass is
 * enough, except for a uv_fs_poll_t whose stat is pending in the thread pool.
 * The first pass may do nothing, because uv_stop was called before. */
static void end_closing(uv_loop_t *uv) {
  bool unfinished;
  (void)uv_run(uv, UV_RUN_NOWAIT);
  (void)uv_run(uv, UV_RUN_NOWAIT);
  for (;;) {
    unfinished = false;
    uv_walk(uv, find_unfinished, &unfinished);
    if (!unfinished) return;
    (void)uv_run(uv, UV_RUN_ONCE);
  }
}

static void end_shared(lua_State *L, lunado_attachment *self) {
  bool any = close_all(L);
  if (self->luv_runner != NULL) self->context->runner = run_nothing;
  end_jobs(L, self->uv);
  if (self->lender != NULL)
    end_lender(self);
  else if (any)
    end_closing(self->uv);
}

static int attachment__gc(lua_State *L) {
  lunado_attachment *self = lua_touserdata(L, 1);
  lunado_ioloop *loop;
  if (self->context == NULL || self->ending) return 0;
  self->ending = true;
  loop = lunado__attachment_loop(lunado__realm_find(L));
  if (loop != NULL) lunado__ioloop_close(L, loop);
  if (lunado__attachment_is_live(self))
    end_shared(L, self);
  else if (self->lender != NULL)
    lunado_loop_reclaim_uv(self->lender, false); /* luv has closed it */
  self->ended = true;
  lunado__shutdown_finalize(L, self);
  return 0;
}

/* --- the attachment ------------------------------------------------------- */

lunado_attachment *lunado__shutdown_newattachment(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", attachment__gc},
                                         {NULL, NULL}};
  lunado_attachment *self = lua_newuserdatauv(L, sizeof *self, 1);
  *self = (lunado_attachment){0};
  lua_newtable(L);
  lua_setiuservalue(L, -2, DEFERRED_LIST);
  (void)lunado__class_new(L, "lunado.Luv", NULL, metamethods);
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &attachment_key);
  return self;
}
