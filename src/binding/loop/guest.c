/* SPDX-License-Identifier: MIT */
/*
 * guest.c - guests of a loop: C modules with handles of their own on it.
 *
 * Invariants: a guest is in loop->guests until it leaves or the loop closes;
 * from then on its `loop` is NULL.  A handle is in its guest's list until it is
 * closed.  A guest that has left while a call of it is on the C stack is freed
 * when the last of these calls returns.
 */
#include "binding/loop/guest.h"

#include <stddef.h>
#include <string.h>

#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/state/context.h"
#include "core/alloc.h"
#include "core/handle.h"
#include "core/list.h"
#include "core/poll.h"

struct lunado_guest {
  lunado_link link;    /* in loop->guests; alone once it has left */
  lunado_link handles; /* the open handles */
  lunado_ioloop *loop; /* NULL: the guest has left; an open loop lives */
  lunado__guest_on_close *on_close; /* called when the loop closes */
  void *ud;                         /* the module's, for on_close */
  unsigned calls; /* calls of lunado__guest_call on the C stack */
};

/* What stands before the memory of a handle. */
typedef struct {
  lunado_link link; /* in guest->handles; alone once it is closing */
  _Alignas(max_align_t) unsigned char handle[]; /* the module's */
} room;

static room *room_of(void *handle) {
  return (room *)(void *)((unsigned char *)handle - offsetof(room, handle));
}

lunado_guest *lunado__guest_new(lua_State *L, lunado_realm *realm,
                                lunado__guest_on_close *on_close, void *ud) {
  lunado_ioloop *loop = lunado__ioloop_current(L, realm);
  lunado_guest *guest = lunado__alloc(sizeof *guest);
  if (guest == NULL) luaL_error(L, "not enough memory");
  *guest = (lunado_guest){.loop = loop, .on_close = on_close, .ud = ud};
  lunado_link_init(&guest->handles);
  lunado_list_append(&loop->guests, &guest->link);
  return guest;
}

uv_loop_t *lunado__guest_uv(const lunado_guest *guest) {
  return guest->loop->core->uv;
}

/* --- handles -------------------------------------------------------------- */

void *lunado__guest_newhandle(lunado_guest *guest, size_t size) {
  room *self;
  if (guest->loop == NULL) return NULL;
  self = lunado__alloc(sizeof *self + size);
  if (self == NULL) return NULL;
  if (lunado__handle_reserve() < 0) {
    lunado__free(self);
    return NULL;
  }
  memset(self->handle, 0, size);
  lunado__handle_mark(self->handle);
  lunado_list_append(&guest->handles, &self->link);
  return self->handle;
}

static void free_room(room *self) {
  lunado__handle_unmark(self->handle);
  lunado__free(self);
}

static void on_closed(uv_handle_t *handle) {
  lunado__handle_closed(handle);
  free_room(room_of(handle));
}

void lunado__guest_closehandle(void *handle) {
  room *self = room_of(handle);
  const uv_handle_t *uv = handle;
  lunado_link_remove(&self->link);
  if (uv->loop == NULL)
    free_room(self);
  else
    lunado__handle_close(handle, on_closed);
}

/* --- calls ---------------------------------------------------------------- */

/* Calls fn(ud) outside any coroutine and stack context.  The stack holds the
 * loop meanwhile. */
static void call(lua_State *L, lunado_ioloop *loop, lua_CFunction fn,
                 void *ud) {
  lunado_realm *realm = loop->realm;
  lunado_task *outer = realm->coroutines.current;
  lunado__ioloop_push(L, loop);
  lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  lua_pushboolean(L, 0);
  lunado__context_set(L, realm);
  realm->coroutines.current = NULL;
  lua_pushcfunction(L, fn);
  lua_pushlightuserdata(L, ud);
  lunado__callback(L, realm, loop, 1);
  realm->coroutines.current = outer;
  lunado__context_set(L, realm);
  lua_pop(L, 1);
}

int lunado__guest_call(lunado_guest *guest, lua_CFunction fn, void *ud) {
  lunado_ioloop *loop = guest->loop;
  lunado_loop *core;
  lua_State *L;
  if (loop == NULL) return UV_ECANCELED;
  L = loop->L;
  if (!lua_checkstack(L, 2 * LUA_MINSTACK)) return UV_ENOMEM;
  core = loop->core;
  guest->calls++;
  lunado__loop_enter(core);
  lunado__ioloop_ref(loop); /* fn may close the loop */
  call(L, loop, fn, ud);
  lunado__ioloop_unref(L, loop);
  lunado__watchers_check(core); /* libuv may be about to poll */
  lunado__loop_exit(core);      /* libuv may be running timers */
  guest->calls--;
  if (guest->loop != NULL) return 0;
  if (guest->calls == 0) lunado__free(guest);
  return UV_ECANCELED;
}

/* --- leaving -------------------------------------------------------------- */

void lunado__guest_leave(lunado_guest *guest) {
  lunado_link_remove(&guest->link);
  guest->loop = NULL;
  while (!lunado_list_empty(&guest->handles)) {
    room *first = lunado_container_of(guest->handles.next, room, link);
    lunado__guest_closehandle(first->handle);
  }
  if (guest->calls == 0) lunado__free(guest);
}

void lunado__guest_close_all(lua_State *L, lunado_ioloop *loop) {
  while (!lunado_list_empty(&loop->guests)) {
    lunado_guest *guest =
        lunado_container_of(loop->guests.next, lunado_guest, link);
    guest->on_close(L, guest->ud);
    lunado__guest_leave(guest);
  }
}
