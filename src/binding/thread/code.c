/* SPDX-License-Identifier: MIT */
/*
 * code.c - the code of Lua functions, dumped once and shared between threads.
 *
 * A book finds a code in two ways.  A table with weak keys has the codes of
 * functions that were sent more than once.  An array has the codes dumped last,
 * by the hash of their bytes: functions that a program makes anew for each job
 * have equal bytes, so they share one code.
 *
 * Both the array of a book and the functions that a worker keeps have a fixed
 * number of slots.  A newer entry replaces the older one in its slot.
 */
#include "binding/thread/code.h"

#include <lauxlib.h>
#include <string.h>

#include "binding/state/class.h"
#include "binding/thread/bytes.h"
#include "core/alloc.h"

/* The number of slots in a book, and in a worker. */
#define SLOTS 128

/* Longer code has no slot in either. */
#define LONGEST_PLACED ((size_t)32 * 1024)

/* --- codes ---------------------------------------------------------------- */

static void code_ref(lunado__code *code) {
  atomic_fetch_add_explicit(&code->refs, 1, memory_order_relaxed);
}

void lunado__code_release(lunado__code *code) {
  if (atomic_fetch_sub_explicit(&code->refs, 1, memory_order_acq_rel) == 1)
    lunado__free(code);
}

/* FNV-1a, eight bytes at a time. */
static uint64_t hash_bytes(const char *data, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u, word;
  for (; length >= sizeof word; data += sizeof word, length -= sizeof word) {
    memcpy(&word, data, sizeof word);
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 32;
  }
  for (; length > 0; data++, length--)
    hash = (hash ^ (unsigned char)*data) * 0x100000001b3u;
  return hash ^ hash >> 29;
}

/* True if the function at idx has no upvalue but one named _ENV.
 * [-0, +0, -] */
static bool is_bare(lua_State *L, int idx) {
  const char *name = lua_getupvalue(L, idx, 1);
  bool bare = name == NULL || strcmp(name, "_ENV") == 0;
  if (name != NULL) lua_pop(L, 1);
  if (!bare || lua_getupvalue(L, idx, 2) == NULL) return bare;
  lua_pop(L, 1);
  return false;
}

/* Returns a new code with one reference, NULL if memory is short. */
static lunado__code *code_new(const lunado__bytes *bytes, uint64_t hash) {
  static _Atomic uint64_t last_number;
  lunado__code *code = lunado__realloc(NULL, sizeof *code + bytes->length);
  if (code == NULL) return NULL;
  memset(code, 0, sizeof *code);
  atomic_init(&code->refs, 1);
  code->number = atomic_fetch_add(&last_number, 1) + 1;
  code->hash = hash;
  code->length = bytes->length;
  memcpy(code->bytes, bytes->data, bytes->length);
  return code;
}

static bool code_equals(const lunado__code *code, uint64_t hash,
                        const lunado__bytes *bytes) {
  return code != NULL && code->hash == hash && code->length == bytes->length &&
         memcmp(code->bytes, bytes->data, bytes->length) == 0;
}

/* --- the book of a sending state ------------------------------------------ */

/* A userdata; its user value 1 is the table function -> holder. */
typedef struct {
  lunado__code *slots[SLOTS]; /* references or NULL, by hash */
  const void *seen[SLOTS];    /* identities of functions dumped last; some may
                                  have been collected */
  lunado__bytes dumped;       /* owned; the code of one function */
} book;

/* A holder is a userdata with one reference. */
typedef lunado__code *holder;

static int holder__gc(lua_State *L) {
  holder *self = lua_touserdata(L, 1);
  if (*self != NULL) lunado__code_release(*self);
  *self = NULL;
  return 0;
}

static int book__gc(lua_State *L) {
  book *self = lua_touserdata(L, 1);
  for (int i = 0; i < SLOTS; i++) {
    if (self->slots[i] != NULL) lunado__code_release(self->slots[i]);
    self->slots[i] = NULL;
  }
  lunado__bytes_free(&self->dumped);
  return 0;
}

void lunado__code_push_book(lua_State *L) {
  static const char name[] = "lunado.Book";
  (void)lunado__class_private(L, sizeof(book), 1, name, book__gc);
  lua_newtable(L);
  lunado__class_setweak(L, "k");
  lua_setiuservalue(L, -2, 1);
}

static int dump_writer(lua_State *L, const void *chunk, size_t size,
                       void *bytes) {
  char *at;
  (void)L;
  if (size == 0) return 0;
  at = lunado__bytes_take(bytes, size);
  if (at == NULL) return 1;
  memcpy(at, chunk, size);
  return 0;
}

/* Makes book->dumped the code of the function on top, with its line numbers.
 * [-0, +0, m] */
