/* SPDX-License-Identifier: MIT */
/*
 * queue.c - the ring, and running one turn of it.
 *
 * Invariant: count + reserved <= capacity.  Entries beyond `turn` were added
 * during this turn and belong to the next one.
 */
#include "binding/queue.h"

#include "binding/coroutine.h"
#include "binding/future.h"
#include "binding/ioloop.h"

#define QUEUE_MIN_CAPACITY 32u
#define QUEUE_MAX_CAPACITY (1u << 30)

/* A queue that grew beyond this is given back when it has run empty. */
#define QUEUE_KEPT_CAPACITY 65536u

static void new_table(lua_State *L, uint32_t capacity) {
  lua_createtable(L, (int)capacity, 0);
}

void lunado__queue_init(lua_State *L, lunado_queue *queue) {
  *queue = (lunado_queue){.table = LUA_NOREF};
  new_table(L, QUEUE_MIN_CAPACITY);
  queue->table = luaL_ref(L, LUA_REGISTRYINDEX);
  queue->capacity = QUEUE_MIN_CAPACITY;
}

void lunado__queue_fini(lua_State *L, lunado_queue *queue) {
  luaL_unref(L, LUA_REGISTRYINDEX, queue->table);
  queue->table = LUA_NOREF;
  queue->capacity = queue->head = queue->count = queue->turn = 0;
}

static int place(const lunado_queue *queue, uint32_t i) {
  return (int)((queue->head + i) & (queue->capacity - 1)) + 1;
}

/* Moves the entries to a table of another capacity. */
static void resize(lua_State *L, lunado_queue *queue, uint32_t capacity) {
  new_table(L, capacity);
  lua_rawgeti(L, LUA_REGISTRYINDEX, queue->table);
  for (uint32_t i = 0; i < queue->count; i++) {
    lua_rawgeti(L, -1, place(queue, i));
    lua_rawseti(L, -3, (int)i + 1);
  }
  lua_pop(L, 1);
  lua_rawseti(L, LUA_REGISTRYINDEX, queue->table);
  queue->capacity = capacity;
  queue->head = 0;
}

void lunado__queue_reserve(lua_State *L, lunado_queue *queue, uint32_t n) {
  uint32_t needed = queue->count + queue->reserved + n;
  uint32_t capacity = queue->capacity;
  if (needed <= capacity) return;
  if (needed > QUEUE_MAX_CAPACITY || n > QUEUE_MAX_CAPACITY)
    luaL_error(L, "too many callbacks");
  while (capacity < needed) capacity *= 2;
  resize(L, queue, capacity);
}

/* Puts the n values from `first` on at the end. */
static void push_range(lua_State *L, lunado_ioloop *loop, int first, int n) {
  lunado_queue *queue = &loop->queue;
  bool was_empty = queue->count == 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, queue->table);
  for (int i = 0; i < n; i++) {
    lua_pushvalue(L, first + i);
    lua_rawseti(L, -2, place(queue, queue->count++));
  }
  lua_pop(L, 1);
  if (was_empty) lunado_loop_ready(loop->core, &loop->drain);
}

void lunado__queue_push(lua_State *L, lunado_ioloop *loop, int idx) {
  if (loop->queue.table == LUA_NOREF) return; /* the loop is closed */
  push_range(L, loop, idx, 1);
}

void lunado__queue_add(lua_State *L, lunado_ioloop *loop, int nargs) {
  int first = lua_gettop(L) - nargs;
  if (loop->queue.table == LUA_NOREF) {
    lua_settop(L, first - 1);
    return;
  }
  luaL_checkstack(L, 6, NULL);
  if (nargs == 0 && lua_isfunction(L, first)) {
    lunado__queue_reserve(L, &loop->queue, 1);
    push_range(L, loop, first, 1);
  } else {
    lunado__queue_reserve(L, &loop->queue, (uint32_t)nargs + 2);
    lua_pushinteger(L, nargs);
    lua_insert(L, first);
    push_range(L, loop, first, nargs + 2);
  }
  lua_settop(L, first - 1);
}

