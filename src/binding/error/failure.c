/* SPDX-License-Identifier: MIT */
/*
 * failure.c - making Failures, and their text.
 *
 * Invariants: a Failure that becomes unreachable without being observed is
 * logged exactly once, by its finalizer (awaited.c).  Making a Failure formats
 * nothing, so an error costs only the walk of the stack.
 */
#include "binding/error/failure.h"

#include <string.h>

#include "binding/error/exception.h"
#include "binding/state/naming.h"
#include "binding/state/text.h"

/* Of a deep stack only so many first and so many last frames are kept, as by
 * luaL_traceback. */
#define FRAMES_FIRST 10
#define FRAMES_LAST 11
#define FRAMES_MAX (FRAMES_FIRST + FRAMES_LAST)

typedef struct lunado_failure_frame frame;

/* --- making --------------------------------------------------------------- */

static bool is_base(lua_State *L, const lunado_realm *realm, lua_Debug *ar) {
  bool base;
  lua_getinfo(L, "f", ar);
  base = lua_tocfunction(L, -1) == realm->coroutines.base;
  lua_pop(L, 1);
  return base;
}

/* Finds the activation records to keep, and returns their number.  Sets *last
 * to the level of the last function. */
static int find_frames(lua_State *L, int level, lua_Debug *records, int *last) {
  int count = 0;
  while (count < FRAMES_MAX && lua_getstack(L, level + count, &records[count]))
    count++;
  *last = level + count - 1;
  if (count == FRAMES_MAX) {
    *last = lunado__naming_lastlevel(L, *last);
    for (int i = FRAMES_FIRST; i < FRAMES_MAX; i++)
      (void)lua_getstack(L, *last - (FRAMES_MAX - 1 - i), &records[i]);
  }
  return count;
}

static void fill_frame(lua_State *L, frame *self, lua_Debug *ar) {
  lua_getinfo(L, "nltf", ar);
  self->name = ar->name;
  self->namewhat = ar->namewhat;
  self->line = ar->currentline;
  self->tail = ar->istailcall != 0;
}

/* Removes the names of functions whose caller has no frame here.  A function's
 * name is borrowed from its caller's constants, and only the caller's frame
 * holds these. */
static void forget_unheld_names(lunado_failure *self, bool gap) {
  if (self->count > 0) self->frames[self->count - 1].name = NULL;
  if (gap) self->frames[FRAMES_FIRST - 1].name = NULL;
}

/* The function at the base of a coroutine is lunado's own, and is left out. */
static lunado_failure *make(lua_State *L, lunado_realm *realm, int err,
                            int level, bool in_coroutine) {
  lua_Debug records[FRAMES_MAX];
  lunado_failure *self;
  int count = 0, last = -1;
  err = lua_absindex(L, err);
  luaL_checkstack(L, 6, NULL);
  if (level >= 0) count = find_frames(L, level, records, &last);
  if (count > 0 && (in_coroutine || is_base(L, realm, &records[count - 1])))
    count--;
  self = lua_newuserdatauv(
      L, sizeof *self + (size_t)count * sizeof self->frames[0],
      LUNADO_FAILURE_FRAMES - 1 + count);
  self->realm = realm;
  self->observed = self->interrupt = self->queued = self->logged = false;
  self->passing = false;
  self->home = 0;
  self->handed = 0;
  self->count = (uint8_t)count;
  self->last = last;
  if (lua_isnil(L, err))
    lua_pushliteral(L, "<no error object>");
  else
    lua_pushvalue(L, err);
  lua_setiuservalue(L, -2, LUNADO_FAILURE_ERROR);
  for (int i = 0; i < count; i++) {
    fill_frame(L, &self->frames[i], &records[i]);
    lua_setiuservalue(L, -2, LUNADO_FAILURE_FRAMES + i);
  }
  forget_unheld_names(self, count >= FRAMES_MAX - 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->types.failure_class);
  lua_setmetatable(L, -2);
  return self;
}

lunado_failure *lunado__failure_new(lua_State *L, lunado_realm *realm, int err,
                                    int level) {
  return make(L, realm, err, level, false);
}

lunado_failure *lunado__failure_in_coroutine(lua_State *L, lunado_realm *realm,
                                             int err, int level) {
  return make(L, realm, err, level, true);
}

