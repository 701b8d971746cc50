/* SPDX-License-Identifier: MIT */
/* parcel.c - encoded values, and the userdata that owns them meanwhile. */
#include "binding/thread/parcel.h"
#include "binding/state/class.h"

#include <lauxlib.h>
#include <stdatomic.h>
#include <string.h>

#include "binding/thread/code.h"

/* Larger buffers are moved, not copied, and not kept for the next parcel. */
#define SMALL ((size_t)1024)

static int packing__gc(lua_State *L) {
  lunado__packing *p = lua_touserdata(L, 1);
  lunado__parcel_free(&p->parcel);
  lunado__bytes_free(&p->parents);
  return 0;
}

/* The user values of a packing. */
enum {
  PACKING_LENT = 1,
  PACKING_BOOK,
  PACKING_SUBSTITUTES,
  PACKING_VALUES = 3
};

static const char packing_key = 0;

/* Pushes the packing that the state keeps, or makes it.  It may be in use.
 * [-0, +1, m] */
static lunado__packing *push_kept_packing(lua_State *L) {
  static const char name[] = "lunado.Parcel";
  lunado__packing *p;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &packing_key) != LUA_TNIL)
    return lua_touserdata(L, -1);
  lua_pop(L, 1);
  p = lunado__class_private(L, sizeof *p, PACKING_VALUES, name, packing__gc);
  lunado__code_push_book(L);
  lua_setiuservalue(L, -2, PACKING_BOOK);
  lua_newtable(L);
  lunado__class_setweak(L, "k");
  lua_setiuservalue(L, -2, PACKING_SUBSTITUTES);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &packing_key);
  return p;
}

/* Replaces the packing on top, which is in use, by one that has the same book
 * and substitutes, and that the state keeps from now on.  [-1, +1, m] */
static lunado__packing *replace_packing(lua_State *L) {
  static const char name[] = "lunado.Parcel";
  lunado__packing *p =
      lunado__class_private(L, sizeof *p, PACKING_VALUES, name, packing__gc);
  lua_getiuservalue(L, -2, PACKING_BOOK);
  lua_setiuservalue(L, -2, PACKING_BOOK);
  lua_getiuservalue(L, -2, PACKING_SUBSTITUTES);
  lua_setiuservalue(L, -2, PACKING_SUBSTITUTES);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &packing_key);
  lua_replace(L, -2);
  return p;
}

void lunado__parcel_substitute(lua_State *L, int idx, int substitute) {
  idx = lua_absindex(L, idx);
  substitute = lua_absindex(L, substitute);
  (void)push_kept_packing(L);
  lua_getiuservalue(L, -1, PACKING_SUBSTITUTES);
  lua_pushvalue(L, idx);
  lua_pushvalue(L, substitute);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

bool lunado__parcel_push_substitute(lua_State *L, const lunado__packing *p,
                                    int idx) {
  lua_pushvalue(L, idx);
  if (lua_rawget(L, p->substitutes) == LUA_TFUNCTION) return true;
  lua_pop(L, 1);
  return false;
}

/* Nothing here raises after the packing is in use.  [-0, +4, m] */
lunado__packing *lunado__parcel_new_packing(lua_State *L) {
  static _Atomic uint64_t last_serial;
  lunado__packing *p = push_kept_packing(L);
  int packing = lua_gettop(L);
  if (p->busy) p = replace_packing(L);
  p->busy = true;
  p->serial = atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed);
  p->serial++;
  p->self = NULL;
  p->current = 0;
  p->listed = false;
  p->upvalues = 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  p->globals = lua_topointer(L, -1);
  lua_pop(L, 1);
  lua_pushnil(L);
  p->known = packing + 1;
  lua_getiuservalue(L, packing, PACKING_BOOK);
  p->book = packing + 2;
  lua_getiuservalue(L, packing, PACKING_SUBSTITUTES);
  p->substitutes = packing + 3;
  return p;
}

lunado__parcel *lunado__parcel_at(lua_State *L, int idx) {
  return &((lunado__packing *)lua_touserdata(L, idx))->parcel;
}

void lunado__parcel_push_lent(lua_State *L, int idx) {
  if (lunado__parcel_at(L, idx)->lent > 0)
    lua_getiuservalue(L, idx, PACKING_LENT);
  else
    lua_pushnil(L);
}

size_t lunado__parcel_room(const lunado__parcel *parcel) {
  size_t size = lunado__parcel_size(parcel);
  return size <= SMALL ? size : 0;
}

/* Moves the buffer, or its contents to *room, which then is the end of it. */
static void move_bytes(lunado__bytes *to, lunado__bytes *from, char **room) {
  memset(to, 0, sizeof *to);
  if (from->length == 0) return;
  if (*room == NULL) {
    *to = *from;
    memset(from, 0, sizeof *from);
    return;
  }
  to->data = memcpy(*room, from->data, from->length);
  to->length = from->length;
  *room += from->length;
  from->length = 0;
}

void lunado__parcel_move(lua_State *L, int idx, lunado__parcel *to,
                         char *room) {
  lunado__packing *p = lua_touserdata(L, idx);
  lunado__bytes headers = p->parcel.headers, bodies = p->parcel.bodies;
  *to = p->parcel;
  move_bytes(&to->headers, &headers, &room);
  move_bytes(&to->bodies, &bodies, &room);
  memset(&p->parcel, 0, sizeof p->parcel);
  p->parcel.headers = headers;
  p->parcel.bodies = bodies;
  if (p->parents.capacity > SMALL) lunado__bytes_free(&p->parents);
  p->parents.length = 0;
  if (to->lent > 0) {
    lua_pushnil(L);
    lua_setiuservalue(L, idx < 0 ? idx - 1 : idx, PACKING_LENT);
  }
  p->busy = false;
}

/* Releases the references in the headers.  The headers up to the last reference
 * are complete, even if the parcel is not. */
static void release_codes(lunado__parcel *parcel) {
  const char *at = parcel->headers.data;
  while (parcel->codes > 0) {
    size_t length;
    lunado__code *code;
    switch (*at++) {
    case TAG_CODE:
    case TAG_KEPT:
      memcpy(&code, at, sizeof code);
      lunado__code_release(code);
      parcel->codes--;
      at += sizeof code;
      break;
    case TAG_TABLE:
      at += 2 * sizeof length;
      break;
    case TAG_LENT:
      at += sizeof at + sizeof length;
      break;
    default:
      memcpy(&length, at, sizeof length);
      at += sizeof length + length;
    }
  }
}

void lunado__parcel_free(lunado__parcel *parcel) {
  release_codes(parcel);
  lunado__bytes_free(&parcel->headers);
  lunado__bytes_free(&parcel->bodies);
  memset(parcel, 0, sizeof *parcel);
}

size_t lunado__parcel_size(const lunado__parcel *parcel) {
  return parcel->headers.length + parcel->bodies.length;
}
