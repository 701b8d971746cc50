/* SPDX-License-Identifier: MIT */
/*
 * scope.c - scopes: timeouts, shields, and the scopes of groups.
 *
 * Invariant: a loop holds a timeout exactly while its timer is running.
 */
#include "binding/coroutine/scope.h"

#include "binding/coroutine/await.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/groupend.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/received.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/walk.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/loop/anchor.h"
#include "binding/loop/deadline.h"
#include "binding/loop/ioloop.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"

static lunado_scope *check_scope(lua_State *L, const lunado_realm *realm) {
  lunado_scope *self = lunado__scope_at(L, realm, 1);
  if (self == NULL) luaL_typeerror(L, 1, "scope");
  return self;
}

/* --- cancelling ----------------------------------------------------------- */

/* Gives the open scope at idx the notice on top, and pops the notice. */
static void cancel_with(lua_State *L, lunado_realm *realm, int idx) {
  lunado_scope *self = lua_touserdata(L, idx);
  int t = lua_gettop(L);
  lua_setiuservalue(L, idx, SCOPE_NOTICE);
  self->cancelled = true;
  lua_getiuservalue(L, idx, SCOPE_TASK);
  lunado__notice_update(L, realm, t);
  lunado__walk_task(L, realm, t);
  lua_pop(L, 1);
}

void lunado__scope_cancel(lua_State *L, lunado_realm *realm, int idx) {
  const lunado_scope *self = lua_touserdata(L, idx);
  if (self->open && !self->cancelled)
    cancel_with(L, realm, idx);
  else
    lua_pop(L, 1);
}

static void on_deadline(lunado_loop *core, lunado_timer *timer) {
  lunado_scope *self = lunado_container_of(timer, lunado_scope, timer);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  lunado__anchor_take(L, loop, self->anchor);
  if (!self->cancelled) {
    self->expired = true;
    lunado__notice_push_protected(L, loop->realm, "timeout");
    lunado__scope_cancel(L, loop->realm, top + 1);
  }
  lua_settop(L, top);
}

/* scope:cancel([reason]) → true.  Cancels what the coroutine waits for within
 * the scope.  Returns false if the scope is closed or cancelled already. */
static int scope_cancel(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_scope *self = check_scope(L, realm);
  lua_settop(L, 2);
  lua_pushboolean(L, self->open && !self->cancelled);
  if (!lua_toboolean(L, 3)) return 1;
  lunado__notice_push(L, realm, 2, 1);
  lunado__scope_cancel(L, realm, 1);
  lua_settop(L, 3);
  return 1;
}

/* --- looking -------------------------------------------------------------- */

/* scope:expired() → true once the deadline has passed while it was open. */
static int scope_expired(lua_State *L) {
  lua_pushboolean(L, check_scope(L, lunado__realm_upvalue(L))->expired);
  return 1;
}

bool lunado__scope_is_own(lua_State *L, int idx, int err) {
  bool own;
  if (!((lunado_scope *)lua_touserdata(L, idx))->cancelled) return false;
  lua_getiuservalue(L, idx, SCOPE_NOTICE);
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  own = lunado__failure_is_of(L, -1, err) && !lua_isnil(L, err);
  lua_pop(L, 2);
  return own;
}

bool lunado__scope_is_inside(lua_State *L, const lunado_realm *realm, int idx) {
  const lunado_scope *self = lua_touserdata(L, idx);
  bool inside = false;
  if (self->open && lunado__task_is_running(L, realm) && lua_isyieldable(L)) {
    lua_getiuservalue(L, idx, SCOPE_TASK);
    inside = lua_touserdata(L, -1) == (void *)realm->coroutines.current;
    lua_pop(L, 1);
  }
  return inside;
}

/* --- closing -------------------------------------------------------------- */

/* Ends the scope at idx; it may still be in the list of its task. */
static void end(lua_State *L, int idx) {
  lunado_scope *self = lua_touserdata(L, idx);
  if (self->loop != NULL)
    lunado__anchor_stoptimer(L, self->loop, &self->timer, self->anchor);
  self->open = false;
  lua_pushnil(L);
  lua_setiuservalue(L, idx, SCOPE_TASK);
}

/* Abandons the groups of the scopes from the one on top on, which have ended,
 * up to the one at `last` (0: all), and replaces the scope on top by what
 * follows in the list.  Their children's cancellers are the user's functions,
 * so nobody can find these scopes any more. */
static void abandon_groups(lua_State *L, lunado_realm *realm, int last) {
  int at = lua_gettop(L);
  bool left = true;
  while (left && lunado__scope_at(L, realm, at) != NULL) {
    left = last == 0 || !lua_rawequal(L, at, last);
    if (((lunado_scope *)lua_touserdata(L, at))->kind == LUNADO_SCOPE_GROUP) {
      lua_getiuservalue(L, at, SCOPE_GROUP);
      lunado__groupend_abandon(L, realm, at + 1);
      lua_settop(L, at);
    }
    lua_getiuservalue(L, at, SCOPE_OUTER);
    lua_replace(L, at);
  }
}

