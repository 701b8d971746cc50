/* SPDX-License-Identifier: MIT */
/*
 * promise.c - Futures that other threads settle.
 *
 * A lunado_promise is not a pointer but a handle.  It consists of the id of the
 * loop and the promise's own id, which consists of the index of an item of the
 * loop's slab, and a generation: a count of uses of that item.  So a handle
 * that was used up, or whose loop is closed, is recognized.  The host has
 * nothing to free, and the memory of a loop's promises is freed when the loop
 * closes.
 *
 * Invariants: an item either is free, or has a Future, which the loop holds,
 * and keeps the loop's run alive.  Its id is set from the moment the handle is
 * given out until a thread settles the promise.  The thread that clears the id
 * sends the message.  Threads touch an item only after they have entered the
 * loop by its id.
 */
#include "binding/loop/promise.h"

#include <stdatomic.h>

#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/awaited.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/future/untie.h"
#include "binding/loop/anchor.h"
#include "binding/loop/ioloop.h"

/* A handle has the loop's id in its upper half and the promise's id in its
 * lower half.  That has the index in its lower bits and the generation above.
 */
#define ID_BITS LUNADO_LOOPID_BITS
#define INDEX_BITS (ID_BITS == 32 ? 20u : 12u)
#define PROMISES_MAX (1u << INDEX_BITS)

/* Stack slots needed for delivering. */
#define DELIVER_STACK 48

typedef struct {
  lunado_slot slot;       /* its number is the index */
  lunado_message message; /* on its way once the id is cleared */
  lua_CFunction deliver;  /* from the call that settled the promise */
  void *ud;               /* from the same call */
  atomic_uint id;         /* the id that settles it; 0: none does */
  uint32_t generation;    /* count of ids made */
  uint32_t anchor;        /* of the Future */
} promise_item;

/* --- items -------------------------------------------------------------- */

/* Returns the next id of the item, which is never 0. */
static uint32_t next_id(promise_item *self) {
  uint32_t id;
  do {
    uint64_t count =
        (uint64_t)self->generation++ * PROMISES_MAX + self->slot.number;
    id = (uint32_t)(count & (((uint64_t)1 << ID_BITS) - 1));
  } while (id == 0);
  return id;
}

void lunado__promise_init(lunado_ioloop *loop) {
  lunado_slab_init(&loop->promises, sizeof(promise_item));
}

/* --- delivering ---------------------------------------------------------- */

typedef struct {
  lua_CFunction deliver;
  void *ud;
  int count;   /* number of results */
  bool called; /* `deliver` was called, which now owns `ud` */
} delivery;

/* (delivery) → the results, packed.  The calls made from here need no memory to
 * begin. */
static int call_deliver(lua_State *L) {
  delivery *self = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushlightuserdata(L, self->ud);
  self->called = true;
  if (self->deliver != NULL) self->count = self->deliver(L);
  lunado__future_pack(L, self->count);
  return 1;
}

/* Calls deliver; pushes its results, packed, or its error. */
static int try_to_deliver(lua_State *L, const lunado_realm *realm,
                          delivery *self) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_pushcfunction(L, call_deliver);
  lua_pushlightuserdata(L, self);
  return lua_pcall(L, 1, 1, -3);
}

/* Settles the Future at `idx` with deliver's results or error, which are on
 * top.  A Future that is done already keeps its outcome; an error is then
 * treated as never retrieved.  [-0, +0, -] */
static void settle_with(lua_State *L, lunado_ioloop *loop, int idx, int status,
                        const delivery *self) {
  lunado_realm *realm = loop->realm;
  lunado_future *future = lua_touserdata(L, idx);
  if (status != LUA_OK) {
    lunado__failure_wrap(L, realm);
    lunado__failure_hand_on(lua_touserdata(L, -1));
    lua_pushvalue(L, -1);
    lunado__settle_failed(L, realm, idx);
    if (loop->ending) lunado__awaited_report_now(L, realm, -1);
    lua_pop(L, 1);
  } else if (lunado_future_pending(future)) {
    future->count = (uint32_t)self->count;
    lunado__settle(L, realm, idx, LUNADO_DONE);
    lunado__untie_tied(L, realm, idx, future);
  }
}

