/* SPDX-License-Identifier: MIT */
/*
 * promise.c - Futures that other threads settle.
 *
 * A lunado_promise is not a pointer but a name.  It consists of the id of the
 * loop and a ticket; the ticket consists of the index of the promise's place in
 * the loop's slab, and a count of uses of that place.  So a name that was used
 * up, or whose loop is closed, is recognized.  The host has nothing to free,
 * and the memory of a loop's promises is freed when the loop closes.
 *
 * Invariants: a place either is free, or has a Future, which the loop holds,
 * and keeps the loop's run alive.  Its ticket is set from the moment the name
 * is given out until a thread settles the promise.  The thread that clears the
 * ticket sends the message.  Threads touch a place only after they have entered
 * the loop by its id.
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

/* A name has the loop's id in its upper half and the ticket in its lower half.
 * A ticket has the index in its lower bits and the count of uses above. */
#define TICKET_BITS LUNADO_LOOPID_BITS
#define PLACE_BITS (TICKET_BITS == 32 ? 20u : 12u)
#define PLACES_MAX (1u << PLACE_BITS)

/* Stack slots needed for delivering. */
#define DELIVER_STACK 48

typedef struct {
  lunado_slot slot;       /* its number is the index */
  lunado_message message; /* on its way once the ticket is cleared */
  lua_CFunction deliver;  /* from the call that settled the promise */
  void *ud;               /* from the same call */
  atomic_uint ticket;     /* the ticket that settles it; 0: none does */
  uint32_t uses;          /* count of tickets made */
  uint32_t anchor;        /* of the Future */
} promise_place;

/* --- places -------------------------------------------------------------- */

/* Returns the next ticket of the place, which is never 0. */
static uint32_t next_ticket(promise_place *self) {
  uint32_t ticket;
  do {
    uint64_t count = (uint64_t)self->uses++ * PLACES_MAX + self->slot.number;
    ticket = (uint32_t)(count & (((uint64_t)1 << TICKET_BITS) - 1));
  } while (ticket == 0);
  return ticket;
}

void lunado__promise_init(lunado_ioloop *loop) {
  lunado_slab_init(&loop->promises, sizeof(promise_place));
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

/* Frees the place, unless the loop is closed or closing. */
static void leave_place(lua_State *L, lunado_ioloop *loop,
                        promise_place *place) {
  lunado_loop_release(loop->core);
  if (loop->closed) return;
  lunado__anchor_drop(L, loop, place->anchor);
  lunado_slab_give(&loop->promises, place);
}

/* Called also while the loop is closing, because once lunado_promise_settle has
 * returned 0 the library owns `ud` and must call `deliver`.  If memory is too
 * short even for the call, the message is sent again. */
static void on_promise_message(lunado_loop *core, lunado_message *message) {
  promise_place *place = lunado_container_of(message, promise_place, message);
  lunado_ioloop *loop = core->owner;
  lua_State *L = loop->L;
  delivery one = {place->deliver, place->ud, 0, false};
  int top = lua_gettop(L);
  int status = LUA_ERRMEM;
  if (lua_checkstack(L, DELIVER_STACK)) {
    lunado__anchor_push(L, loop, place->anchor);
    status = try_to_deliver(L, loop->realm, &one);
  }
  if (one.called) {
    leave_place(L, loop, place);
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
                             lunado_loopid *address) {
  int rc;
  if (loop->core->closed) luaL_error(L, "the IOLoop is closed");
  if (lunado_loop_id(loop->core, address) < 0)
    luaL_error(L, "too many IOLoops are known to other threads");
  rc = lunado_slab_reserve(&loop->promises, PLACES_MAX);
  if (rc == UV_ENOSPC) luaL_error(L, "too many promises");
  if (rc < 0) luaL_error(L, "not enough memory");
}

lunado_promise *lunado__promise_new(lua_State *L, lunado_realm *realm,
                                    int idx) {
  lunado_ioloop *loop;
  lunado_loopid address;
  lunado_future *future = lua_touserdata(L, idx);
  promise_place *place;
  uint32_t ticket, anchor;
  loop = lunado__ioloop_current(L, realm);
  check_promisable(L, loop, &address);
  luaL_checkstack(L, 8, NULL);
  lua_pushvalue(L, idx);
  anchor = lunado__anchor_add(L, loop);
  lua_pop(L, 1);
  place = lunado_slab_take(&loop->promises);
  place->anchor = anchor;
  if (future->kind == LUNADO_KIND_PLAIN) future->kind = LUNADO_KIND_PROMISE;
  lunado_loop_keep_alive(loop->core);
  ticket = next_ticket(place);
  atomic_store(&place->ticket, ticket);
  return (lunado_promise *)(((uintptr_t)address << TICKET_BITS) | ticket);
}

static int settle_place(lunado_loop *core, uint32_t ticket,
                        lua_CFunction deliver, void *ud) {
  lunado_ioloop *loop = core->owner;
  promise_place *place = lunado_slab_at(&loop->promises, ticket % PLACES_MAX);
  unsigned expected = ticket;
  if (!atomic_compare_exchange_strong(&place->ticket, &expected, 0))
    return UV_EALREADY;
  place->deliver = deliver;
  place->ud = ud;
  return lunado_loop_send(core, &place->message, on_promise_message);
}

int lunado_promise_settle(lunado_promise *promise, lua_CFunction deliver,
                          void *ud) {
  uintptr_t name = (uintptr_t)promise;
  lunado_loopid address = (lunado_loopid)(name >> TICKET_BITS);
  lunado_loop *core = lunado_loopid_enter(address);
  int rc;
  if (core == NULL) return UV_ECANCELED;
  rc =
      settle_place(core, (uint32_t)(name & (((uintptr_t)1 << TICKET_BITS) - 1)),
                   deliver, ud);
  lunado_loopid_leave(address);
  return rc;
}
