/* SPDX-License-Identifier: MIT */
/*
 * watch.c - hooks by which lunado's Lua modules watch coroutines, and errors
 * that they raise in a suspended one.
 *
 * A watched coroutine has a record in SLOT_WATCHED.  The record is a table that
 * has all of its fields from the start, so that entering and leaving contexts
 * allocates nothing.
 */
#include "binding/coroutine/watch.h"

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/future/future.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"
#include "binding/state/log.h"

/* The fields of a record. */
enum {
  RECORD_CONTEXTS = 1, /* the contexts to enter */
  RECORD_BEFORE,       /* the contexts that watch_leave restores, or false */
  RECORD_TASK          /* the task, once it has entered contexts, or false */
};

/* --- the thread hook ------------------------------------------------------ */

/* (thread): calls the thread hook. */
static int call_thread_hook(lua_State *L) {
  lunado__getslot(L, lunado__realm_find(L), LUNADO_SLOT_THREAD_HOOK);
  lua_insert(L, 1);
  lua_call(L, 1, 0);
  return 0;
}

void lunado__watch_thread(lua_State *L, lunado_realm *realm, int t) {
  luaL_checkstack(L, 4, NULL);
  realm->coroutines.has_thread_hook = false;
  lua_pushcfunction(L, call_thread_hook);
  lua_getiuservalue(L, t, LUNADO_TASK_THREAD);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lunado__log_value(L, realm, "Exception in the thread hook: ");
  lunado__getslot(L, realm, LUNADO_SLOT_THREAD_HOOK);
  realm->coroutines.has_thread_hook = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
}

/* set_thread_hook(fn) → the previous hook, or nil.  fn(thread) is called before
 * each coroutine begins.  If fn is nil, there is no hook. */
static int core_set_thread_hook(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!lua_isnoneornil(L, 1)) lunado__checkcallable(L, 1);
  lua_settop(L, 1);
  lunado__getslot(L, realm, LUNADO_SLOT_THREAD_HOOK);
  realm->coroutines.has_thread_hook = !lua_isnil(L, 1);
  lua_pushvalue(L, 1);
  lunado__setslot(L, realm, LUNADO_SLOT_THREAD_HOOK);
  if (!lua_toboolean(L, -1)) lua_pushnil(L); /* an unset slot is false */
  return 1;
}

/* --- contexts of its own -------------------------------------------------- */

/* Pushes the record of the coroutine of `thread`, or nil. */
static void push_record(lua_State *L, const lunado_realm *realm,
                        lua_State *thread) {
  lunado__getslot(L, realm, LUNADO_SLOT_WATCHED);
  (void)lua_pushthread(thread);
  if (thread != L) lua_xmove(thread, L, 1);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

void lunado__watch_enter(lua_State *L, lunado_realm *realm, int t,
                         lunado_task *task) {
  task->flags ^= TASK_ENTERING | TASK_ENTERED;
  push_record(L, realm, task->thread);
  lua_pushvalue(L, t);
  lua_rawseti(L, -2, RECORD_TASK);
  lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  lua_rawseti(L, -2, RECORD_BEFORE);
  lua_rawgeti(L, -1, RECORD_CONTEXTS);
  lunado__context_set(L, realm);
  lua_pop(L, 1);
}

bool lunado__watch_is_within(lua_State *L, const lunado_realm *realm,
                             const lunado_task *task) {
  bool within;
  if (!(task->flags & TASK_ENTERED)) return false;
  push_record(L, realm, task->thread);
  lua_rawgeti(L, -1, RECORD_CONTEXTS);
  within = lua_topointer(L, -1) == realm->contexts.current;
  lua_pop(L, 2);
  return within;
}

void lunado__watch_leave(lua_State *L, lunado_realm *realm, lunado_task *task) {
  task->flags &= ~(uint32_t)TASK_ENTERED;
  push_record(L, realm, task->thread);
  lua_rawgeti(L, -1, RECORD_BEFORE);
  lunado__context_set(L, realm);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, RECORD_BEFORE);
  lua_pop(L, 1);
}

/* --- the end -------------------------------------------------------------- */

