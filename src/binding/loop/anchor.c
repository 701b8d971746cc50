/* SPDX-License-Identifier: MIT */
/*
 * anchor.c - the values that a loop holds: a list in the registry, in which
 * each value has an index, its anchor.
 *
 * A free entry of the list contains the index of the next free entry.  After an
 * entry was freed, `next_anchor` keeps the index that it contains: the entry is
 * often the next to be used, and is then not read.
 *
 * A Lua table never shrinks by itself.  So after a peak the list is copied into
 * a smaller table.  Each value keeps its index, because the code that added the
 * value knows it by that index.  Values beyond the end of the new list are
 * strays, until the list has grown up to their indices.
 *
 * Invariant: each entry up to anchor_count is free or has a value; beyond
 * anchor_count exactly `strays` entries have a value.
 */
#include "binding/loop/anchor.h"

#include "binding/error/protect.h"
#include "binding/loop/ioloop.h"

/* The value of loop->next_anchor while the index is not known and must be read
 * from the list. */
#define UNKNOWN UINT32_MAX

/* A list of up to this size is never shrunk. */
#define KEPT_PLACES 1024u

static uint32_t next_free(lua_State *L, int list, uint32_t anchor) {
  uint32_t next;
  lua_rawgeti(L, list, anchor);
  next = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return next;
}

/* The number of strays directly behind the end of the list on top. */
static uint32_t count_strays(lua_State *L, const lunado_ioloop *loop) {
  uint32_t n = 0;
  while (n < loop->strays &&
         lua_rawgeti(L, -1, loop->anchor_count + n + 1) != LUA_TNIL) {
    lua_pop(L, 1);
    n++;
  }
  if (n < loop->strays) lua_pop(L, 1);
  return n;
}

/* Extends the list up to the new value's index.  The values that it passes are
 * no longer strays. */
static void grow(lunado_ioloop *loop, uint32_t anchor) {
  loop->strays -= anchor - loop->anchor_count - 1;
  loop->anchor_count = anchor;
  if (anchor > loop->anchor_room) loop->anchor_room = anchor;
}

uint32_t lunado__anchor_add(lua_State *L, lunado_ioloop *loop) {
  uint32_t anchor = loop->free_anchor, next = loop->next_anchor;
  if (loop->closed) luaL_error(L, "the IOLoop is closed");
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  if (anchor == 0) {
    anchor = loop->anchor_count + 1;
    if (loop->strays > 0) anchor += count_strays(L, loop);
  } else if (next == UNKNOWN) {
    next = next_free(L, lua_gettop(L), anchor);
  }
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, anchor);
  lua_pop(L, 1);
  loop->anchored++;
  if (loop->free_anchor == 0) {
    grow(loop, anchor);
  } else {
    loop->free_anchor = next;
    loop->next_anchor = UNKNOWN;
  }
  return anchor;
}

/* (loop): copies the list into a table just large enough for its values. */
static int renew(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  lua_createtable(L, 0, (int)loop->anchored);
  for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -1) == LUA_TNUMBER) continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
  }
  lua_rawseti(L, LUA_REGISTRYINDEX, loop->anchors);
  loop->free_anchor = 0;
  loop->anchor_count = 0;
  loop->strays = loop->anchor_room = loop->anchored;
  return 0;
}

/* Keeps the large list if there is no memory for a smaller one.  Runs no
 * finalizer: a function that releases a value expects none to run. */
static void shrink(lua_State *L, lunado_ioloop *loop) {
  if (!lua_checkstack(L, 4)) return;
  lua_pushcfunction(L, renew);
  lua_pushlightuserdata(L, loop);
  (void)lunado__protect_alone(L, 1);
}

/* Frees the entry in the list on top, and pops the list. */
static void free_anchor(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  if (anchor <= loop->anchor_count) {
    lua_pushinteger(L, loop->free_anchor);
    loop->next_anchor = loop->free_anchor;
    loop->free_anchor = anchor;
  } else {
    lua_pushnil(L);
    loop->strays--;
  }
  lua_rawseti(L, -2, anchor);
  lua_pop(L, 1);
  if (--loop->anchored < loop->anchor_room / 8 &&
      loop->anchor_room > KEPT_PLACES)
    shrink(L, loop);
}

void lunado__anchor_set(lua_State *L, const lunado_ioloop *loop,
                        uint32_t anchor) {
  if (!loop->closed) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, anchor);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void lunado__anchor_push(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  lua_rawgeti(L, -1, anchor);
  lua_remove(L, -2);
}

void lunado__anchor_drop(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  if (loop->closed) return; /* all values are released */
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  free_anchor(L, loop, anchor);
}

void lunado__anchor_take(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  lua_rawgeti(L, -1, anchor);
  lua_insert(L, -2);
  free_anchor(L, loop, anchor);
}

void lunado__anchor_starttimer(lua_State *L, lunado_ioloop *loop,
                               lunado_timer *timer, double when,
                               uint32_t *anchor) {
  int rc;
  *anchor = lunado__anchor_add(L, loop);
  rc = lunado_timer_start(loop->core, timer, when);
  if (rc == 0) return;
  lunado__anchor_drop(L, loop, *anchor);
  luaL_error(L, "cannot start a timeout: %s", uv_strerror(rc));
}

void lunado__anchor_stoptimer(lua_State *L, lunado_ioloop *loop,
                              lunado_timer *timer, uint32_t anchor) {
  if (!lunado_timer_running(timer)) return;
  lunado_timer_stop(loop->core, timer);
  lunado__anchor_drop(L, loop, anchor);
}
