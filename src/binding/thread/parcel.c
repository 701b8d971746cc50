/* SPDX-License-Identifier: MIT */
/* parcel.c - encoded values, and the userdata that owns them meanwhile. */
#include "binding/thread/parcel.h"
#include "binding/state/class.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "core/alloc.h"

/* The minimum capacity of a buffer. */
#define BYTES_MIN 128

/* Makes room for `size` more bytes; returns false if memory is short. */
static bool bytes_grow(lunado__bytes *bytes, size_t size) {
  size_t capacity = bytes->length + size;
  char *data;
  if (capacity < size) return false;
  if (capacity < bytes->capacity * 2) capacity = bytes->capacity * 2;
  if (capacity < BYTES_MIN) capacity = BYTES_MIN;
  data = lunado__realloc(bytes->data, capacity);
  if (data == NULL) return false;
  bytes->data = data;
  bytes->capacity = capacity;
  return true;
}

/* Appends `size` uninitialized bytes and returns their address; NULL if memory
 * is short. */
char *lunado__parcel_take(lunado__bytes *bytes, size_t size) {
  char *at;
  if (size > bytes->capacity - bytes->length && !bytes_grow(bytes, size))
    return NULL;
  at = bytes->data + bytes->length;
  bytes->length += size;
  return at;
}

void lunado__parcel_free_bytes(lunado__bytes *bytes) {
  lunado__free(bytes->data);
  memset(bytes, 0, sizeof *bytes);
}

static const char substitutes_key = 0;

/* Pushes the table function -> substitute; nil if there are no substitutes.
 * [-0, +1, -] */
static int push_substitutes(lua_State *L) {
  return lua_rawgetp(L, LUA_REGISTRYINDEX, &substitutes_key);
}

void lunado__parcel_substitute(lua_State *L, int idx, int substitute) {
  idx = lua_absindex(L, idx);
  substitute = lua_absindex(L, substitute);
  if (push_substitutes(L) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    lunado__class_setweak(L, "k");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &substitutes_key);
  }
  lua_pushvalue(L, idx);
  lua_pushvalue(L, substitute);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

bool lunado__parcel_push_substitute(lua_State *L, const lunado__packing *p,
                                    int idx) {
  if (!lua_istable(L, p->substitutes)) return false;
  lua_pushvalue(L, idx);
  if (lua_rawget(L, p->substitutes) == LUA_TFUNCTION) return true;
  lua_pop(L, 1);
  return false;
}

static int packing__gc(lua_State *L) {
  lunado__packing *p = lua_touserdata(L, 1);
  lunado__parcel_free(&p->parcel);
  lunado__parcel_free_bytes(&p->parents);
  return 0;
}

/* Pushes the metatable of packings.  The registry gets it only when it is
 * complete.  So if memory runs out before that, the next call makes it anew.
 * [-0, +1, m] */
static void push_packing_metatable(lua_State *L) {
  static const char key = 0;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushcfunction(L, packing__gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, "lunado.Parcel");
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

/* Pushes an empty packing, a nil that becomes its table `known`, and the table
 * of substitutes (or nil).  [-0, +3, m] */
lunado__packing *lunado__parcel_new_packing(lua_State *L) {
  lunado__packing *p = lua_newuserdatauv(L, sizeof *p, 0);
  memset(p, 0, sizeof *p);
  push_packing_metatable(L);
  lua_setmetatable(L, -2);
  lua_pushnil(L);
  p->known = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  p->globals = lua_topointer(L, -1);
  lua_pop(L, 1);
  (void)push_substitutes(L);
  p->substitutes = lua_gettop(L);
  return p;
}

lunado__parcel *lunado__parcel_at(lua_State *L, int idx) {
  return &((lunado__packing *)lua_touserdata(L, idx))->parcel;
}

void lunado__parcel_move(lunado__parcel *to, lunado__parcel *from) {
  *to = *from;
  memset(from, 0, sizeof *from);
}

void lunado__parcel_free(lunado__parcel *parcel) {
  lunado__parcel_free_bytes(&parcel->headers);
  lunado__parcel_free_bytes(&parcel->bodies);
  memset(parcel, 0, sizeof *parcel);
}

size_t lunado__parcel_size(const lunado__parcel *parcel) {
  return parcel->headers.length + parcel->bodies.length;
}
