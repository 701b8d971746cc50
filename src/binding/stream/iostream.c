/* SPDX-License-Identifier: MIT */
/* iostream.c - the stream behind an IOStream: making it, and its storage. */
#include "binding/stream/iostream.h"

#include <string.h>

#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/anchor.h"
#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "binding/stream/closing.h"
#include "binding/stream/connecting.h"
#include "binding/stream/descriptor.h"
#include "binding/stream/filtering.h"
#include "binding/stream/reading.h"
#include "binding/stream/socket.h"
#include "binding/stream/writing.h"
#include "core/filter.h"
#include "core/handle.h"

/* What may arrive while no read waits, at first. */
#define READ_AHEAD ((uint32_t)64 * 1024)

/* Places on the stack for an event of the core's. */
#define EVENT_STACK (3 * LUA_MINSTACK)

/* --- arguments ------------------------------------------------------------ */

int lunado__iostream_badarg(lua_State *L, int position, const char *name,
                            const char *what) {
  (void)lunado__iostream_check(L); /* whose arguments may be one off */
  return luaL_error(L, "bad argument #%d to '%s' (%s)", position, name, what);
}

size_t lunado__iostream_count(lua_State *L, int arg, const char *name) {
  lua_Integer count;
  int isnum;
  if (lua_type(L, arg) != LUA_TNUMBER) {
    lua_pushfstring(L, "number expected, got %s", luaL_typename(L, arg));
    lunado__iostream_badarg(L, arg - 1, name, lua_tostring(L, -1));
  }
  count = lua_tointegerx(L, arg, &isnum);
  if (!isnum)
    lunado__iostream_badarg(L, arg - 1, name,
                            "number has no integer representation");
  if (count < 0)
    lunado__iostream_badarg(L, arg - 1, name, "must not be negative");
  return (size_t)count;
}

lunado_iostream *lunado__iostream_check(lua_State *L) {
  lunado_iostream *self = NULL;
  if (lua_istable(L, 1)) {
    lua_rawgeti(L, 1, 1);
    self = lunado__toclass(L, -1, lunado__realm_upvalue(L)->types.stream);
  }
  if (self == NULL) luaL_typeerror(L, 1, "IOStream");
  return self;
}

lunado_iostream *lunado__iostream_alone(lua_State *L) {
  lua_settop(L, 1);
  return lunado__iostream_check(L);
}

size_t lunado__iostream_limit(lua_State *L, int idx, const char *name,
                              size_t otherwise) {
  lua_Integer limit;
  int isnum;
  lua_getiuservalue(L, idx, IOSTREAM_OBJECT);
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  limit = lua_tointegerx(L, -1, &isnum);
  lua_pop(L, 2);
  return isnum && limit >= 0 ? (size_t)limit : otherwise;
}

/* --- Futures -------------------------------------------------------------- */

void lunado__iostream_pushdone(lua_State *L, lunado_realm *realm) {
  lunado__getslot(L, realm, LUNADO_SLOT_WRITTEN);
}

int lunado__iostream_get(lua_State *L, int idx, int value) {
  if (value <= IOSTREAM_VALUES) return lua_getiuservalue(L, idx, value);
  if (lua_getiuservalue(L, idx, IOSTREAM_RARE) == LUA_TTABLE) {
    lua_rawgeti(L, -1, value - IOSTREAM_VALUES);
    lua_remove(L, -2);
  }
  return lua_type(L, -1);
}

void lunado__iostream_pushtable(lua_State *L, int idx, int value) {
  bool is_rare = value > IOSTREAM_VALUES;
  if (lunado__iostream_get(L, idx, value) == LUA_TTABLE) return;
  lua_pop(L, 1);
  if (is_rare) {
    lunado__iostream_pushtable(L, idx, IOSTREAM_RARE);
    lua_pop(L, 1);
  }
  lua_createtable(L, is_rare ? 0 : IOSTREAM_CLOSED - IOSTREAM_VALUES, 0);
  if (lunado__iostream_get(L, idx, value) == LUA_TTABLE) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lunado__iostream_set(L, idx, value);
}