/* (loop, callable, ...) */
static int add_protected(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lunado__queue_add(L, loop, lua_gettop(L) - 2);
  return 0;
}

void lunado__queue_callback(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop, int nargs) {
  int first = lua_gettop(L) - nargs;
  lua_pushcfunction(L, add_protected);
  lua_insert(L, first);
  lua_pushlightuserdata(L, loop);
  lua_insert(L, first + 1);
  if (lua_pcall(L, nargs + 2, 0, 0) == LUA_OK) return;
  lunado__log_value(L, realm, "a callback was lost: ");
}

/* --- running
 * --------------------------------------------------------------------- */

/* Pushes the first entry and takes it out; the queue's table is at `table`. */
static void take(lua_State *L, lunado_queue *queue, int table) {
  int first = place(queue, 0);
  lua_rawgeti(L, table, first);
  lua_pushnil(L);
  lua_rawseti(L, table, first);
  queue->head = (queue->head + 1) & (queue->capacity - 1);
  queue->count--;
  queue->turn--;
}

/* An integer n was taken: a callable and n arguments follow. */
static void run_with_arguments(lua_State *L, lunado_ioloop *loop, int table) {
  int nargs = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, nargs + 4, "too many arguments");
  for (int i = 0; i <= nargs; i++) take(L, &loop->queue, table);
  lunado__callback(L, loop->realm, loop, nargs);
}

static void run_entry(lua_State *L, lunado_ioloop *loop, int table) {
  take(L, &loop->queue, table);
  switch (lua_type(L, -1)) {
  case LUA_TUSERDATA:
    lunado__coroutine_wake(L, loop->realm, lua_gettop(L));
    lua_pop(L, 1);
    break;
  case LUA_TFUNCTION:
    lunado__callback(L, loop->realm, loop, 0);
    break;
  default:
    run_with_arguments(L, loop, table);
  }
}

static bool is_other_task_ready(const lunado_ioloop *loop) {
  const lunado_link *ready = &loop->core->ready;
  return !lunado_list_empty(ready) &&
         (ready->next != &loop->drain.link || ready->prev != ready->next);
}

/* What is left of this turn, or the next turn where nothing else of the loop
 * is ready. */
static bool has_turn(lunado_ioloop *loop) {
  if (loop->core->closed) return false;
  if (loop->queue.turn > 0) return true;
  if (loop->core->stopped || is_other_task_ready(loop)) return false;
  loop->queue.turn = loop->queue.count;
  return loop->queue.turn > 0;
}

/* (loop): runs entries until the slice is used up; a turn in which the loop
 * was stopped is completed. */
static int run_turns(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  uint32_t capacity = 0;
  while (has_turn(loop)) {
    if (capacity != loop->queue.capacity) { /* another table by now */
      lua_settop(L, 1);
      lua_rawgeti(L, LUA_REGISTRYINDEX, loop->queue.table);
      capacity = loop->queue.capacity;
    }
    run_entry(L, loop, 2);
    if (lunado_loop_tired(loop->core) && !loop->core->stopped) break;
  }
  return 0;
}

/* Gives a large table back.  Where there is no memory for a small one the
 * large one stays. */
static int shrink(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  uint32_t capacity = QUEUE_MIN_CAPACITY;
  while (capacity < loop->queue.reserved + QUEUE_MIN_CAPACITY) capacity *= 2;
  if (capacity < loop->queue.capacity) resize(L, &loop->queue, capacity);
  return 0;
}

void lunado__queue_run(lunado_loop *core, lunado_task *task) {
  lunado_ioloop *loop = lunado_container_of(task, lunado_ioloop, drain);
  lunado_queue *queue = &loop->queue;
  lua_State *L = loop->L;
  if (queue->turn == 0) queue->turn = queue->count;
  while (!lunado__guard(L, loop->realm, run_turns, loop, "running callbacks"))
    continue;
  if (core->closed) return;
  if (queue->count > 0)
    lunado_loop_ready(core, task);
  else if (queue->capacity > QUEUE_KEPT_CAPACITY)
    (void)lunado__guard(L, loop->realm, shrink, loop, "shrinking the queue");
}