/* Frees the item, unless the loop is closed or closing. */
static void free_item(lua_State *L, lunado_ioloop *loop, promise_item *item) {
  lunado_loop_release(loop->core);
  if (loop->closed) return;
  lunado__anchor_drop(L, loop, item->anchor);
  lunado_slab_give(&loop->promises, item);
}

/* Called also while the loop is closing, because once lunado_promise_settle has
 * returned 0 the library owns `ud` and must call `deliver`.  If memory is too
 * short even for the call, the message is sent again. */
static void on_promise_message(lunado_loop *core, lunado_message *message) {
  promise_item *item = lunado_container_of(message, promise_item, message);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  delivery one = {item->deliver, item->ud, 0, false};
  int top = lua_gettop(L);
  int status = LUA_ERRMEM;
  if (lua_checkstack(L, DELIVER_STACK)) {
    lunado__anchor_push(L, loop, item->anchor);
    status = try_to_deliver(L, loop->realm, &one);
  }
  if (one.called) {
    free_item(L, loop, item);
    settle_with(L, loop, top + 1, status, &one);
  } else {
    (void)lunado_loop_send(core, message, on_promise_message);
  }
  lua_settop(L, top);
}

bool lunado__promise_reserve(lunado_ioloop *loop) {
  return loop->promises.count == 0 ||
         lunado__protect_reserve(loop->L, DELIVER_STACK);
}

/* --- lunado.h ------------------------------------------------------------ */

static void check_promisable(lua_State *L, lunado_ioloop *loop,
                             lunado_loopid *loop_id) {
  int rc;
  if (loop->core->closed) luaL_error(L, "the IOLoop is closed");
  if (lunado_loopid_get(loop->core, loop_id) < 0)
    luaL_error(L, "too many IOLoops are known to other threads");
  rc = lunado_slab_reserve(&loop->promises, PROMISES_MAX);
  if (rc == UV_ENOSPC) luaL_error(L, "too many promises");
  if (rc < 0) luaL_error(L, "not enough memory");
}

lunado_promise *lunado__promise_new(lua_State *L, lunado_realm *realm,
                                    int idx) {
  lunado_ioloop *loop;
  lunado_loopid loop_id;
  lunado_future *future = lua_touserdata(L, idx);
  promise_item *item;
  uint32_t id, anchor;
  loop = lunado__ioloop_current(L, realm);
  check_promisable(L, loop, &loop_id);
  luaL_checkstack(L, 8, NULL);
  lua_pushvalue(L, idx);
  anchor = lunado__anchor_add(L, loop);
  lua_pop(L, 1);
  item = lunado_slab_take(&loop->promises);
  item->anchor = anchor;
  if (future->kind == LUNADO_KIND_PLAIN) future->kind = LUNADO_KIND_PROMISE;
  lunado_loop_keep_alive(loop->core);
  id = next_id(item);
  atomic_store(&item->id, id);
  return (lunado_promise *)(((uintptr_t)loop_id << ID_BITS) | id);
}

static int settle_item(lunado_loop *core, uint32_t id, lua_CFunction deliver,
                       void *ud) {
  lunado_ioloop *loop = core->owner;
  promise_item *item = lunado_slab_at(&loop->promises, id % PROMISES_MAX);
  unsigned expected = id;
  if (!atomic_compare_exchange_strong(&item->id, &expected, 0))
    return UV_EALREADY;
  item->deliver = deliver;
  item->ud = ud;
  return lunado_loop_send(core, &item->message, on_promise_message);
}

int lunado_promise_settle(lunado_promise *promise, lua_CFunction deliver,
                          void *ud) {
  uintptr_t handle = (uintptr_t)promise;
  lunado_loopid loop_id = (lunado_loopid)(handle >> ID_BITS);
  lunado_loop *core = lunado_loopid_enter(loop_id);
  int rc;
  if (core == NULL) return UV_ECANCELED;
  rc = settle_item(core, (uint32_t)(handle & (((uintptr_t)1 << ID_BITS) - 1)),
                   deliver, ud);
  lunado_loopid_leave(loop_id);
  return rc;
}