void lunado__scope_abandon(lua_State *L, lunado_realm *realm) {
  int at = lua_gettop(L) + 1;
  lua_pushvalue(L, at - 1);
  while (lunado__scope_at(L, realm, at) != NULL) {
    end(L, at);
    lua_getiuservalue(L, at, SCOPE_OUTER);
    lua_replace(L, at);
  }
  lua_settop(L, at - 1);
  abandon_groups(L, realm, 0);
}

/* Takes the scope at idx off the list of the task at t, and the scopes within
 * it that were not closed. */
static void unlink_scope(lua_State *L, lunado_realm *realm, int idx, int t) {
  lunado_task *task = lua_touserdata(L, t);
  int first = lua_gettop(L) + 1, at = first + 1;
  bool last;
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  lua_pushvalue(L, first);
  do {
    last = lua_rawequal(L, at, idx);
    lua_getiuservalue(L, at, SCOPE_OUTER);
    end(L, at);
    lua_replace(L, at);
  } while (!last);
  if (lua_isnil(L, at)) task->flags &= ~(uint32_t)TASK_SCOPED;
  lua_setiuservalue(L, t, LUNADO_TASK_SCOPE);
  lunado__notice_update(L, realm, t);
  if (!lua_rawequal(L, first, idx)) abandon_groups(L, realm, idx);
  lua_settop(L, first - 1);
}

void lunado__scope_check_thread(lua_State *L, int idx) {
  const lunado_task *task;
  if (!((lunado_scope *)lua_touserdata(L, idx))->open) return;
  lua_getiuservalue(L, idx, SCOPE_TASK);
  task = lua_touserdata(L, -1);
  if (task->thread != L)
    luaL_error(L, "a scope was closed in another coroutine than the one that "
                  "has opened it");
  lua_pop(L, 1);
}

bool lunado__scope_close(lua_State *L, lunado_realm *realm, int idx) {
  if (!((lunado_scope *)lua_touserdata(L, idx))->open) return false;
  lunado__scope_check_thread(L, idx);
  lua_getiuservalue(L, idx, SCOPE_TASK);
  unlink_scope(L, realm, idx, lua_gettop(L));
  lua_pop(L, 1);
  return lunado__task_is_running(L, realm);
}

/* Raises the error of the notice on top. */
static int raise_notice(lua_State *L, lunado_realm *realm) {
  lua_getiuservalue(L, -1, LUNADO_FUTURE_VALUE);
  lunado__received_throw(L, realm);
  return lua_error(L);
}

/* Pushes the task of the running coroutine. */
static void push_current(lua_State *L, lunado_realm *realm) {
  lua_pushvalue(realm->coroutines.runner, realm->coroutines.runner_index);
  lua_xmove(realm->coroutines.runner, L, 1);
}

void lunado__scope_raise_due(lua_State *L, lunado_realm *realm) {
  int top = lua_gettop(L);
  if (!(realm->coroutines.current->flags & TASK_CANCELLED)) return;
  push_current(L, realm);
  if (lunado__notice_push_due(L, realm, top + 1)) raise_notice(L, realm);
  lua_settop(L, top);
}

/* Goes on with what the own error of the timeout at 1 means: raises the error
 * of a scope around it that is due as well, else TimeoutError. */
static int convert(lua_State *L, lunado_realm *realm) {
  lunado__scope_raise_due(L, realm);
  if (!((lunado_scope *)lua_touserdata(L, 1))->expired) return 0;
  lunado__exception_push(L, realm, LUNADO_E_TIMEOUT, "Timeout");
  return lua_error(L);
}

/* The end of a block: __close.  If its coroutine does not run, coroutine.close
 * has called it, and nothing is raised. */
static int scope__close(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)check_scope(L, realm);
  lua_settop(L, 2);
  if (lunado__scope_close(L, realm, 1) && lunado__scope_is_own(L, 1, 2))
    return convert(L, realm);
  return 0;
}

/* raise_due(): raises the error of the notice that is due for the running
 * coroutine, if there is one. */
static int core_raise_due(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (lunado__task_is_running(L, realm)) lunado__scope_raise_due(L, realm);
  return 0;
}

/* --- opening -------------------------------------------------------------- */

/* Pushes the task of the coroutine that runs on L; raises if lunado does not
 * run L. */
static lunado_task *push_running(lua_State *L, lunado_realm *realm,
                                 const char *what) {
  lunado__await_foreign(L, realm);
  if (realm->coroutines.current == NULL)
    luaL_error(L,
               "%s outside of a coroutine: start the function with "
               "gen.coroutine or lunado.run",
               what);
  if (!lunado__task_is_running(L, realm))
    luaL_error(L,
               "%s inside a coroutine that lunado does not run, such as a "
               "coroutine.wrap generator",
               what);
  if (!lua_checkstack(realm->coroutines.runner, 1))
    luaL_error(L, "not enough memory");
  push_current(L, realm);
  return lua_touserdata(L, -1);
}