void lunado__iostream_set(lua_State *L, int idx, int value) {
  if (value <= IOSTREAM_VALUES) {
    lua_setiuservalue(L, idx, value);
    return;
  }
  if (lua_isnil(L, -1)) {
    bool none = lua_getiuservalue(L, idx, IOSTREAM_RARE) == LUA_TNIL;
    lua_pop(L, 1 + none);
    if (none) return;
  }
  lunado__iostream_pushtable(L, idx, IOSTREAM_RARE);
  lua_insert(L, -2);
  lua_rawseti(L, -2, value - IOSTREAM_VALUES);
  lua_pop(L, 1);
}

void lunado__iostream_take(lua_State *L, int idx, int value) {
  (void)lunado__iostream_get(L, idx, value);
  lua_pushnil(L);
  lunado__iostream_set(L, idx, value);
}

void lunado__iostream_settle(lua_State *L, lunado_realm *realm, int idx,
                             int value) {
  int result = lua_gettop(L);
  lunado_future *future;
  lunado__iostream_take(L, idx, value);
  future = lunado__tofuture(L, realm, -1);
  if (future != NULL && lunado_future_pending(future)) {
    future->count = !lua_isnil(L, result);
    lua_pushvalue(L, result);
    lunado__settle_known(L, realm, result + 1, future, LUNADO_DONE);
  }
  lua_settop(L, result - 1);
}

/* --- holding -------------------------------------------------------------- */

static void drop_anchor(lua_State *L, lunado_iostream *self) {
  if (self->anchor > 0) lunado__anchor_drop(L, self->loop, self->anchor);
  self->anchor = 0;
}

void lunado__iostream_hold(lua_State *L, int idx, lunado_iostream *self,
                           int reason) {
  if (self->anchor == 0) {
    lua_pushvalue(L, idx);
    self->anchor = lunado__anchor_add(L, self->loop);
    lua_pop(L, 1);
  } else if (self->holds == 0) {
    lua_pushvalue(L, idx);
    lunado__anchor_set(L, self->loop, self->anchor);
  }
  if (reason & IOSTREAM_KEEPS_ALIVE && !(self->holds & IOSTREAM_KEEPS_ALIVE) &&
      self->core != NULL && !self->background)
    lunado_stream_keep_alive(self->core, true);
  self->holds |= (uint8_t)reason;
}

void lunado__iostream_release(lua_State *L, lunado_iostream *self, int reason) {
  bool kept_alive = self->holds & IOSTREAM_KEEPS_ALIVE;
  if (self->holds == 0) return;
  self->holds &= (uint8_t)~reason;
  if (kept_alive && !(self->holds & IOSTREAM_KEEPS_ALIVE) && self->core != NULL)
    lunado_stream_keep_alive(self->core, false);
  if (self->holds > 0) return;
  if (self->handle_closing) {
    drop_anchor(L, self);
  } else {
    lua_pushboolean(L, 0); /* the next hold takes the same anchor */
    lunado__anchor_set(L, self->loop, self->anchor);
  }
}

/* --- events --------------------------------------------------------------- */

/* Pushes the userdata, and returns true; pushes nil where it is being
 * collected. */
static bool push_stream(lua_State *L, const lunado_iostream *self) {
  bool alive;
  lunado__getslot(L, self->loop->realm, LUNADO_SLOT_STREAMS);
  alive = lua_rawgetp(L, -1, self) != LUA_TNIL;
  lua_replace(L, -2);
  return alive;
}

/* The thread on which an event of the stream's runs. */
static lua_State *thread_of(const lunado_iostream *self) {
  const lunado_iostream_caller *caller = self->loop->caller;
  return caller != NULL && caller->stream == self ? caller->L : self->loop->L;
}

bool lunado__iostream_can_reserve(lua_State *L) {
  return lua_checkstack(L, EVENT_STACK + LUA_MINSTACK);
}

