/* SPDX-License-Identifier: MIT */
/*
 * queue.c - the segments of a queue, and running one turn of their entries.
 *
 * Values come off a stack in reverse order.  So the entries of the first
 * segment are moved to the batch, the last entry first, and are taken from the
 * batch.  Each value is moved three times in all, a few instructions each, and
 * nothing holds it once it is taken.
 *
 * Invariants: reserved <= free; the batch has room for the largest segment; the
 * thread of each segment has a stack for its capacity, so that moving values
 * cannot fail.  Entries beyond the first `turn` were added during this turn and
 * belong to the next.
 */
#include "binding/loop/queue.h"

#include <string.h>

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/received.h"
#include "binding/coroutine/run.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/state/log.h"

#define SEGMENT_MIN 32u
#define SEGMENT_MAX 1024u

/* The number of free, unreserved slots that an idle queue keeps. */
#define KEPT_FREE 8192u

/* A segment is a userdata, held by the queue's table.  User value 1 is its
 * thread. */
struct lunado_segment {
  lua_State *thread;
  lunado_segment *next;
  uint32_t capacity;  /* values that fit on the thread's stack */
  uint32_t used;      /* values on the stack */
  uint32_t entries;   /* entries made of these values */
  uint32_t arities[]; /* per entry: number of its values, or TASK */
};

/* The arity of an entry that is the task of a coroutine; it has one value. */
enum { TASK = 0 };

/* --- segments ---------------------------------------------------------------
 * Creating an object may run finalizers, and these may use the queue or close
 * it. */

static bool is_closed(const lunado_queue *queue) {
  return queue->table == LUA_NOREF;
}

static lunado_segment *new_segment(lua_State *L, lunado_queue *queue,
                                   uint32_t capacity) {
  lunado_segment *segment;
  size_t size = sizeof *segment + capacity * sizeof *segment->arities;
  luaL_checkstack(L, 4, NULL);
  lua_rawgeti(L, LUA_REGISTRYINDEX, queue->table);
  segment = lua_newuserdatauv(L, size, 1);
  *segment = (lunado_segment){.capacity = capacity};
  segment->thread = lua_newthread(L);
  lua_setiuservalue(L, -2, 1);
  /* Two extra slots: for the copy of a callable while the batch is full, and
   * for the values that a visitor pushes. */
  if (!lua_checkstack(segment->thread, (int)capacity + 2))
    luaL_error(L, "not enough memory");
  lua_rawsetp(L, -2, segment);
  lua_pop(L, 1);
  return segment;
}

static void drop_segment(lua_State *L, lunado_queue *queue,
                         const lunado_segment *segment) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, queue->table);
  lua_pushnil(L);
  lua_rawsetp(L, -2, segment);
  lua_pop(L, 1);
}

/* Moves the entries of the queue's batch to `batch`, a larger, empty segment,
 * which becomes the queue's batch. */
static void move_batch(lua_State *L, lunado_queue *queue,
                       lunado_segment *batch) {
  lunado_segment *old = queue->batch;
  lua_xmove(old->thread, batch->thread, (int)old->used);
  memcpy(batch->arities, old->arities, old->entries * sizeof *old->arities);
  batch->used = old->used;
  batch->entries = old->entries;
  queue->batch = batch;
  drop_segment(L, queue, old);
}

/* Ensures that the batch has room for `capacity` values, unless the queue is
 * closed meanwhile. */
static void enlarge_batch(lua_State *L, lunado_queue *queue,
                          uint32_t capacity) {
  lunado_segment *batch;
  if (queue->batch->capacity >= capacity) return;
  batch = new_segment(L, queue, capacity);
  if (is_closed(queue)) return;
  if (queue->batch->capacity < capacity)
    move_batch(L, queue, batch);
  else
    drop_segment(L, queue, batch);
}

