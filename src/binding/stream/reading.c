/* SPDX-License-Identifier: MIT */
/* reading.c - the reads of a stream. */
#include "binding/stream/reading.h"

#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/forsaken.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/future/ticket.h"
#include "binding/state/uverror.h"
#include "binding/stream/closing.h"
#include "binding/stream/filtering.h"
#include "binding/stream/finding.h"

/* The most bytes that a read with `partial` gets of those that arrive at
 * once. */
#define PART ((size_t)64 * 1024)

/* Pushes the result of a read that gets n bytes, which stay in the buffer.
 * [-0, +1, m] */
static void push_bytes(lua_State *L, lunado_iostream *self, size_t n) {
  const lunado_bytes *in = &self->in;
  const char *at = n > 0 ? lunado_bytes_at(in) : "";
  if (self->want == IOSTREAM_LINE) {
    n--;
    if (n > 0 && at[n - 1] == '\r') n--;
  }
  lua_pushlstring(L, at, n);
}

/* Takes the first n bytes. */
static void take(lunado_iostream *self, size_t n) {
  lunado_bytes_skip(&self->in, n);
  self->generation++;
}

/* --- the read that waits -------------------------------------------------- */

/* True if the read that waited in this generation still waits.  A finalizer may
 * have ended it since. */
static bool still_waits(const lunado_iostream *self, uint32_t generation) {
  return self->has_reader && self->generation == generation;
}

/* Fails the forsaken ticket on top. */
static void forsake(lua_State *L, lunado_realm *realm) {
  int ticket = lua_gettop(L);
  lunado__exception_push(L, realm, LUNADO_E_EXCEPTION,
                         "the coroutine that waited for it was closed");
  lunado__failure_new(L, realm, -1, -1)->observed = true;
  lunado__failure_mark_logged(L, realm, -1);
  lunado__settle_failed(L, realm, ticket);
  lua_settop(L, ticket);
}

bool lunado__reading_pending(lua_State *L, int idx, lunado_iostream *self,
                             bool withdrawn) {
  lunado_realm *realm = self->loop->realm;
  lunado_ticket_standing standing;
  if (!self->has_reader) return false;
  lua_getiuservalue(L, idx, IOSTREAM_READ);
  standing = lunado__ticket_standing(L, realm, lua_gettop(L));
  if (standing == LUNADO_TICKET_FORSAKEN || standing == LUNADO_TICKET_SETTLED)
    self->has_reader = false;
  if (standing == LUNADO_TICKET_FORSAKEN) forsake(L, realm);
  lua_pop(L, 1);
  return self->has_reader && (withdrawn || standing != LUNADO_TICKET_WITHDRAWN);
}

bool lunado__reading_waits(lua_State *L, int idx, lunado_iostream *self) {
  if (lunado__reading_pending(L, idx, self, false)) return true;
  lunado__iostream_release(L, self, IOSTREAM_HELD_READ);
  if (self->core != NULL) self->core->missing = 0;
  return false;
}

/* Gives the read that waits the first n bytes of the buffer, unless a finalizer
 * ends that read.  Another one may begin meanwhile. */
static void give(lua_State *L, int idx, lunado_iostream *self, size_t n) {
  uint32_t generation = self->generation;
  push_bytes(L, self, n);
  if (!still_waits(self, generation)) {
    lua_pop(L, 1);
    return;
  }
  self->has_reader = false;
  take(self, n);
  lunado__iostream_release(L, self, IOSTREAM_HELD_READ);
  lunado__iostream_settle(L, self->loop->realm, idx, IOSTREAM_READ);
}

void lunado__reading_fail(lua_State *L, int idx, lunado_iostream *self,
                          int cause) {
  self->has_reader = false;
  lunado__iostream_release(L, self, IOSTREAM_HELD_READ);
  lunado__iostream_take(L, idx, IOSTREAM_READ);
  lunado__closing_fail(L, idx, self, cause, false);
}

void lunado__reading_end(lua_State *L, int idx, lunado_iostream *self,
                         int cause, bool withdrawn) {
  if (!lunado__reading_pending(L, idx, self, withdrawn)) return;
  if (self->want != IOSTREAM_REST || cause != 0 ||
      (!self->was_reported && !lunado__closing_ended_well(L, idx, self))) {
    lunado__reading_fail(L, idx, self, cause);
    return;
  }
  give(L, idx, self, lunado_bytes_size(&self->in));
}

/* --- reading -------------------------------------------------------------- */

/* How many more bytes the read needs; with `partial`, how many it can use. */
static size_t missing(lunado_iostream *self) {
  size_t size;
  if (!self->has_reader) return 0;
  if (self->want == IOSTREAM_REST) return SIZE_MAX;
  if (self->want != IOSTREAM_BYTES) return 1;
  if (self->partial) return self->count < PART ? self->count : PART;
  size = lunado_bytes_size(&self->in);
  return self->count > size ? self->count - size : 1;
}

