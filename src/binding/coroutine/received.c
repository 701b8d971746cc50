/* SPDX-License-Identifier: MIT */
/* received.c - the Failure whose error the running code was given last. */
#include "binding/coroutine/received.h"

#include <ctype.h>
#include <string.h>

#include "binding/error/failure.h"
#include "binding/state/class.h"

/* The task of the coroutine that runs, if it can be reached: at
 * realm->coroutines.place of the C function that runs it, unless that thread
 * has gone on meanwhile, for callbacks that run within the coroutine.
 * realm->coroutines.runner is in the C stack below, and so alive. */
static lunado_task *running_task(lunado_realm *realm) {
  lunado_task *task = realm->coroutines.current;
  if (task == NULL || !lua_checkstack(realm->coroutines.runner, 1) ||
      lua_touserdata(realm->coroutines.runner, realm->coroutines.place) !=
          (void *)task)
    return NULL;
  return task;
}

void lunado__received_note(lua_State *L, lunado_realm *realm, bool passing) {
  lunado_task *task = running_task(realm);
  if (task == NULL) {
    lunado__getslot(L, realm, LUNADO_SLOT_RECEIVED);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 1);
    realm->errors.receiver = L;
    realm->errors.passing = passing;
    return;
  }
  lua_xmove(L, realm->coroutines.runner, 1);
  lua_setiuservalue(realm->coroutines.runner, realm->coroutines.place,
                    LUNADO_TASK_RECEIVED);
  task->flags |= TASK_RECEIVED | TASK_PASSING;
  if (!passing) task->flags &= ~(uint32_t)TASK_PASSING;
}

/* Pushes what is remembered; pushes nothing and returns false where that is
 * nothing. */
static bool push_remembered(lua_State *L, lunado_realm *realm, bool *passing) {
  lunado_task *task = running_task(realm);
  if (task != NULL && task->flags & TASK_RECEIVED) {
    lua_getiuservalue(realm->coroutines.runner, realm->coroutines.place,
                      LUNADO_TASK_RECEIVED);
    lua_xmove(realm->coroutines.runner, L, 1);
    *passing = (task->flags & TASK_PASSING) != 0;
    return true;
  }
  if (realm->errors.receiver != L) return false;
  lunado__getslot(L, realm, LUNADO_SLOT_RECEIVED);
  lua_rawgeti(L, -1, 1);
  lua_remove(L, -2);
  *passing = realm->errors.passing;
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

bool lunado__received_push(lua_State *L, lunado_realm *realm, int err,
                           bool *passing) {
  err = lua_absindex(L, err);
  if (lua_isnil(L, err) || !push_remembered(L, realm, passing)) return false;
  if (lunado__failure_is_of(L, lua_gettop(L), err)) return true;
  *passing = false;
  if (lua_isuserdata(L, -1) && is_repeated(L, err)) return true;
  lua_pop(L, 1);
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

void lunado__received_throw(lua_State *L, lunado_realm *realm) {
  lunado__failure_observe(L, -1);
  lua_insert(L, -2);
  lunado__received_note(L, realm, false);
}

lunado_failure *lunado__received_handed(lua_State *L, lunado_realm *realm,
                                        int err, int level) {
  lunado_failure *self;
  int handed = 0;
  bool passing;
  err = lua_absindex(L, err);
  if (!lunado__received_push(L, realm, err, &passing))
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
  lunado_failure *self;
  bool passing = false;
  bool received;
  err = lua_absindex(L, err);
  received = lunado__received_push(L, realm, err, &passing);
  if (received && passing) {
    self = lua_touserdata(L, -1);
  } else {
    self = lunado__failure_new(L, realm, err, level);
    if (received) {
      lua_insert(L, -2);
      lua_setiuservalue(L, -2, LUNADO_FAILURE_INNER);
    }
  }
  self->observed = true;
  return self;
}
