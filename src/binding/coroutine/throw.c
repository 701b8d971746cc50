/* SPDX-License-Identifier: MIT */
/*
 * throw.c - raising an error where a coroutine has yielded.
 *
 * Lua cannot raise an error in a coroutine from outside, but a debug hook in
 * the coroutine can.  The hook is called at the first return, which is that of
 * the yield itself.  gen.await needs no hook: its continuation raises the
 * error.
 */
#include "binding/coroutine/throw.h"

#include "binding/coroutine/received.h"
#include "binding/coroutine/task.h"
#include "binding/error/failure.h"

static void restore_hook(lua_State *L, lunado_realm *realm) {
  lua_sethook(L, realm->coroutines.user_hook, realm->coroutines.user_hook_mask,
              realm->coroutines.user_hook_count);
  realm->coroutines.user_hook = NULL;
}

/* The hook of a coroutine that is resumed with an error, and has no other hook.
 * When the yield returns, the error is on top. */
static void raise_alone(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  (void)lua_error(L);
}

/* The same for a coroutine that has a hook. */
static void raise_at_return(lua_State *L, lua_Debug *ar) {
  lunado_realm *realm = lunado__realm_find(L);
  (void)ar;
  restore_hook(L, realm);
  realm->coroutines.throwing = false;
  (void)lua_error(L);
}

void lunado__throw_value(lunado_realm *realm, lunado_task *task) {
  lua_State *thread = task->thread;
  task->flags |= TASK_THROWN;
  if (!(task->flags & TASK_AWAITING) && lua_gethook(thread) == NULL) {
    lua_sethook(thread, raise_alone, LUA_MASKRET, 0);
    return;
  }
  realm->coroutines.throwing = true;
  if (task->flags & TASK_AWAITING) return;
  realm->coroutines.user_hook = lua_gethook(thread);
  realm->coroutines.user_hook_mask = lua_gethookmask(thread);
  realm->coroutines.user_hook_count = lua_gethookcount(thread);
  lua_sethook(thread, raise_at_return, LUA_MASKRET, 0);
}

void lunado__throw_failure(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task) {
  lunado__received_throw_at(L, t, task);
  lunado__throw_value(realm, task);
}

bool lunado__throw_protected(lua_State *L, lunado_realm *realm, int t,
                             lua_CFunction function, int nargs) {
  lunado_task *task = lua_touserdata(L, t);
  int base = lua_gettop(L) - nargs + 1, below;
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_pushcfunction(L, function);
  lua_rotate(L, base, 2);
  if (lua_pcall(L, nargs, LUA_MULTRET, base) == LUA_OK) {
    lua_remove(L, base);
    return true;
  }
  if (lua_status(task->thread) != LUA_YIELD) {
    lua_settop(L, base - 1);
    return false;
  }
  lunado__failure_take(L, realm);
  below = lunado__failure_cut(L, function);
  if (below == 0) lunado__failure_observe(L, -1);
  lua_xmove(L, task->thread, 1);
  lua_settop(L, base - 1);
  if (below > 0)
    lunado__throw_failure(L, realm, t, task);
  else
    lunado__throw_value(realm, task);
  return false;
}

int lunado__throw_count(const lunado_task *task) {
  return lua_status(task->thread) == LUA_YIELD ? 1 : RESUMED_OUTSIDE;
}

int lunado__throw_raised(lua_State *L, lunado_realm *realm, int t,
                         lua_CFunction function) {
  (void)lunado__throw_protected(L, realm, t, function, 0);
  return lunado__throw_count(lua_touserdata(L, t));
}

void lunado__throw_unhook(lua_State *thread) {
  if (lua_gethook(thread) == raise_alone) lua_sethook(thread, NULL, 0, 0);
}

/* The hook of a coroutine of other code into which core.throw raises an
 * error. */
static void raise_thrown(lua_State *L, lua_Debug *ar) {
  lunado_realm *realm = lunado__realm_find(L);
  (void)ar;
  restore_hook(L, realm);
  lunado__getslot(L, realm, LUNADO_SLOT_THROWN);
  lua_pushboolean(L, 0);
  lunado__setslot(L, realm, LUNADO_SLOT_THROWN);
  if (lunado__failure_at(L, realm, -1) != NULL) lunado__received_pass(L, realm);
  (void)lua_error(L);
}

/* throw(thread, err): raises the error, or that of a Failure, at the yield at
 * which the thread is suspended; lunado does not run the thread.  The caller
 * resumes it at once. */
static int core_throw(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lua_State *thread = lua_tothread(L, 1);
  luaL_argexpected(L, thread != NULL, 1, "thread");
  luaL_argcheck(L, lua_status(thread) == LUA_YIELD, 1, "not suspended");
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lunado__setslot(L, realm, LUNADO_SLOT_THROWN);
  realm->coroutines.user_hook = lua_gethook(thread);
  realm->coroutines.user_hook_mask = lua_gethookmask(thread);
  realm->coroutines.user_hook_count = lua_gethookcount(thread);
  lua_sethook(thread, raise_thrown, LUA_MASKRET, 0);
  return 0;
}

static const luaL_Reg functions[] = {{"throw", core_throw}, {NULL, NULL}};

void lunado__throw_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__throw_resumed(lunado_realm *realm, lunado_task *task) {
  if (realm->coroutines.awaiting) {
    realm->coroutines.awaiting = false;
    task->flags |= TASK_AWAITING;
  }
  if (realm->coroutines.throwing) { /* it could not be resumed */
    realm->coroutines.throwing = false;
    if (lua_gethook(task->thread) == raise_at_return)
      restore_hook(task->thread, realm);
  }
}