void lunado__iostream_reserve(lua_State *L) {
  if (!lunado__iostream_can_reserve(L)) luaL_error(L, "not enough memory");
}

void lunado__iostream_call(lunado_iostream *self, lua_CFunction function,
                           int status, lua_Integer number) {
  lua_State *L = thread_of(self);
  int top = lua_gettop(L);
  if (!lua_checkstack(L, EVENT_STACK)) return;
  if (push_stream(L, self)) {
    lua_pushcfunction(L, function);
    lua_pushvalue(L, -2);
    lua_pushinteger(L, status);
    lua_pushinteger(L, number);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK)
      lunado__closing_for_memory(L, top + 1, self);
  }
  lua_settop(L, top);
}

static const lunado_ticket_owner ticket_owner = {
    .ask = lunado__reading_ask, .removed = lunado__reading_removed};

static const lunado_stream_events stream_events = {
    .arrived = lunado__reading_arrived,
    .ended = lunado__reading_ended,
    .written = lunado__writing_written,
    .connected = lunado__connecting_connected,
    .started = lunado__filtering_started,
    .closed = lunado__closing_closed};

/* --- making --------------------------------------------------------------- */

lunado_iostream *lunado__iostream_new(lua_State *L, lunado_ioloop *loop,
                                      int object) {
  lunado_iostream *self = lua_newuserdatauv(L, sizeof *self, IOSTREAM_VALUES);
  memset(self, 0, sizeof *self);
  self->ticket = &ticket_owner;
  self->loop = loop;
  self->closed = self->handle_closing = true;
  lunado__ioloop_push(L, loop);
  lua_setiuservalue(L, -2, IOSTREAM_LOOP);
  lua_pushvalue(L, object);
  lua_setiuservalue(L, -2, IOSTREAM_OBJECT);
  lunado__class_set(L, loop->realm->types.stream);
  lunado__getslot(L, loop->realm, LUNADO_SLOT_STREAMS);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, self);
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_rawseti(L, object, 1);
  return self;
}

void lunado__iostream_attach(lunado_iostream *self, lunado_stream *core) {
  self->core = core;
  self->kind = (lunado_stream_kind)core->kind;
  self->closed = self->handle_closing = false;
  core->owner = self;
  core->events = &stream_events;
  core->in = &self->in;
  self->ahead = READ_AHEAD;
}

static int stream__gc(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  lunado_stream *core = self->core;
  self->core = NULL;
  lunado_bytes_fini(&self->in);
  drop_anchor(L, self);
  if (core == NULL) return 0;
  core->owner = core->in = NULL;
  lunado_stream_close(core);
  if (lunado__iostream_get(L, 1, IOSTREAM_HANDLE) != LUA_TUSERDATA) return 0;
  lua_pushnil(L);
  (void)lunado__closing_luv(L, lua_gettop(L) - 1);
  return 0;
}

/* (stream): the scope of its service has been left; not by a return, if it is
 * still being served. */
static int stream__close(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  if (!self->serving) return 0;
  lua_settop(L, 1);
  lunado__closing_all(L, 1, self, 0);
  return 0;
}

/* --- functions ------------------------------------------------------------ */

/* Raises that a stream cannot be made. */
static int cannot_open(lua_State *L, int rc) {
  if (rc == UV_ENOMEM) return luaL_error(L, "not enough memory");
  if (rc == UV_ECANCELED) return luaL_error(L, "the IOLoop is closed");
  lunado__uverror_pushtext(L, rc);
  return lua_error(L);
}

/* The stream of the userdata on top was opened, or not. */
static int finish_open(lua_State *L, lunado_iostream *self, lunado_stream *core,
                       int rc) {
  if (rc < 0) return cannot_open(L, rc);
  lunado__iostream_attach(self, core);
  return 1;
}

/* stream_open(object, kind [, fd [, readable]]) → the userdata of a stream with
 * a handle of its own: "tcp" or "pipe"; with a descriptor also "tty".  `fd` may
 * be an object that owns the descriptor, which is the stream's from then on. */