static void dump(lua_State *L, book *self) {
  if (self->dumped.capacity > LONGEST_PLACED) lunado__bytes_free(&self->dumped);
  self->dumped.length = 0;
  if (lua_dump(L, dump_writer, &self->dumped, 0) != 0)
    luaL_error(L, "not enough memory");
}

/* Returns a reference to the code in book->dumped, of the function at idx.
 * [-0, +0, m] */
static lunado__code *find_dumped(lua_State *L, book *self, int idx) {
  uint64_t hash = hash_bytes(self->dumped.data, self->dumped.length);
  lunado__code **slot = &self->slots[hash % SLOTS], *code = *slot;
  if (!code_equals(code, hash, &self->dumped)) {
    code = code_new(&self->dumped, hash);
    if (code == NULL) luaL_error(L, "not enough memory");
    code->bare = is_bare(L, idx);
    if (code->length > LONGEST_PLACED) return code;
    if (*slot != NULL) lunado__code_release(*slot);
    *slot = code;
  }
  code_ref(code);
  return code;
}

/* Returns whether the function is likely to be dumped again, as it was dumped
 * before. */
static bool is_dumped_again(book *self, const void *identity) {
  const void **slot = &self->seen[(uintptr_t)identity / 16 % SLOTS];
  bool again = *slot == identity;
  *slot = identity;
  return again;
}

/* Dumps the function on top.  If it was dumped before, pushes a holder of its
 * code and stores it in the table at `holders`.  Returns a reference.
 * [-0, +(0|1), m] */
static lunado__code *dump_function(lua_State *L, book *self, int holders) {
  static const char name[] = "lunado.CodeHolder";
  int idx = lua_gettop(L);
  holder *held = NULL;
  lunado__code *code;
  if (is_dumped_again(self, lua_topointer(L, idx)))
    held = lunado__class_private(L, sizeof *held, 0, name, holder__gc);
  lua_pushvalue(L, idx);
  dump(L, self);
  code = find_dumped(L, self, idx);
  if (held == NULL) return code;
  *held = code;
  lua_pushvalue(L, idx + 1);
  lua_rawset(L, holders);
  code_ref(code);
  return code;
}

/* Finalizers run only while a holder is made, so book->dumped is not changed by
 * one that sends a function itself. */
lunado__code *lunado__code_of(lua_State *L, int in) {
  int idx = lua_gettop(L);
  lunado__code *code;
  lua_getiuservalue(L, in, 1);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TUSERDATA) {
    code = *(holder *)lua_touserdata(L, -1);
    code_ref(code);
  } else {
    lua_pushvalue(L, idx);
    code = dump_function(L, lua_touserdata(L, in), idx + 1);
  }
  lua_settop(L, idx);
  return code;
}

/* --- the functions that a worker keeps ------------------------------------ */

/* A userdata; its user values are the functions, by slot. */
typedef struct {
  uint64_t numbers[SLOTS]; /* of the codes; 0: the slot is empty */
} shelf;

static const char shelf_key = 0;

void lunado__code_keep(lua_State *L) {
  shelf *self = lua_newuserdatauv(L, sizeof *self, SLOTS);
  memset(self, 0, sizeof *self);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &shelf_key);
}

void lunado__code_load(lua_State *L, const lunado__code *code) {
  if (luaL_loadbufferx(L, code->bytes, code->length, "=?", "b") != LUA_OK)
    lua_error(L); /* out of memory: the code itself is valid */
}

/* Pushes a new function with this code, for which the globals table is the
 * right value of _ENV.  [-0, +1, m] */
static void load_bare(lua_State *L, const lunado__code *code) {
  lunado__code_load(L, code);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
}

/* True if the globals table is the _ENV of the function on top, or if it has
 * none.  A job may have changed that.  [-0, +0, -] */
static bool has_globals(lua_State *L) {
  bool same;
  if (lua_getupvalue(L, -1, 1) == NULL) return true;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void lunado__code_push_kept(lua_State *L, const lunado__code *code) {
  size_t slot = code->number % SLOTS;
  bool placed;
  shelf *self;
  (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &shelf_key);
  self = lua_touserdata(L, -1);
  placed = self != NULL && self->numbers[slot] == code->number;
  if (placed) {
    lua_getiuservalue(L, -1, (int)slot + 1);
    placed = has_globals(L);
    if (!placed) lua_pop(L, 1);
  }
  if (!placed) {
    load_bare(L, code);
    if (self != NULL && code->length <= LONGEST_PLACED) {
      lua_pushvalue(L, -1);
      lua_setiuservalue(L, -3, (int)slot + 1);
      self->numbers[slot] = code->number;
    }
  }
  lua_replace(L, -2);
}