/* Puts an empty segment behind `filling`. */
static void insert(lunado_queue *queue, lunado_segment *segment) {
  segment->next = queue->filling->next;
  queue->filling->next = segment;
  queue->free += segment->capacity;
}

/* Inserts a new segment with room for an entry of at least `size` values. */
static void add_segment(lua_State *L, lunado_queue *queue, uint32_t size) {
  uint32_t capacity = queue->capacity;
  lunado_segment *segment;
  if (is_closed(queue)) return;
  if (capacity > SEGMENT_MAX) capacity = SEGMENT_MAX;
  if (capacity < size) capacity = size;
  enlarge_batch(L, queue, capacity);
  if (is_closed(queue)) return;
  segment = new_segment(L, queue, capacity);
  if (is_closed(queue)) return;
  queue->capacity += capacity;
  insert(queue, segment);
}

void lunado__queue_init(lua_State *L, lunado_queue *queue) {
  *queue = (lunado_queue){.table = LUA_NOREF};
  lua_newtable(L);
  queue->table = luaL_ref(L, LUA_REGISTRYINDEX);
  queue->batch = new_segment(L, queue, SEGMENT_MIN);
  queue->filling = new_segment(L, queue, SEGMENT_MIN);
  queue->first = queue->filling;
  queue->capacity = queue->free = SEGMENT_MIN;
}

void lunado__queue_fini(lua_State *L, lunado_queue *queue) {
  luaL_unref(L, LUA_REGISTRYINDEX, queue->table);
  *queue = (lunado_queue){.table = LUA_NOREF, .reserved = queue->reserved};
}

/* --- adding --------------------------------------------------------------- */

static uint32_t room(const lunado_segment *segment) {
  return segment->capacity - segment->used;
}

/* Goes on to the next segment; the room left in `filling` stays unused. */
static void advance(lunado_queue *queue) {
  queue->free -= room(queue->filling);
  queue->filling = queue->filling->next;
}

void lunado__queue_add_slot(lua_State *L, lunado_queue *queue) {
  if (!lunado__queue_has_slot(queue)) add_segment(L, queue, 1);
  if (is_closed(queue)) luaL_error(L, "the IOLoop is closed");
}

/* True if an entry of n values fits into `filling` without using reserved
 * slots. */
static bool has_room(const lunado_queue *queue, uint32_t n) {
  return room(queue->filling) >= n && queue->free >= queue->reserved + n;
}

/* True if an entry of n values fits into the segment behind `filling` without
 * using reserved slots. */
static bool has_room_behind(const lunado_queue *queue, uint32_t n) {
  const lunado_segment *filling = queue->filling;
  return room(filling) < n && filling->next != NULL &&
         filling->next->capacity >= n &&
         queue->free >= queue->reserved + n + room(filling);
}

/* Ensures that there is room for an entry of n values.  Returns false if the
 * queue is closed. */
static bool make_room(lua_State *L, lunado_queue *queue, uint32_t n) {
  while (!is_closed(queue)) {
    if (has_room(queue, n)) return true;
    if (has_room_behind(queue, n))
      advance(queue);
    else
      add_segment(L, queue, n);
  }
  return false;
}

/* Moves the n values on top, for which there is room, to the end of the queue,
 * as one entry. */
static void push_entry(lua_State *L, lunado_ioloop *loop, uint32_t n,
                       uint32_t arity) {
  lunado_queue *queue = &loop->queue;
  lunado_segment *segment = queue->filling;
  lua_xmove(L, segment->thread, (int)n);
  segment->arities[segment->entries++] = arity;
  segment->used += n;
  queue->free -= n;
  if (queue->count++ == 0) lunado_loop_ready(loop->core, &loop->drain);
}

static void push_one(lua_State *L, lunado_ioloop *loop, uint32_t arity) {
  lunado_queue *queue = &loop->queue;
  if (is_closed(queue)) {
    lua_pop(L, 1);
    return;
  }
  if (room(queue->filling) == 0) advance(queue);
  push_entry(L, loop, 1, arity);
}