/* Pushes a new scope, which is not open yet. */
static lunado_scope *push_scope(lua_State *L, const lunado_realm *realm,
                                lunado_scope_kind kind) {
  lunado_scope *self = lua_newuserdatauv(L, sizeof *self, SCOPE_VALUES);
  *self = (lunado_scope){.kind = (uint8_t)kind};
  lunado_timer_init(&self->timer, on_deadline);
  lunado__getslot(L, realm, LUNADO_SLOT_SCOPE);
  lua_setmetatable(L, -2);
  return self;
}

/* Opens the scope on top in the running coroutine, whose task is at t. */
static void enter(lua_State *L, lunado_task *task, int t) {
  lunado_scope *self = lua_touserdata(L, -1);
  lua_pushvalue(L, t);
  lua_setiuservalue(L, -2, SCOPE_TASK);
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  lua_setiuservalue(L, -2, SCOPE_OUTER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, t, LUNADO_TASK_SCOPE);
  self->open = true;
  task->flags |= TASK_SCOPED;
  if (self->kind == LUNADO_SCOPE_SHIELD)
    task->flags &= ~(uint32_t)TASK_CANCELLED;
}

/* The continuation of call_within. */
static int called_within(lua_State *L, int status, lua_KContext ctx) {
  (void)status, (void)ctx;
  return lua_gettop(L) - 1;
}

/* Moves the scope on top to 1, and calls the function at 2 with the values
 * above it; the scope is closed then.  Returns the results. */
static int call_within(lua_State *L, int top) {
  lua_replace(L, 1);
  lua_settop(L, top);
  lua_toclose(L, 1);
  lua_callk(L, top - 2, LUA_MULTRET, 0, called_within);
  return called_within(L, LUA_OK, 0);
}

/* timeout(deadline) → an open scope that is cancelled at the deadline, as in
 * IOLoop:add_timeout; its end raises TimeoutError then.
 * timeout(deadline, fn, ...): calls fn(...) within such a scope and returns its
 * results. */
static int tasks_timeout(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int top = lua_gettop(L);
  lunado_ioloop *loop;
  lunado_scope *self;
  lunado_task *task;
  double when;
  if (lua_isnone(L, 1)) return luaL_typeerror(L, 1, "number or timedelta");
  if (!lua_isnoneornil(L, 2)) lunado__checkcallable(L, 2);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  task = push_running(L, realm, "cannot open a timeout");
  self = push_scope(L, realm, LUNADO_SCOPE_TIMEOUT);
  loop = lunado__ioloop_current(L, realm);
  when = lunado__deadline_check(L, loop, 1);
  self->loop = loop;
  lunado__anchor_starttimer(L, loop, &self->timer, when, &self->anchor);
  enter(L, task, top + 1);
  return lua_isnoneornil(L, 2) || top < 2 ? 1 : call_within(L, top);
}

/* shield(fn, ...): calls fn(...) and returns its results; holds off the notices
 * of the scopes around it until then. */
static int tasks_shield(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int top = lua_gettop(L);
  lunado_task *task;
  lunado__checkcallable(L, 1);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  task = push_running(L, realm, "cannot open a shield");
  (void)push_scope(L, realm, LUNADO_SCOPE_SHIELD);
  enter(L, task, top + 1);
  lua_remove(L, top + 1);
  lua_pushvalue(L, -1);
  lua_insert(L, 1);
  return call_within(L, top + 1);
}

void lunado__scope_push_group(lua_State *L, lunado_realm *realm, int idx) {
  lunado_task *task = push_running(L, realm, "cannot open a TaskGroup");
  int t = lua_gettop(L);
  (void)push_scope(L, realm, LUNADO_SCOPE_GROUP);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, SCOPE_GROUP);
  enter(L, task, t);
  lua_remove(L, t);
}

/* scope:reschedule(deadline): gives an open timeout another deadline. */
static int scope_reschedule(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_scope *self = check_scope(L, realm);
  double when;
  luaL_argcheck(L, self->kind == LUNADO_SCOPE_TIMEOUT, 1, "not a timeout");
  if (self->expired) return luaL_error(L, "the timeout has expired already");
  if (!self->open) return luaL_error(L, "the timeout is closed");
  if (!lunado_timer_running(&self->timer))
    return luaL_error(L, "the IOLoop is closed");
  when = lunado__deadline_check(L, self->loop, 2);
  lunado_timer_stop(self->loop->core, &self->timer);
  if (lunado_timer_start(self->loop->core, &self->timer, when) == 0) return 0;
  lunado__anchor_drop(L, self->loop, self->anchor);
  return luaL_error(L, "not enough memory");
}

static const luaL_Reg methods[] = {{"cancel", scope_cancel},
                                   {"expired", scope_expired},
                                   {"reschedule", scope_reschedule},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", scope__close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"raise_due", core_raise_due},
                                     {"shield", tasks_shield},
                                     {"timeout", tasks_timeout},
                                     {NULL, NULL}};

void lunado__scope_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__scope_open(lua_State *L, lunado_realm *realm) {
  realm->types.scope = lunado__class_new_in_slot(
      L, realm, LUNADO_SLOT_SCOPE, "lunado.Scope", methods, metamethods);
}