void lunado__reading_start(lua_State *L, int idx, lunado_iostream *self) {
  lunado_iostream_caller caller;
  int top = lua_gettop(L), rc = UV_ENOMEM;
  if (self->core == NULL || self->peer_ended || self->connecting) return;
  /* Reading a file may end at once. */
  if (self->kind != LUNADO_STREAM_FILE || lunado__iostream_can_reserve(L)) {
    lunado__iostream_enter(L, self, &caller);
    rc = lunado_stream_read(self->core, missing(self));
    lunado__iostream_leave(&caller);
  }
  if (rc == 0) return;
  if (rc == UV_ENOMEM)
    lunado__uverror_pushname(L, rc);
  else
    lunado__uverror_pushtext(L, rc);
  lunado__closing_all(L, idx, self, top + 1);
  lua_settop(L, top);
}

void lunado__reading_watch(lua_State *L, int idx, lunado_iostream *self) {
  if (self->peer_ended || self->connecting || self->handle_closing ||
      self->core == NULL || lunado_bytes_size(&self->in) >= self->ahead ||
      !lunado_stream_is_readable(self->core))
    return;
  lunado__reading_start(L, idx, self);
}

/* For a read whose data has not arrived.  Ends it if the data can no longer
 * arrive: after the error at `err` (0: none), or at the end of the stream.
 * Otherwise, if `waits`, keeps reading. */
static void wait_or_end(lua_State *L, int idx, lunado_iostream *self, int err,
                        bool waits) {
  if (!self->closed && err != 0)
    lunado__closing_close(L, idx, self, err);
  else if (!self->closed && self->peer_ended)
    lunado__closing_at_end(L, idx, self);
  if (self->handle_closing ||
      (self->closed && (self->peer_ended || err != 0))) {
    lunado__reading_end(L, idx, self, self->handle_closing ? 0 : err, true);
  } else if (waits) {
    lunado__iostream_hold(L, idx, self, IOSTREAM_HELD_READ);
    lunado__reading_start(L, idx, self);
  }
}

/* Gives the pending read its bytes, if they have arrived; ends it if they never
 * will.  Returns true if the read still waits. */
static bool proceed(lua_State *L, int idx, lunado_iostream *self) {
  int top = lua_gettop(L);
  uint32_t generation = self->generation;
  ptrdiff_t n = lunado__finding_find(L, idx, self);
  bool never =
      n == LUNADO_FIND_NEVER ||
      (n == LUNADO_FIND_NOT_YET && lunado__finding_is_hopeless(L, idx, self));
  bool waits = still_waits(self, generation);
  if (waits && n >= 0)
    give(L, idx, self, (size_t)n);
  else if (waits && never)
    wait_or_end(L, idx, self, top + 1, false);
  lua_settop(L, top);
  return waits && n == LUNADO_FIND_NOT_YET && !never;
}

/* Stops reading if no read waits and enough bytes were read ahead.  Otherwise
 * updates the number of missing bytes. */
static void update_missing(lunado_iostream *self, bool waits) {
  lunado_stream *core = self->core;
  if (core == NULL || !core->reading) return;
  if (!waits && lunado_bytes_size(&self->in) >= self->ahead)
    lunado_stream_read_stop(core);
  else
    core->missing = waits ? missing(self) : 0;
}

/* (stream): gives bytes that have arrived to the read that waits. */
static int give_arrived(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  bool waits;
  lua_settop(L, 1);
  waits = lunado__reading_waits(L, 1, self);
  if (waits) (void)proceed(L, 1, self);
  update_missing(self, waits && self->has_reader);
  return 0;
}

void lunado__reading_arrived(lunado_stream *core) {
  lunado_iostream *self = core->owner;
  if (self == NULL || self->handle_closing) return;
  if (self->has_reader)
    lunado__iostream_call(self, give_arrived, 0, 0);
  else
    update_missing(self, false);
}

/* --- the end -------------------------------------------------------------- */

/* (stream, status): reading has ended.  If the peer has ended while no read
 * waits, the stream stays open: the peer may still wait for an answer. */
static int end_reading(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  int status = (int)lua_tointeger(L, 2);
  lua_settop(L, 1);
  if (self->core == NULL) return 0;
  if (status == UV_EOF)
    status = self->write_closed || self->core->filtering != NULL
                 ? 0
                 : lunado_stream_reset_error(self->core);
  if (status != 0) {
    lunado__filtering_pushcause(L, 1, self, status);
    lunado__closing_all(L, 1, self, 2);
    return 0;
  }
  self->peer_ended = true;
  if (self->closed)
    lunado__closing_handle(L, 1, self);
  else if (self->has_close_callback || self->end_sent ||
           lunado__reading_waits(L, 1, self))
    lunado__closing_at_end(L, 1, self);
  return 0;
}