void lunado__queue_push_task(lua_State *L, lunado_ioloop *loop) {
  push_one(L, loop, TASK);
}

void lunado__queue_push_function(lua_State *L, lunado_ioloop *loop) {
  push_one(L, loop, 1);
}

void lunado__queue_add(lua_State *L, lunado_ioloop *loop, int nargs) {
  lunado_queue *queue = &loop->queue;
  uint32_t n = (uint32_t)nargs + 1;
  if (make_room(L, queue, n))
    push_entry(L, loop, n, n);
  else
    lua_pop(L, nargs + 1);
}

/* (loop, callable, ...): queues the callable and its arguments. */
static int add_protected(lua_State *L) {
  lunado_ioloop *loop = lua_touserdata(L, 1);
  lunado__queue_add(L, loop, lua_gettop(L) - 2);
  return 0;
}

void lunado__queue_callback(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop, int nargs) {
  int first = lua_gettop(L) - nargs;
  uint32_t n = (uint32_t)nargs + 1;
  if (!is_closed(&loop->queue) && has_room(&loop->queue, n)) {
    push_entry(L, loop, n, n);
    return;
  }
  lua_pushcfunction(L, add_protected);
  lua_insert(L, first);
  lua_pushlightuserdata(L, loop);
  lua_insert(L, first + 1);
  if (lua_pcall(L, nargs + 2, 0, 0) == LUA_OK) return;
  lunado__log_value(L, realm, "a callback was lost: ");
}

/* --- looking -------------------------------------------------------------- */

static void visit_segment(const lunado_segment *segment,
                          lunado__queue_visit *visit, void *data) {
  int idx = 1;
  for (uint32_t i = 0; i < segment->entries; i++) {
    uint32_t arity = segment->arities[i];
    if (arity != TASK) visit(segment->thread, idx, (int)arity, data);
    idx += arity != TASK ? (int)arity : 1;
  }
}

void lunado__queue_each(const lunado_queue *queue, lunado__queue_visit *visit,
                        void *data) {
  const lunado_segment *segment;
  if (is_closed(queue)) return;
  visit_segment(queue->batch, visit, data);
  for (segment = queue->first; segment != NULL; segment = segment->next)
    visit_segment(segment, visit, data);
}

/* --- running -------------------------------------------------------------- */

static uint32_t values(uint32_t arity) { return arity == TASK ? 1 : arity; }

/* Moves the first segment, whose entries have all been taken, behind `filling`
 * as an empty segment. */
static void recycle_first(lunado_queue *queue) {
  lunado_segment *segment = queue->first;
  segment->used = 0;
  queue->first = segment->next;
  insert(queue, segment);
}

/* Moves the entries of the first non-empty segment to the batch, which is
 * empty. */
static void fill_batch(lunado_queue *queue) {
  lunado_segment *batch = queue->batch;
  lunado_segment *segment;
  while (queue->first->entries == 0) recycle_first(queue);
  segment = queue->first;
  while (segment->entries > 0) {
    uint32_t arity = segment->arities[--segment->entries];
    lua_xmove(segment->thread, batch->thread, (int)values(arity));
    batch->arities[batch->entries++] = arity;
  }
  batch->used = segment->used;
  if (segment != queue->filling) {
    recycle_first(queue);
  } else {
    queue->free += segment->used;
    segment->used = 0;
  }
}

/* Removes the first entry from the batch's bookkeeping and returns its arity.
 * The caller takes the entry's values off the batch's stack. */
static uint32_t drop_entry(lunado_queue *queue) {
  lunado_segment *batch = queue->batch;
  uint32_t arity = batch->arities[--batch->entries];
  batch->used -= values(arity);
  queue->count--;
  queue->turn--;
  return arity;
}

/* An entry of up to this many values needs no check: each turn has stack for
 * it. */
enum { FEW = 8 };

