/* SPDX-License-Identifier: MIT */
/* received.c - the Failures whose errors the running code was given. */
#include "binding/coroutine/received.h"

#include <ctype.h>
#include <string.h>

#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/state/class.h"

/* The task of the coroutine that runs, if it can be reached: at
 * realm->coroutines.runner_index of the C function that runs it, unless that
 * thread has continued meanwhile, for callbacks that run within the coroutine.
 * realm->coroutines.runner is in the C stack below, and so alive. */
static lunado_task *running_task(lunado_realm *realm) {
  lunado_task *task = realm->coroutines.current;
  if (task == NULL || !lua_checkstack(realm->coroutines.runner, 1) ||
      lua_touserdata(realm->coroutines.runner,
                     realm->coroutines.runner_index) != (void *)task)
    return NULL;
  return task;
}

/* --- remembering ------------------------------------------------------------
 * A task remembers one Failure.  Once errors differ, it remembers a table:
 * error -> Failure, with weak keys, so that an error that nothing else uses is
 * not kept.  The table is made with room for MOST errors, and gets no more, so
 * that storing into it never allocates. */

enum { MOST = 16 };

/* (task): replaces the Failure that the task remembers by a table with it. */
static int make_table(lua_State *L) {
  enum { TASK = 1, TABLE, FAILURE };
  lua_createtable(L, 0, MOST);
  lunado__class_setweak(L, "k");
  lua_getiuservalue(L, TASK, LUNADO_TASK_RECEIVED);
  lua_getiuservalue(L, FAILURE, LUNADO_FAILURE_ERROR);
  lua_pushvalue(L, FAILURE);
  lua_rawset(L, TABLE);
  lua_settop(L, TABLE);
  lua_setiuservalue(L, TASK, LUNADO_TASK_RECEIVED);
  return 0;
}

/* Pushes the task's table, which is made if the error on top is not the one
 * that the task remembers.  Returns false if it is, or memory is too short. */
static bool push_table(lua_State *L, int t, const lunado_task *task) {
  lua_getiuservalue(L, t, LUNADO_TASK_RECEIVED);
  if (task->received > 1) return true;
  if (lunado__failure_is_of(L, -1, -2)) return false;
  lua_pushcfunction(L, make_table);
  lua_pushvalue(L, t);
  if (!lunado__protect_alone(L, 1)) return false;
  lua_getiuservalue(L, t, LUNADO_TASK_RECEIVED);
  return true;
}

/* Puts the Failure on top into the task's table, if that has room.  NaN cannot
 * be a key. */
static bool put_in_table(lua_State *L, int t, lunado_task *task) {
  int failure = lua_gettop(L), err = failure + 1, table;
  lua_getiuservalue(L, failure, LUNADO_FAILURE_ERROR);
  if (!lua_rawequal(L, err, err) || !push_table(L, t, task)) return false;
  table = lua_gettop(L);
  lua_pushvalue(L, err);
  if (lua_rawget(L, table) == LUA_TNIL && task->received++ == MOST)
    return false;
  lua_pushvalue(L, err);
  lua_pushvalue(L, failure);
  lua_rawset(L, table);
  return true;
}

/* Pops the Failure on top if it was put into the task's table. */
static bool add(lua_State *L, int t, lunado_task *task) {
  int top = lua_gettop(L);
  bool added = lua_checkstack(L, 8) && put_in_table(L, t, task);
  lua_settop(L, added ? top - 1 : top);
  return added;
}

/* Most errors are the same as the one before, and are known by their addresses.
 * If another error has the same bits, the one before is forgotten. */
static uint32_t bits_of(lua_State *L, int err) {
  return (uint32_t)((uintptr_t)lua_topointer(L, err) >> 4);
}

/* Makes the task at t remember the Failure on top, and pops it.  If there is no
 * table for the other Failures that the task remembers, it forgets them. */
static void remember(lua_State *L, int t, lunado_task *task, uint32_t bits) {
  bool others =
      task->received > 1 ||
      (task->received == 1 && (bits == 0 || bits != task->received_bits));
  task->received_bits = bits;
  if (others && add(L, t, task)) return;
  lua_setiuservalue(L, t, LUNADO_TASK_RECEIVED);
  task->received = 1;
}

void lunado__received_throw_at(lua_State *L, int t, lunado_task *task) {
  lua_xmove(task->thread, L, 1);
  lunado__failure_observe(L, -1);
  lua_xmove(L, task->thread, 1);
  remember(L, t, task, bits_of(task->thread, -1));
}

/* Remembers the Failure on top, which is above its error, for the code that
 * runs on L, and pops it. */
static void note(lua_State *L, lunado_realm *realm) {
  lunado_task *task = running_task(realm);
  if (!lua_checkstack(L, 2)) {
    lua_pop(L, 1);
  } else if (task == NULL) {
    lunado__getslot(L, realm, LUNADO_SLOT_RECEIVED);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 1);
    realm->errors.receiver = L;
  } else {
    lua_pushvalue(realm->coroutines.runner, realm->coroutines.runner_index);
    lua_xmove(realm->coroutines.runner, L, 1);
    lua_insert(L, -2);
    remember(L, lua_gettop(L) - 1, task, bits_of(L, -3));
    lua_pop(L, 1);
  }
}