/* (thread, succeeded): calls the finish hook. */
static int tell_end(lua_State *L) {
  lunado__getslot(L, lunado__realm_find(L), LUNADO_SLOT_FINISH);
  lua_insert(L, 1);
  lua_call(L, 2, 0);
  return 0;
}

void lunado__watch_end(lua_State *L, int t, lunado_task *task) {
  int outcome = lua_gettop(L);
  bool succeeded = (task->flags & (TASK_FAILED | TASK_THROWN)) == 0;
  lunado__getslot(L, lunado__realm_find(L), LUNADO_SLOT_WATCHED);
  lua_getiuservalue(L, t, LUNADO_TASK_THREAD);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pushcfunction(L, tell_end);
  lua_getiuservalue(L, t, LUNADO_TASK_THREAD);
  lua_pushboolean(L, succeeded);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK && !(task->flags & TASK_FAILED)) {
    task->flags |= TASK_FAILED;
    lua_replace(L, outcome);
  }
  lua_settop(L, outcome);
}

/* set_finish_hook(fn): fn(thread, succeeded) is called at the end of each
 * watched coroutine.  succeeded: the coroutine has returned, and no error was
 * raised at any of its yields. */
static int core_set_finish_hook(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_FINISH);
  return 0;
}

/* --- watching ------------------------------------------------------------- */

/* Returns the task whose yield is being converted, or else the running one, or
 * NULL. */
static lunado_task *current(const lunado_realm *realm) {
  return realm->coroutines.yielder != NULL ? realm->coroutines.yielder
                                           : realm->coroutines.current;
}

/* current_thread() → the thread of the coroutine whose yield is being
 * converted, or else of the running one; nil outside of coroutines. */
static int core_current_thread(lua_State *L) {
  const lunado_task *task = current(lunado__realm_upvalue(L));
  if (task == NULL) {
    lua_pushnil(L);
    return 1;
  }
  if (!lua_checkstack(task->thread, 1)) return luaL_error(L, "stack overflow");
  (void)lua_pushthread(task->thread);
  if (task->thread != L) lua_xmove(task->thread, L, 1);
  return 1;
}

/* watch(contexts): watches the coroutine of current_thread(), which will enter
 * the contexts, a table, at its next yield. */
static int core_watch(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_task *task = current(realm);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (core_current_thread(L) != 1 || task == NULL)
    return luaL_error(L, "no coroutine runs");
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, 3, RECORD_CONTEXTS);
  for (int i = RECORD_BEFORE; i <= RECORD_TASK; i++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, 3, i);
  }
  lunado__getslot(L, realm, LUNADO_SLOT_WATCHED);
  lua_insert(L, 2);
  lua_rawset(L, 2);
  task->flags |= TASK_WATCHED | TASK_ENTERING;
  return 0;
}

/* fail_wait(thread, future) → true.  Ends the wait of the thread's coroutine,
 * which is watched and suspended: the error of the failed Future will be raised
 * at its yield.  Returns false, and changes nothing, if the coroutine is not
 * suspended, or if the Future that it waits for has failed already. */
static int core_fail_wait(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future = lunado__checkfuture(L, realm, 2);
  luaL_checktype(L, 1, LUA_TTHREAD);
  luaL_argcheck(L, future->state == LUNADO_FAILED, 2,
                "the Future has not failed");
  lua_settop(L, 2);
  lunado__getslot(L, realm, LUNADO_SLOT_WATCHED);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 3) != LUA_TTABLE) return 1;
  lua_rawgeti(L, 4, RECORD_TASK);
  if (!lua_toboolean(L, 5)) return 1;
  lua_pushvalue(L, 2);
  lua_pushboolean(L, lunado__suspend_fail_wait(L, 5));
  return 1;
}

static const luaL_Reg functions[] = {{"set_thread_hook", core_set_thread_hook},
                                     {"set_finish_hook", core_set_finish_hook},
                                     {"current_thread", core_current_thread},
                                     {"watch", core_watch},
                                     {"fail_wait", core_fail_wait},
                                     {NULL, NULL}};

void lunado__watch_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