void lunado__failure_nomemory(lua_State *L, lunado_realm *realm) {
  lunado__getslot(L, realm, LUNADO_SLOT_NO_MEMORY);
}

/* (realm, error) → the error's Failure, without frames */
static int wrap(lua_State *L) {
  (void)lunado__failure_new(L, lua_touserdata(L, 1), 2, -1);
  return 1;
}

void lunado__failure_wrap(lua_State *L, lunado_realm *realm) {
  if (lunado__failure_at(L, realm, -1) != NULL) return;
  if (lua_checkstack(L, 8)) {
    lua_pushcfunction(L, wrap);
    lua_pushlightuserdata(L, realm);
    lua_rotate(L, -3, 2);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK) return;
  }
  lua_pop(L, 1);
  lunado__failure_nomemory(L, realm);
}

bool lunado__failure_is_of(lua_State *L, int failure, int err) {
  bool same;
  err = lua_absindex(L, err);
  if (lua_type(L, failure) != LUA_TUSERDATA) return false;
  lua_getiuservalue(L, failure, LUNADO_FAILURE_ERROR);
  same = lua_rawequal(L, -1, err) || lua_isnil(L, err);
  lua_pop(L, 1);
  return same;
}

int lunado__failure_cut(lua_State *L, lua_CFunction function) {
  lunado_failure *self = lua_touserdata(L, -1);
  for (int i = 0; i < self->count; i++) {
    lua_getiuservalue(L, -1, LUNADO_FAILURE_FRAMES + i);
    if (lua_tocfunction(L, -1) == function) self->count = (uint8_t)i;
    lua_pop(L, 1);
  }
  if (self->count > 0) self->frames[self->count - 1].name = NULL;
  return self->count;
}

void lunado__failure_take(lua_State *L, lunado_realm *realm) {
  lunado__getslot(L, realm, LUNADO_SLOT_RAISED);
  if (!lunado__failure_is_of(L, -1, -2)) {
    lua_pop(L, 1);
    lunado__failure_wrap(L, realm);
    return;
  }
  lua_remove(L, -2);
  lua_pushboolean(L, 0);
  lunado__setslot(L, realm, LUNADO_SLOT_RAISED);
}

/* --- observing ------------------------------------------------------------ */

bool lunado__failure_is_cancelled(lua_State *L, lunado_realm *realm, int idx) {
  bool cancelled;
  lua_getiuservalue(L, idx, LUNADO_FAILURE_ERROR);
  cancelled = lunado__exception_is(L, realm, -1, LUNADO_E_CANCELLED);
  lua_pop(L, 1);
  return cancelled;
}

void lunado__failure_observe(lua_State *L, int idx) {
  lunado_failure *self = lua_touserdata(L, idx);
  self->observed = true;
  self->passing = false;
  lua_getiuservalue(L, idx, LUNADO_FAILURE_ERROR);
}

void lunado__failure_origin(lua_State *L) {
  while (lua_getiuservalue(L, -1, LUNADO_FAILURE_INNER) == LUA_TUSERDATA)
    lua_remove(L, -2);
  lua_pop(L, 1);
}

/* The Failure for "not enough memory" is shared by many errors, so it is never
 * marked. */
void lunado__failure_mark_logged(lua_State *L, lunado_realm *realm, int idx) {
  lua_pushvalue(L, idx);
  lunado__failure_origin(L);
  lunado__failure_nomemory(L, realm);
  if (!lua_rawequal(L, -1, -2))
    ((lunado_failure *)lua_touserdata(L, -2))->logged = true;
  lua_pop(L, 2);
}

/* --- text ----------------------------------------------------------------- */

static void push_function_name(lua_State *L, const frame *self,
                               const lua_Debug *ar, int function) {
  if (lunado__naming_pushglobal(L, function))
    lua_pushfstring(L, "function '%s'", lua_tostring(L, -1));
  else if (self->name != NULL && *self->namewhat != '\0')
    lua_pushfstring(L, "%s '%s'", self->namewhat, self->name);
  else if (*ar->what == 'm')
    lua_pushliteral(L, "main chunk");
  else if (*ar->what != 'C')
    lua_pushfstring(L, "function <%s:%d>", ar->short_src, ar->linedefined);
  else
    lua_pushliteral(L, "?");
}