void lunado__received_throw(lua_State *L, lunado_realm *realm) {
  lunado__failure_observe(L, -1);
  lua_insert(L, -2);
  note(L, realm);
}

void lunado__received_pass(lua_State *L, lunado_realm *realm) {
  lunado_failure *failure = lua_touserdata(L, -1);
  lunado__received_throw(L, realm);
  failure->passing = true;
}

/* --- finding -------------------------------------------------------------- */

/* Pushes what is remembered; pushes nothing and returns false where that is
 * nothing. */
static bool push_remembered(lua_State *L, lunado_realm *realm) {
  const lunado_task *task = realm->coroutines.current;
  if (task != NULL && task->received > 0 && running_task(realm) != NULL) {
    lua_getiuservalue(realm->coroutines.runner, realm->coroutines.runner_index,
                      LUNADO_TASK_RECEIVED);
    lua_xmove(realm->coroutines.runner, L, 1);
    return true;
  }
  if (realm->errors.receiver != L) return false;
  lunado__getslot(L, realm, LUNADO_SLOT_RECEIVED);
  lua_rawgeti(L, -1, 1);
  lua_remove(L, -2);
  return true;
}

/* True if the string at `err` is that of the Failure on top behind a position:
 * what error(message) and assert(false, message) make of it. */
static bool is_repeated(lua_State *L, int err) {
  size_t length, before;
  const char *text, *first;
  bool same = false;
  lua_getiuservalue(L, -1, LUNADO_FAILURE_ERROR);
  if (lua_type(L, err) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
    text = lua_tolstring(L, err, &length);
    first = lua_tolstring(L, -1, &before);
    same = length > before + 3 &&
           isdigit((unsigned char)text[length - before - 3]) &&
           memcmp(text + length - before - 2, ": ", 2) == 0 &&
           memcmp(text + length - before, first, before) == 0;
  }
  lua_pop(L, 1);
  return same;
}

/* Pushes the Failure in the table on top whose error is the longest that the
 * string at `err` repeats, or nil. */
static void push_repeated(lua_State *L, int err) {
  int table = lua_gettop(L), found = table + 1;
  size_t longest = 0;
  lua_pushnil(L);
  for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
    if (!is_repeated(L, err) || lua_rawlen(L, -2) < longest) continue;
    longest = lua_rawlen(L, -2);
    lua_pushvalue(L, -1);
    lua_replace(L, found);
  }
}

static void push_from_table(lua_State *L, int err) {
  lua_pushvalue(L, err);
  if (lua_rawget(L, -2) != LUA_TNIL || lua_type(L, err) != LUA_TSTRING) return;
  lua_pop(L, 1);
  push_repeated(L, err);
}

/* Pushes the remembered Failure of the error; pushes nothing and returns false
 * where there is none. */
static bool push_received(lua_State *L, lunado_realm *realm, int err) {
  int top = lua_gettop(L);
  err = lua_absindex(L, err);
  if (lua_isnil(L, err) || !push_remembered(L, realm)) return false;
  if (lua_istable(L, -1)) {
    push_from_table(L, err);
    lua_remove(L, -2);
    if (lua_isuserdata(L, -1)) return true;
  } else if (lunado__failure_is_of(L, -1, err) ||
             (lua_isuserdata(L, -1) && is_repeated(L, err))) {
    return true;
  }
  lua_settop(L, top);
  return false;
}

void lunado__received_forget(lua_State *L, lunado_realm *realm) {
  realm->errors.receiver = NULL;
  lunado__getslot(L, realm, LUNADO_SLOT_RECEIVED);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
}

/* The one element is there from the start: storing into it allocates
 * nothing. */
void lunado__received_open(lua_State *L, lunado_realm *realm) {
  lua_createtable(L, 1, 0);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, 1);
  lunado__class_setweak(L, "v");
  lunado__setslot(L, realm, LUNADO_SLOT_RECEIVED);
}

/* So often an error is handed on before the Failures between are left out. */
#define HANDED_MAX 16

lunado_failure *lunado__received_handed(lua_State *L, lunado_realm *realm,
                                        int err, int level) {
  lunado_failure *self;
  int handed = 0;
  err = lua_absindex(L, err);
  if (!push_received(L, realm, err))
    return lunado__failure_new(L, realm, err, level);
  handed = ((lunado_failure *)lua_touserdata(L, -1))->handed;
  if (handed == HANDED_MAX) lunado__failure_origin(L);
  self = lunado__failure_new(L, realm, err, level);
  self->handed = handed < HANDED_MAX ? (uint8_t)(handed + 1) : 1;
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, LUNADO_FAILURE_INNER);
  return self;
}

/* What is remembered may go as soon as something is made: it is held. */
lunado_failure *lunado__received_raised(lua_State *L, lunado_realm *realm,
                                        int err, int level) {
  lunado_failure *self = NULL;
  err = lua_absindex(L, err);
  if (push_received(L, realm, err)) self = lua_touserdata(L, -1);
  if (self == NULL || !self->passing || !lunado__failure_is_of(L, -1, err)) {
    bool received = self != NULL;
    self = lunado__task_is_running(L, realm)
               ? lunado__failure_in_coroutine(L, realm, err, level)
               : lunado__failure_new(L, realm, err, level);
    if (received) {
      lua_insert(L, -2);
      lua_setiuservalue(L, -2, LUNADO_FAILURE_INNER);
    }
  }
  self->observed = true;
  return self;
}
