/* SPDX-License-Identifier: MIT */
/*
 * log.c - the log: errors that no caller has taken, and messages.
 *
 * A message goes to the Lua handler if there is one, else to the host's, else
 * to stderr.  An error that a handler raises is reported on stderr and has no
 * other effect.
 */
#include "binding/state/log.h"

#include <stdio.h>
#include <string.h>

#include "binding/state/argument.h"
#include "binding/state/text.h"

static const char *const level_names[] = {"debug", "info", "warning", "error",
                                          NULL};

static void write_default(lunado_realm *realm, const char *level,
                          const char *message) {
  if (realm->logging.host_log != NULL) {
    realm->logging.host_log(realm->logging.host_log_data, level, message);
    return;
  }
  (void)fprintf(stderr, "%s: %s\n", level, message);
  (void)fflush(stderr);
}

/* Pushes the message at idx as a C string that contains all of it: its zeros
 * are written as \0. */
static const char *push_whole(lua_State *L, int idx) {
  size_t size;
  const char *text = lua_tolstring(L, idx, &size), *end = text + size;
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (const char *zero; (zero = memchr(text, 0, (size_t)(end - text)));) {
    luaL_addlstring(&buffer, text, (size_t)(zero - text));
    luaL_addstring(&buffer, "\\0");
    text = zero + 1;
  }
  luaL_addlstring(&buffer, text, (size_t)(end - text));
  luaL_pushresult(&buffer);
  return lua_tostring(L, -1);
}

static void call_handler(lua_State *L, lunado_realm *realm, const char *level,
                         int message) {
  lua_pushstring(L, level);
  lua_pushvalue(L, message);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lunado__text_push(L, -1);
  (void)fprintf(stderr, "error: the log handler failed: %s\n",
                push_whole(L, lua_gettop(L)));
  write_default(realm, level, push_whole(L, message));
}

/* (realm, level, message): passes the message to the handler. */
static int log_message(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  const char *level = level_names[lua_tointeger(L, 2)];
  lunado__getslot(L, realm, LUNADO_SLOT_LOG_HANDLER);
  if (lua_toboolean(L, -1))
    call_handler(L, realm, level, 3);
  else
    write_default(realm, level, push_whole(L, 3));
  return 0;
}

void lunado__log(lua_State *L, lunado_realm *realm, lunado_log_level level) {
  if ((int)level < realm->logging.level || !lua_checkstack(L, 8)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcfunction(L, log_message);
  lua_pushlightuserdata(L, realm);
  lua_pushinteger(L, level);
  lua_pushvalue(L, -4);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
    lua_pop(L, 1);
    write_default(realm, level_names[level], lua_tostring(L, -1));
  }
  lua_pop(L, 1);
}

/* (realm, text [, value]): logs them as an error. */
static int log_value(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 2));
  if (lua_gettop(L) > 3) {
    lunado__text_push(L, 3);
    lua_concat(L, 2);
  }
  lunado__log(L, lua_touserdata(L, 1), LUNADO_LOG_ERROR);
  return 0;
}

/* Logs the text, followed by the nargs values on top, which it pops. */
static void log_with(lua_State *L, lunado_realm *realm, const char *text,
                     int nargs) {
  int top = lua_gettop(L) - nargs;
  bool done = false;
  if (lua_checkstack(L, 8)) {
    lua_pushcfunction(L, log_value);
    lua_pushlightuserdata(L, realm);
    lua_pushlightuserdata(L, (void *)text);
    lua_rotate(L, top + 1, 3);
    done = lua_pcall(L, nargs + 2, 0, 0) == LUA_OK;
  }
  if (!done) write_default(realm, level_names[LUNADO_LOG_ERROR], text);
  lua_settop(L, top);
}

void lunado__log_text(lua_State *L, lunado_realm *realm, const char *text) {
  log_with(L, realm, text, 0);
}

void lunado__log_value(lua_State *L, lunado_realm *realm, const char *text) {
  log_with(L, realm, text, 1);
}

static int check_level(lua_State *L, int arg) {
  return luaL_checkoption(L, arg, NULL, level_names);
}

/* log(level, message) */
static int log_log(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  int level = check_level(L, 1);
  luaL_checkstring(L, 2);
  lua_settop(L, 2);
  lunado__log(L, realm, (lunado_log_level)level);
  return 0;
}

/* log_enabled(level) → boolean */
static int log_enabled(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lua_pushboolean(L, check_level(L, 1) >= realm->logging.level);
  return 1;
}

/* set_log_handler(function or nil) */
static int log_set_handler(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!lua_isnoneornil(L, 1)) lunado__checkcallable(L, 1);
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) lua_pushboolean(L, 0);
  lunado__setslot(L, realm, LUNADO_SLOT_LOG_HANDLER);
  return 0;
}

/* log_handler() → the function that set_log_handler was given, or nil */
static int log_handler(lua_State *L) {
  lunado__getslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_LOG_HANDLER);
  if (!lua_toboolean(L, -1)) lua_pushnil(L);
  return 1;
}

/* set_log_level(level) */
static int log_set_level(lua_State *L) {
  lunado__realm_upvalue(L)->logging.level = check_level(L, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"log", log_log},
                                     {"log_enabled", log_enabled},
                                     {"log_handler", log_handler},
                                     {"set_log_handler", log_set_handler},
                                     {"set_log_level", log_set_level},
                                     {NULL, NULL}};

void lunado__log_functions(lua_State *L) { lunado__setfunctions(L, functions); }