static void add_frame(lua_State *L, luaL_Buffer *buffer, int failure,
                      const frame *self, int number) {
  lua_Debug ar;
  int top = lua_gettop(L);
  lua_getiuservalue(L, failure, LUNADO_FAILURE_FRAMES + number);
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">S", &ar);
  push_function_name(L, self, &ar, top + 1);
  if (self->line > 0)
    lua_pushfstring(L, "\n\t%s:%d: in %s", ar.short_src, self->line,
                    lua_tostring(L, -1));
  else
    lua_pushfstring(L, "\n\t%s: in %s", ar.short_src, lua_tostring(L, -1));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  luaL_addvalue(buffer);
  if (self->tail) luaL_addstring(buffer, "\n\t(...tail calls...)");
}

/* Pushes the traceback of the Failure's own frames, without those of its inner
 * Failures. */
static void push_section(lua_State *L, int idx, const char *title) {
  lunado_failure *self = lua_touserdata(L, idx);
  luaL_Buffer buffer;
  if (lua_getiuservalue(L, idx, LUNADO_FAILURE_TEXT) == LUA_TSTRING) return;
  lua_pop(L, 1);
  luaL_buffinit(L, &buffer);
  if (self->count > 0) luaL_addstring(&buffer, title);
  for (int i = 0; i < self->count; i++) {
    add_frame(L, &buffer, idx, &self->frames[i], i);
    if (i == FRAMES_FIRST - 1 && self->count >= FRAMES_MAX - 1)
      luaL_addstring(&buffer, "\n\t...");
  }
  luaL_pushresult(&buffer);
}

static const char *title_of(const lunado_failure *self, bool innermost) {
  if (innermost) return "stack traceback:";
  return self->handed > 0 ? "passed on by:" : "awaited by:";
}

/* A chain of awaits can be as long as memory permits.  So its Failures are
 * collected in a list, the innermost last, and their sections are written from
 * the list. */
void lunado__failure_traceback(lua_State *L, int idx) {
  int list, n = 0;
  luaL_Buffer buffer;
  luaL_checkstack(L, 12, NULL);
  lua_pushvalue(L, idx);
  lua_newtable(L);
  lua_insert(L, -2);
  list = lua_gettop(L) - 1;
  while (lua_isuserdata(L, -1)) {
    lua_pushvalue(L, -1);
    lua_rawseti(L, list, ++n);
    lua_getiuservalue(L, -1, LUNADO_FAILURE_INNER);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  luaL_buffinit(L, &buffer);
  for (int i = n; i > 0; i--) {
    lua_rawgeti(L, list, i);
    push_section(L, lua_gettop(L), title_of(lua_touserdata(L, -1), i == n));
    lua_remove(L, -2);
    if (i < n && lua_rawlen(L, -1) > 0) {
      lua_pushliteral(L, "\n");
      lua_insert(L, -2);
      lua_concat(L, 2);
    }
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  lua_remove(L, list);
}

void lunado__failure_raised_during(lua_State *L, int idx, int first) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 12, NULL);
  push_section(L, idx, "stack traceback:");
  lunado__failure_text(L, first);
  lua_pushfstring(L, "%s\nraised while this error was handled:\n%s",
                  lua_tostring(L, top + 1), lua_tostring(L, top + 2));
  lua_setiuservalue(L, idx, LUNADO_FAILURE_TEXT);
  lua_settop(L, top);
}

void lunado__failure_errortext(lua_State *L, int idx) {
  lua_getiuservalue(L, idx, LUNADO_FAILURE_ERROR);
  lunado__text_push(L, -1);
  lua_remove(L, -2);
}

void lunado__failure_text(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lunado__failure_errortext(L, idx);
  lunado__failure_traceback(L, idx);
  if (lua_rawlen(L, -1) == 0) {
    lua_pop(L, 1);
    return;
  }
  lua_pushliteral(L, "\n");
  lua_insert(L, -2);
  lua_concat(L, 3);
}

/* --- open ----------------------------------------------------------------- */

void lunado__failure_open(lua_State *L, lunado_realm *realm) {
  lunado_failure *spare;
  realm->types.failure = lunado__class_new(L, "lunado.Failure", NULL, NULL);
  realm->types.failure_class = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "not enough memory");
  spare = lunado__failure_new(L, realm, -1, -1);
  spare->observed = true;
  lunado__setslot(L, realm, LUNADO_SLOT_NO_MEMORY);
  lua_pop(L, 1);
}