void lunado__reading_ended(lunado_stream *core, int error) {
  lunado_iostream *self = core->owner;
  if (self != NULL && !self->handle_closing)
    lunado__iostream_call(self, end_reading, error, 0);
}

/* --- waiting -------------------------------------------------------------- */

void lunado__reading_ask(lua_State *L, int idx, int ticket, bool waits) {
  lunado_iostream *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  bool is_read;
  lua_getiuservalue(L, idx, IOSTREAM_READ);
  is_read = self->has_reader && lua_rawequal(L, -1, ticket);
  lua_settop(L, top);
  if (is_read && proceed(L, idx, self)) wait_or_end(L, idx, self, 0, waits);
  lua_settop(L, top);
}

/* (stream): as lunado__reading_waits, for a read that is settled or withdrawn:
 * that makes no object. */
static int check_waits(lua_State *L) {
  (void)lunado__reading_waits(L, 1, lua_touserdata(L, 1));
  return 0;
}

void lunado__reading_removed(lua_State *L, int idx, int ticket) {
  lunado_iostream *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  lua_getiuservalue(L, idx, IOSTREAM_READ);
  if (self->has_reader && lua_rawequal(L, -1, ticket)) {
    lua_pushcfunction(L, check_waits);
    lua_pushvalue(L, idx);
    (void)lunado__protect_unseen(L, 1);
  }
  lua_settop(L, top);
}

static int refuse_second(lua_State *L) {
  return luaL_error(L, "the stream is being read already");
}

/* Pushes a Future of the read, which has not found what it wants.  First come
 * the steps that need memory or run finalizers, which may read. */
static void push_wait(lua_State *L, int idx, lunado_iostream *self,
                      uint32_t generation) {
  int ticket = lua_gettop(L) + 1;
  bool hopeless;
  (void)lunado__ticket_new(L, self->loop->realm, idx);
  hopeless = lunado__finding_is_hopeless(L, idx, self);
  if (self->generation != generation) refuse_second(L);
  if (!hopeless && !self->closed && !self->peer_ended)
    lunado__iostream_hold(L, idx, self, IOSTREAM_HELD_READ);
  lua_pushvalue(L, ticket);
  lua_setiuservalue(L, idx, IOSTREAM_READ);
  self->has_reader = true;
  wait_or_end(L, idx, self, hopeless ? ticket + 1 : 0, true);
  lua_settop(L, ticket);
}

/* --- methods -------------------------------------------------------------- */

/* Fails the withdrawn read, because another read begins. */
static void supersede(lua_State *L, int idx, lunado_iostream *self) {
  lunado_realm *realm = self->loop->realm;
  int top = lua_gettop(L);
  lunado__exception_push(L, realm, LUNADO_E_EXCEPTION,
                         "another read of the stream has begun");
  lunado__failure_new(L, realm, -1, -1)->observed = true;
  if (lunado__reading_pending(L, idx, self, true)) {
    lua_getiuservalue(L, idx, IOSTREAM_READ);
    lua_insert(L, -2);
    self->has_reader = false;
    lunado__settle_failed(L, realm, lua_gettop(L) - 1);
  }
  lua_settop(L, top);
}

/* Begins a read of the stream of argument 1, whose userdata it pushes.  Raises
 * if another read waits. */
static lunado_iostream *begin(lua_State *L, lunado_iostream_want want) {
  lunado_iostream *self = lunado__iostream_check(L);
  int idx = lua_gettop(L);
  if (self->has_reader && !lunado__reading_waits(L, idx, self) &&
      self->has_reader)
    supersede(L, idx, self);
  if (self->has_reader) refuse_second(L);
  self->generation++;
  self->want = want;
  self->partial = false;
  self->count = SIZE_MAX;
  self->was_reported = self->reported;
  lunado_bytes_rewind(&self->in);
  return self;
}

/* Returns a Future of the read that has begun.  The userdata is on top. */
static int read_now(lua_State *L, lunado_iostream *self) {
  lunado_realm *realm = self->loop->realm;
  int idx = lua_gettop(L);
  uint32_t generation = self->generation;
  ptrdiff_t n = lunado__finding_find(L, idx, self);
  if (n == LUNADO_FIND_NOT_YET) {
    push_wait(L, idx, self, generation);
  } else if (n == LUNADO_FIND_NEVER) {
    if (self->generation != generation) refuse_second(L);
    lunado__closing_close(L, idx, self, idx + 1);
    lunado__closing_pusherror(L, idx, self, idx + 1);
    lunado__closing_pushfailed(L, self);
  } else {
    lunado_future *future =
        lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof *future, 1);
    if (self->generation == generation) push_bytes(L, self, (size_t)n);
    if (self->generation != generation) refuse_second(L);
    take(self, (size_t)n);
    future->count = 1;
    lunado__settle_known(L, realm, idx + 1, future, LUNADO_DONE);
    if (self->has_close_callback || self->closed)
      lunado__reading_watch(L, idx, self);
  }
  return 1;
}