/* True if the stack has room for the first entry; if not, drops the entry and
 * logs this. */
static bool has_stack(lua_State *L, lunado_ioloop *loop) {
  lunado_segment *batch = loop->queue.batch;
  uint32_t n;
  if (batch->entries == 0) fill_batch(&loop->queue);
  n = values(batch->arities[batch->entries - 1]);
  if (n <= FEW || lua_checkstack(L, (int)n + LUA_MINSTACK)) return true;
  lua_pop(batch->thread, (int)n);
  drop_entry(&loop->queue);
  lunado__log_text(L, loop->realm,
                   "a callback was not called: not enough memory");
  return false;
}

/* Stack indices of run_turns. */
enum { TURNS = 1, ENTRY };

static void run_task(lua_State *L, lunado_ioloop *loop) {
  lua_xmove(loop->queue.batch->thread, L, 1);
  lunado__run_wake(L, loop->realm, ENTRY);
}

/* Calls the n values on the stack from ENTRY on.  An error ends run_turns, and
 * lunado__queue_run starts it again; the callable is then still on
 * realm->loops.called. */
static void call(lua_State *L, lunado_ioloop *loop, int n) {
  lunado_realm *realm = loop->realm;
  lua_call(L, n - 1, 1);
  if (lua_type(L, ENTRY) == LUA_TUSERDATA) {
    lua_pushvalue(realm->loops.called, -1);
    lua_xmove(realm->loops.called, L, 1);
    lua_insert(L, ENTRY);
    lunado__callback_returned(L, realm, loop);
  }
  lua_pop(realm->loops.called, 1);
  if (realm->errors.receiver != NULL) lunado__received_forget(L, realm);
}

static void run_callback(lua_State *L, lunado_ioloop *loop, int n) {
  lunado_realm *realm = loop->realm;
  lua_State *batch = loop->queue.batch->thread;
  if (loop->threshold > 0) {
    lua_xmove(batch, L, n);
    lunado__callback(L, realm, loop, n - 1);
    return;
  }
  lua_pushvalue(batch, -n);
  lua_xmove(batch, realm->loops.called, 1);
  lua_xmove(batch, L, n);
  call(L, loop, n);
}

static void run_entry(lua_State *L, lunado_ioloop *loop) {
  uint32_t arity = drop_entry(&loop->queue);
  if (arity == TASK)
    run_task(L, loop);
  else
    run_callback(L, loop, (int)arity);
  lua_settop(L, TURNS);
}

static bool is_other_task_ready(const lunado_ioloop *loop) {
  const lunado_link *ready = &loop->core->ready;
  return !lunado_list_empty(ready) &&
         (ready->next != &loop->drain.link || ready->prev != ready->next);
}

/* True if entries of this turn are left.  If not, begins the next turn, unless
 * the queue is empty, the loop is stopped, or another callback of the loop is
 * ready. */
static bool has_turn(lunado_ioloop *loop) {
  if (loop->core->closed) return false;
  if (loop->queue.turn > 0) return true;
  if (loop->core->stopped || is_other_task_ready(loop)) return false;
  loop->queue.turn = loop->queue.count;
  return loop->queue.turn > 0;
}

/* True if the slice has expired and the turn must pause.  A turn in which the
 * loop was stopped is completed all the same. */
static bool is_slice_over(const lunado_ioloop *loop) {
  if (lunado_loop_urged(loop->core)) return true;
  return lunado_loop_slice_expired(loop->core) && !loop->core->stopped;
}

typedef struct {
  lunado_ioloop *loop;
  bool begun;
} turns;

/* (turns): runs entries until the slice has expired. */
static int run_turns(lua_State *L) {
  turns *self = lua_touserdata(L, TURNS);
  lunado_ioloop *loop = self->loop;
  luaL_checkstack(L, ENTRY + LUNADO_WAKE_STACK, NULL);
  if (!lua_checkstack(loop->realm->loops.called, 2))
    luaL_error(L, "not enough memory");
  self->begun = true;
  loop->queue.failed = 0;
  while (has_turn(loop)) {
    if (has_stack(L, loop)) run_entry(L, loop);
    if (is_slice_over(loop)) break;
  }
  return 0;
}

