/* SPDX-License-Identifier: MIT */
/* request.c - Futures of libuv's requests, such as look-ups. */
#include "binding/stream/request.h"

#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/anchor.h"
#include "binding/loop/ioloop.h"

typedef struct {
  lunado_request_future base;
  uv_req_t *uv; /* valid while the Future is pending, unless the loop is closed;
                   NULL: not made yet */
} request_future;

/* (future, loop): cancels the request. */
static int cancel_request(lua_State *L) {
  request_future *self = lua_touserdata(L, 1);
  const lunado_ioloop *loop = lua_touserdata(L, 2);
  if (self->uv != NULL && !loop->closed) (void)uv_cancel(self->uv);
  return 0;
}

void lunado__request_begin(lua_State *L, lunado_ioloop *loop,
                           lunado_request *self) {
  request_future *future =
      lunado__future_new(L, loop->realm, LUNADO_KIND_REQUEST, sizeof *future,
                         LUNADO_FUTURE_REQUEST);
  future->base.give_up = cancel_request;
  future->uv = NULL;
  self->uv = &future->uv;
  lunado__ioloop_push(L, loop);
  lua_setiuservalue(L, -2, LUNADO_FUTURE_REQUEST);
  self->anchor = lunado__anchor_add(L, loop);
  self->core = loop->core;
  lunado_loop_ref(loop->core);
}

void lunado__request_cancel(lua_State *L, lunado_ioloop *loop,
                            const lunado_request *self) {
  lunado__anchor_drop(L, loop, self->anchor);
  lunado_loop_unref(self->core);
}

/* What is delivered, while this is on the C stack. */
typedef struct {
  lunado_request_push *push;
  void *data;
  int status;
  bool delivered; /* the Future got the result */
} delivery;

/* (future, delivery): settles the Future, if it is pending. */
static int deliver(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  lunado_future *future = lua_touserdata(L, 1);
  delivery *self = lua_touserdata(L, 2);
  if (!lunado_future_pending(future)) return 0;
  if (self->push(L, self->data, self->status)) {
    future->count = 1;
    lunado__settle_known(L, realm, 1, future, LUNADO_DONE);
    self->delivered = true;
  } else {
    (void)lunado__failure_new(L, realm, -1, -1);
    lunado__settle_failed(L, realm, 1);
  }
  return 0;
}

/* Settles the Future at `future`; without memory, with that error. */
static void settle(lua_State *L, int future, delivery *self) {
  lunado_realm *realm = lunado__realm_find(L);
  lua_pushcfunction(L, deliver);
  lua_pushvalue(L, future);
  lua_pushlightuserdata(L, self);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lunado__failure_nomemory(L, realm);
  lunado__settle_failed(L, realm, future);
}

bool lunado__request_end(lua_State *L, const lunado_request *self,
                         lunado_request_push *push, void *data, int status) {
  lunado_ioloop *loop = self->core->owner;
  delivery outcome = {push, data, status, false};
  int top;
  lunado__loop_enter(self->core);
  if (self->core->closed) return false;
  if (L == NULL) L = loop->L;
  if (!lua_checkstack(L, 2 * LUA_MINSTACK)) return false;
  top = lua_gettop(L);
  lunado__anchor_take(L, loop, self->anchor);
  settle(L, top + 1, &outcome);
  lua_settop(L, top);
  return outcome.delivered;
}

void lunado__request_leave(lunado_loop *core) {
  lunado__loop_leave(core);
  lunado_loop_unref(core);
}