static int core_stream_open(lua_State *L) {
  static const char *const kinds[] = {"tcp", "pipe", "tty", NULL};
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  lunado_stream_kind kind =
      (lunado_stream_kind)luaL_checkoption(L, 2, NULL, kinds);
  lunado_descriptor *given = lunado__descriptor_at(L, loop->realm, 3);
  int fd = given != NULL ? given->fd : (int)luaL_optinteger(L, 3, -1), rc;
  lunado_iostream *self;
  lunado_stream *core;
  luaL_checktype(L, 1, LUA_TTABLE);
  self = lunado__iostream_new(L, loop, 1);
  if (kind == LUNADO_STREAM_TTY)
    rc = lunado_stream_new_tty(&core, loop->core, fd, lua_toboolean(L, 4));
  else if (fd < 0)
    rc = lunado_stream_new(&core, loop->core, kind);
  else
    rc = lunado_stream_new_open(&core, loop->core, kind, fd);
  if (rc == 0 && given != NULL) given->fd = -1;
  return finish_open(L, self, core, rc);
}

lunado_ioloop *lunado__iostream_loop_on(lua_State *L, lunado_realm *realm,
                                        const uv_loop_t *uv) {
  const lunado_link *all = &realm->loops.cores;
  (void)lunado__ioloop_current(L, realm); /* may have to begin */
  for (const lunado_link *link = all->next; link != all; link = link->next) {
    lunado_loop *loop = lunado_container_of(link, lunado_loop, kin);
    if (loop->uv == uv && !loop->closed) return loop->owner;
  }
  luaL_error(L, "the IOLoop is closed");
  return NULL;
}

/* stream_adopt(object, handle) → the userdata of a stream on a handle of luv's:
 * of its types uv_tcp, uv_pipe or uv_tty. */
static int core_stream_adopt(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self;
  lunado_ioloop *loop;
  lunado_stream *core;
  uv_stream_t *handle;
  int rc;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TUSERDATA);
  lua_settop(L, 2);
  handle = *(uv_stream_t **)lua_touserdata(L, 2);
  loop = lunado__iostream_loop_on(L, realm, handle->loop);
  self = lunado__iostream_new(L, loop, 1);
  lua_pushvalue(L, 2);
  lunado__iostream_set(L, 3, IOSTREAM_HANDLE);
  rc = lunado_stream_adopt(&core, loop->core, handle);
  return finish_open(L, self, core, rc);
}

/* is_filtered(handle) → whether an open stream with a filter has the handle of
 * luv's. */
static int core_is_filtered(lua_State *L) {
  const lunado_stream *core;
  luaL_checktype(L, 1, LUA_TUSERDATA);
  core = lunado__handle_adopter(*(uv_stream_t **)lua_touserdata(L, 1));
  lua_pushboolean(L, core != NULL && !core->closed && core->filtering != NULL);
  return 1;
}

/* stream_lost(error, handle): luv closes its handle, which a stream may have
 * adopted. */
static int core_stream_lost(lua_State *L) {
  lunado_stream *core;
  lunado_iostream *self;
  lunado_iostream_caller caller;
  luaL_checktype(L, 2, LUA_TUSERDATA);
  core = lunado__handle_adopter(*(uv_stream_t **)lua_touserdata(L, 2));
  if (core == NULL || core->owner == NULL) return 0;
  self = core->owner;
  lunado__iostream_reserve(L);
  lunado__iostream_enter(L, self, &caller);
  lunado__reading_ended(core, UV_ECANCELED);
  lunado__iostream_leave(&caller);
  return 0;
}

/* stream_open_file(object, fd, mode, seekable [, handle]) → the userdata of a
 * stream that reads or writes a file, opened in the mode "r", "w", "a" or "r+";
 * `handle` of luv's closes the descriptor. */
