/* SPDX-License-Identifier: MIT */
/*
 * anchor.c - what a loop holds: a list of the registry's, in which each value
 * has a place.
 *
 * A free place of the list holds the number of the next free one.  That of the
 * first is known without a look after it was freed: it often is the next to be
 * used.
 *
 * A list of Lua's keeps the size that it once had.  When a peak is over the
 * list is made anew, with each value that is left in its place, for whoever put
 * it there knows that number; those are strays until the list has grown up to
 * them again.
 *
 * Invariant: places up to anchor_count are free or have a value; of those
 * beyond, `strays` have one.
 */
#include "binding/loop/anchor.h"

#include "binding/error/protect.h"
#include "binding/loop/ioloop.h"

/* loop->next_anchor, where it has to be looked up. */
#define UNKNOWN UINT32_MAX

/* A list of so many places is never too large. */
#define KEPT_PLACES 1024u

static uint32_t next_free(lua_State *L, int list, uint32_t anchor) {
  uint32_t next;
  lua_rawgeti(L, list, anchor);
  next = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return next;
}

/* The number of strays that the list at the top has right behind its end. */
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

/* The list has one more place, behind those that are no strays any more. */
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

/* (loop): makes the list anew, with room for what is in it. */
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

/* Where there is no memory for a smaller list the large one stays.  No
 * finalizer runs: who lets a value go does not expect any. */
static void shrink(lua_State *L, lunado_ioloop *loop) {
  if (!lua_checkstack(L, 4)) return;
  lua_pushcfunction(L, renew);
  lua_pushlightuserdata(L, loop);
  (void)lunado__protect_alone(L, 1);
}

/* Frees the place in the list on top, which it pops. */
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

void lunado__anchor_push(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, loop->anchors);
  lua_rawgeti(L, -1, anchor);
  lua_remove(L, -2);
}

void lunado__anchor_drop(lua_State *L, lunado_ioloop *loop, uint32_t anchor) {
  if (loop->closed) return; /* all were let go */
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