/* Argument `arg`, an optional `max`. */
static size_t opt_max(lua_State *L, int arg, const char *name) {
  if (lua_isnoneornil(L, arg)) return SIZE_MAX;
  return lunado__iostream_count(L, arg, name);
}

/* stream:read_bytes(n [, partial]) → a Future of the next n bytes; with
 * `partial`, of the available ones, at least one and at most n.
 * Tornado: BaseIOStream.read_bytes. */
static int stream_read_bytes(lua_State *L) {
  lunado_iostream *self;
  size_t count;
  lua_settop(L, 3);
  count = lunado__iostream_count(L, 2, "read_bytes");
  self = begin(L, IOSTREAM_BYTES);
  self->count = count;
  self->partial = lua_toboolean(L, 3);
  return read_now(L, self);
}

/* stream:read_until(delimiter [, max]) → a Future of the bytes up to and
 * including the delimiter.  If they are more than `max`, an
 * UnsatisfiableReadError closes the stream.  Tornado: BaseIOStream.read_until.
 */
static int stream_read_until(lua_State *L) {
  lunado_iostream *self;
  size_t max;
  lua_settop(L, 3);
  if (lua_type(L, 2) != LUA_TSTRING) {
    lua_pushfstring(L, "string expected, got %s", luaL_typename(L, 2));
    return lunado__iostream_badarg(L, 1, "read_until", lua_tostring(L, -1));
  }
  if (lua_rawlen(L, 2) == 0)
    return lunado__iostream_badarg(L, 1, "read_until",
                                   "the delimiter is empty");
  max = opt_max(L, 3, "read_until");
  self = begin(L, IOSTREAM_DELIMITER);
  self->count = max;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, IOSTREAM_WHAT);
  return read_now(L, self);
}

/* stream:read_line([max]) → a Future of the next line, without "\n" or "\r\n"
 * at its end. */
static int stream_read_line(lua_State *L) {
  size_t max = opt_max(L, 2, "read_line");
  lunado_iostream *self;
  lua_settop(L, 2);
  self = begin(L, IOSTREAM_LINE);
  self->count = max;
  return read_now(L, self);
}

/* stream:read_until_close() → a Future of all bytes until the stream is closed,
 * by either side.  Tornado: BaseIOStream.read_until_close. */
static int stream_read_until_close(lua_State *L) {
  lua_settop(L, 1);
  return read_now(L, begin(L, IOSTREAM_REST));
}

/* stream:_read_match(match) → a Future of as many bytes as match(stream)
 * returns. */
static int stream__read_match(lua_State *L) {
  lunado_iostream *self;
  lua_settop(L, 2);
  self = begin(L, IOSTREAM_MATCH);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, IOSTREAM_WHAT);
  return read_now(L, self);
}

/* stream:_peek(from [, count]) → the bytes in the buffer behind the first
 * `from`, and how many there are in all. */
static int stream__peek(lua_State *L) {
  size_t from = (size_t)luaL_checkinteger(L, 2), size;
  const lunado_bytes *in;
  lunado_iostream *self;
  lua_settop(L, 2);
  self = lunado__iostream_check(L);
  in = &self->in;
  size = lunado_bytes_size(in);
  if (from >= size)
    lua_pushliteral(L, "");
  else
    lua_pushlstring(L, lunado_bytes_at(in) + from, size - from);
  lua_pushinteger(L, (lua_Integer)size);
  return 2;
}

/* stream:reading() → whether a read waits.  Tornado: BaseIOStream.reading. */
static int stream_reading(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushboolean(L, lunado__reading_pending(L, 2, self, true));
  return 1;
}

/* stream:_waits() → whether a read waits, and has a waiter. */
static int stream__waits(lua_State *L) {
  lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushboolean(L, lunado__reading_waits(L, 2, self));
  return 1;
}

/* stream:_ended_well() → whether nothing was lost of what the peer has sent,
 * and whether the peer has ended. */
static int stream__ended_well(lua_State *L) {
  const lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushboolean(L, lunado__closing_ended_well(L, 2, self));
  lua_pushboolean(L, self->peer_ended);
  return 2;
}

static const luaL_Reg functions[] = {
    {"read_bytes", stream_read_bytes},
    {"read_until", stream_read_until},
    {"read_line", stream_read_line},
    {"read_until_close", stream_read_until_close},
    {"reading", stream_reading},
    {"_read_match", stream__read_match},
    {"_peek", stream__peek},
    {"_waits", stream__waits},
    {"_ended_well", stream__ended_well},
    {NULL, NULL}};

void lunado__reading_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