/* After this many failed attempts in a row to begin a turn, the lack of memory
 * is taken to be permanent and the run ends. */
#define MOST_ATTEMPTS 50

/* Counts an attempt to begin a turn that failed with the Failure on top, and
 * pops the Failure.  After MOST_ATTEMPTS ends the run. */
static void not_begun(lua_State *L, lunado_ioloop *loop) {
  lunado_queue *queue = &loop->queue;
  if (!loop->core->running) queue->failed = 0;
  if (!loop->core->running || ++queue->failed < MOST_ATTEMPTS) {
    lua_pop(L, 1);
    return;
  }
  queue->failed = 0;
  queue->gave_up = true;
  lunado__setslot(L, loop->realm, LUNADO_SLOT_GIVEN_UP);
  queue->turn = 0;
  lunado_loop_break(loop->core);
}

bool lunado__queue_gave_up(lua_State *L, lunado_ioloop *loop) {
  if (!loop->queue.gave_up) return false;
  loop->queue.gave_up = false;
  lunado__getslot(L, loop->realm, LUNADO_SLOT_GIVEN_UP);
  lua_pushboolean(L, 0);
  lunado__setslot(L, loop->realm, LUNADO_SLOT_GIVEN_UP);
  return true;
}

/* Runs turns.  Returns false if an error ended them; the error was then
 * reported, or counted by not_begun. */
static bool run_protected(lua_State *L, lunado_ioloop *loop, turns *now) {
  lunado_realm *realm = loop->realm;
  int outer = lua_gettop(realm->loops.called);
  now->begun = false;
  if (lunado__protect_call(L, realm, run_turns, now)) return true;
  if (lua_gettop(realm->loops.called) == outer && !now->begun &&
      !((const lunado_failure *)lua_touserdata(L, -1))->interrupt) {
    not_begun(L, loop);
  } else if (lua_gettop(realm->loops.called) == outer) {
    lunado__callback_report_guarded(L, realm, now->begun, "running callbacks");
  } else {
    lua_xmove(realm->loops.called, L, 1);
    lua_insert(L, -2);
    lunado__callback_report(L, realm, loop);
    if (realm->errors.receiver != NULL) lunado__received_forget(L, realm);
  }
  return false;
}

/* Drops segments that are not needed any more. */
static void shrink(lua_State *L, lunado_queue *queue) {
  lunado_segment *segment = queue->filling->next;
  while (segment != NULL && queue->free > queue->reserved + KEPT_FREE) {
    queue->filling->next = segment->next;
    queue->free -= segment->capacity;
    queue->capacity -= segment->capacity;
    drop_segment(L, queue, segment);
    segment = queue->filling->next;
  }
}

void lunado__queue_run(lunado_loop *core, lunado_callback *task) {
  lunado_ioloop *loop = lunado_container_of(task, lunado_ioloop, drain);
  lunado_queue *queue = &loop->queue;
  lua_State *L = loop->L;
  turns now = {loop, false};
  lunado__ioloop_ref(loop); /* a callback may close the loop */
  if (queue->turn == 0) queue->turn = queue->count;
  while (!run_protected(L, loop, &now) && now.begun &&
         !loop->realm->errors.interrupted && !is_slice_over(loop))
    continue;
  if (!core->closed && queue->turn > 0)
    lunado_loop_ready_rest(core, task);
  else if (!core->closed && queue->count > 0)
    lunado_loop_ready(core, task);
  else if (!core->closed)
    shrink(L, queue);
  lunado__ioloop_unref(L, loop);
}

void lunado__queue_open(lua_State *L, lunado_realm *realm) {
  realm->loops.called = lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &realm->loops.called);
}
