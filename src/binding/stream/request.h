/* SPDX-License-Identifier: MIT */
/*
 * request.h - Futures of libuv's requests, such as look-ups.
 *
 * The loop holds the Future of a request until the request has ended.  If all
 * that wait for the Future are cancelled, the request is cancelled if libuv
 * has not begun with it, and its result is dropped.
 */
#ifndef LUNADO_BINDING_STREAM_REQUEST_H
#define LUNADO_BINDING_STREAM_REQUEST_H

#include "binding/state/realm.h"
#include "core/loop.h"

/* A part of the memory that has libuv's request. */
typedef struct {
  lunado_loop *core; /* one reference, from begin to end */
  uint32_t anchor;   /* of the Future, in the loop */
  uv_req_t **uv;     /* for libuv's request, once it is made; valid as long as
                        the Future exists */
} lunado_request;

/* Pushes the result of a request, which is `data`, and returns true; or pushes
 * its error, and returns false.  [-0, +1, m] */
typedef bool lunado_request_push(lua_State *L, void *data, int status);

/* Pushes a pending Future, which the loop holds from now on.  [-0, +1, v] */
void lunado__request_begin(lua_State *L, lunado_ioloop *loop,
                           lunado_request *self);

/* Takes a request back that was not made: its Future stays pending.
 * [-0, +0, -] */
void lunado__request_cancel(lua_State *L, lunado_ioloop *loop,
                            const lunado_request *self);

/* Ends the request: settles the Future, unless the loop is closed.  Runs on L,
 * the thread that began the request; in a callback of libuv's L is NULL, and it
 * runs on the loop's.  Returns true if the Future got the result.  The owner
 * frees what is its own, and then calls lunado__request_leave. */
bool lunado__request_end(lua_State *L, const lunado_request *self,
                         lunado_request_push *push, void *data, int status);
void lunado__request_leave(lunado_loop *core);

#endif