static int core_stream_open_file(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_current(L, lunado__realm_upvalue(L));
  int fd = (int)luaL_checkinteger(L, 2);
  const char *mode = luaL_checkstring(L, 3);
  int flags = mode[0] == 'r' ? LUNADO_FILE_READABLE : 0;
  lunado_iostream *self;
  lunado_stream *core;
  int rc;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 5);
  if (mode[0] == 'a') flags |= LUNADO_FILE_APPENDS;
  if (mode[0] != 'r' || mode[1] == '+') flags |= LUNADO_FILE_WRITABLE;
  if (lua_toboolean(L, 4)) flags |= LUNADO_FILE_AT_START;
  if (!lua_isnil(L, 5)) flags |= LUNADO_FILE_BORROWED;
  self = lunado__iostream_new(L, loop, 1);
  lua_pushvalue(L, 5);
  lunado__iostream_set(L, 6, IOSTREAM_HANDLE);
  rc = lunado_stream_new_file(&core, loop->core, fd, flags);
  return finish_open(L, self, core, rc);
}

/* stream_set_ahead(object, bytes): so many may arrive while no read waits. */
static int core_stream_set_ahead(lua_State *L) {
  lunado_iostream *self;
  lua_Integer ahead = luaL_checkinteger(L, 2);
  lua_settop(L, 1);
  self = lunado__iostream_check(L);
  if (self->core != NULL)
    self->ahead = ahead < UINT32_MAX ? (uint32_t)ahead : UINT32_MAX;
  return 0;
}

/* stream_background(object): from now on the stream does not keep the loop's
 * run alive. */
static int core_stream_background(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  self->background = true;
  if (self->core != NULL) lunado_stream_keep_alive(self->core, false);
  return 0;
}

/* --- what specs look at --------------------------------------------------- */

/* stream_state(object) → the number of bytes that have arrived and were not
 * taken; whether the peer has ended; whether libuv reads. */
static int core_stream_state(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushinteger(L, (lua_Integer)lunado_bytes_size(&self->in));
  lua_pushboolean(L, self->peer_ended);
  lua_pushboolean(L, self->core != NULL && self->core->reading);
  return 3;
}

static const luaL_Reg functions[] = {
    {"stream_open", core_stream_open},
    {"stream_adopt", core_stream_adopt},
    {"is_filtered", core_is_filtered},
    {"stream_lost", core_stream_lost},
    {"stream_open_file", core_stream_open_file},
    {"stream_set_ahead", core_stream_set_ahead},
    {"stream_background", core_stream_background},
    {"stream_state", core_stream_state},
    {NULL, NULL}};

static void (*const method_makers[])(lua_State *L) = {
    lunado__closing_functions, lunado__reading_functions,
    lunado__writing_functions, lunado__connecting_functions,
    lunado__filtering_functions};

/* stream_methods: a table of IOStream's methods that are written in C;
 * filter_interface: the version of the interface of filters. */
void lunado__iostream_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
  lua_newtable(L);
  for (size_t i = 0; i < sizeof method_makers / sizeof method_makers[0]; i++)
    method_makers[i](L);
  lua_setfield(L, -2, "stream_methods");
  lua_pushinteger(L, LUNADO_FILTER_INTERFACE);
  lua_setfield(L, -2, "filter_interface");
}

static const luaL_Reg metamethods[] = {
    {"__close", stream__close}, {"__gc", stream__gc}, {NULL, NULL}};

void lunado__iostream_open(lua_State *L, lunado_realm *realm) {
  lunado_future *written;
  realm->types.stream = lunado__class_new(L, "lunado.stream",
                                          lunado__socket_methods, metamethods);
  lua_pop(L, 1);
  lua_newtable(L);
  lunado__class_setweak(L, "v");
  lunado__setslot(L, realm, LUNADO_SLOT_STREAMS);
  written = lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof *written, 1);
  lua_pushnil(L);
  lunado__settle_known(L, realm, lua_gettop(L) - 1, written, LUNADO_DONE);
  lunado__setslot(L, realm, LUNADO_SLOT_WRITTEN);
}
