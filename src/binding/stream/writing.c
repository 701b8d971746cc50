/* SPDX-License-Identifier: MIT */
/*
 * writing.c - the writes of a stream.
 *
 * Invariants: the writes that are not sent yet have the numbers from
 * first_write up to, and without, next_write; IOSTREAM_WRITES has their Futures
 * by number.  Such a Future holds the data, because libuv reads it from there.
 * While the Future of a write is being made, it is not there, and the stack of
 * stream:write holds the data.
 */
#include "binding/stream/writing.h"

#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/state/hook.h"
#include "binding/stream/closing.h"
#include "binding/stream/filtering.h"
#include "binding/stream/reading.h"
#include "core/filter.h"
#include "core/system.h"
#include "core/write.h"

/* A write's Future has its data as a second user value. */
enum { WRITE_DATA = 2, WRITE_VALUES = WRITE_DATA };

/* Lists of up to this many strings are written without an array in the heap. */
#define FEW 16

/* The most strings in a list: the number of buffers, and their size in bytes,
 * must fit into an int. */
#define MOST (INT32_MAX / (int)sizeof(uv_buf_t))

static bool is_empty(const lunado_iostream *self) {
  return self->first_write == self->next_write;
}

/* True if the write with this number is not sent yet. */
static bool is_unsent(const lunado_iostream *self, uint32_t number) {
  return number - self->first_write < self->next_write - self->first_write;
}

/* --- Futures -------------------------------------------------------------- */

/* Takes the Future of the first write out of IOSTREAM_WRITES, and pushes it;
 * pushes nothing and returns NULL while it is being made. */
static lunado_future *take_first(lua_State *L, int idx, lunado_iostream *self) {
  int top = lua_gettop(L);
  uint32_t number = self->first_write++;
  if (is_empty(self)) lunado__iostream_release(L, self, IOSTREAM_HELD_WRITE);
  if (lunado__iostream_get(L, idx, IOSTREAM_WRITES) == LUA_TTABLE &&
      lua_rawgeti(L, -1, number) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, -3, number);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
  }
  lua_settop(L, top);
  return NULL;
}

void lunado__writing_fail_all(lua_State *L, int idx, lunado_iostream *self) {
  if (self->core != NULL) lunado_stream_drop_writes(self->core);
  while (!is_empty(self))
    if (take_first(L, idx, self) != NULL)
      lunado__closing_fail(L, idx, self, 0, true);
}

/* --- the core's events ---------------------------------------------------- */

/* True if the stream cannot be read after a write that failed: at its end,
 * during a handshake, and if its filter cannot go on. */
static bool cannot_be_read(const lunado_iostream *self, int status) {
  return self->peer_ended || self->starting ||
         !lunado_stream_is_readable(self->core) ||
         (self->core->filtering != NULL &&
          (status == LUNADO_FILTER_ERROR || status == UV_ENOMEM));
}

/* Closes the stream after a failed write.  What the peer has sent can still be
 * read; it may even not have arrived yet. */
static void fail(lua_State *L, int idx, lunado_iostream *self, int status) {
  int cause = lua_gettop(L) + 1;
  lunado__filtering_pushcause(L, idx, self, status);
  if (self->closed) {
    lunado__closing_handle(L, idx, self);
  } else if (cannot_be_read(self, status)) {
    lunado__closing_close(L, idx, self, cause);
  } else {
    lunado__closing_mark(L, idx, self, cause);
    lunado__writing_fail_all(L, idx, self);
    lunado__closing_callback(L, idx, self);
    (void)lunado__reading_waits(L, idx, self);
    lunado__reading_watch(L, idx, self);
  }
  lua_settop(L, cause - 1);
}

/* Closes the handle of a closed stream whose peer has ended, if this was the
 * last write. */
static void close_after_last(lua_State *L, int idx, lunado_iostream *self) {
  if (is_empty(self) && self->closed && self->peer_ended)
    lunado__closing_handle(L, idx, self);
}

/* Settles the Future of the first write. */
static void settle_first(lua_State *L, int idx, lunado_iostream *self) {
  lunado_future *future = take_first(L, idx, self);
  if (future == NULL) return;
  if (lunado_future_pending(future)) {
    lua_pushnil(L);
    lunado__settle_known(L, self->loop->realm, lua_gettop(L) - 1, future,
                         LUNADO_DONE);
  }
  lua_pop(L, 1);
}

/* To be called when the end of writing was sent, or has failed.  A stream that
 * is not a socket is not read (see close_write), so it can only be closed. */
static void end_was_sent(lua_State *L, int idx, lunado_iostream *self,
                         int status) {
  if (status != 0 && status != UV_ENOTSOCK) {
    fail(L, idx, self, status);
    return;
  }
  self->end_sent = true;
  settle_first(L, idx, self);
  if (self->closed) return;
  if (self->peer_ended || !lunado_stream_is_readable(self->core))
    lunado__closing_close(L, idx, self, 0);
  else
    lunado__reading_watch(L, idx, self); /* for the peer's end */
}

/* (stream, status, is_end): ends the first write, which was sent or has failed;
 * is_end is 1 for the end of writing. */
static int end_first(lua_State *L) {
  lunado_iostream *self = lua_touserdata(L, 1);
  int status = (int)lua_tointeger(L, 2);
  bool is_end = lua_tointeger(L, 3) != 0;
  lua_settop(L, 1);
  if (is_empty(self)) return 0;
  if (is_end)
    end_was_sent(L, 1, self, status);
  else if (status != 0)
    fail(L, 1, self, status);
  else
    settle_first(L, 1, self);
  close_after_last(L, 1, self);
  return 0;
}

void lunado__writing_written(lunado_stream *core, lunado_write *write,
                             int error) {
  lunado_iostream *self = core->owner;
  if (self == NULL || is_empty(self)) return;
  lunado__iostream_call(self, end_first, error, write->count == 0);
}

/* --- data ----------------------------------------------------------------- */

/* The data of one call of write. */
typedef struct {
  uv_buf_t few[FEW];
  uv_buf_t *bufs; /* few, or a userdata's on the stack */
  unsigned count;
  size_t size;
  size_t sent;         /* bytes that were sent at once */
  lunado_write *write; /* of the other bytes */
  int holder;          /* stack index of the string, or of a table of strings */
} message;

static int bad_data(lua_State *L, const char *expected, int idx) {
  lua_pushfstring(L, "%s expected, got %s", expected, luaL_typename(L, idx));
  return lunado__iostream_badarg(L, 1, "write", lua_tostring(L, -1));
}

static void add_string(lua_State *L, message *self, int idx) {
  size_t length;
  const char *text = lua_tolstring(L, idx, &length);
  uv_buf_t *buf = &self->bufs[self->count++];
  *buf = uv_buf_init((char *)text, 0); /* which takes no size_t */
  buf->len = (lunado_buf_size)length;
  if (buf->len != length)
    lunado__iostream_badarg(L, 1, "write", "string is too long");
  self->size += length;
}

/* Adds the strings of the list at 2, and copies the list, which the program may
 * change. */
static void add_list(lua_State *L, message *self) {
  lua_Integer n = luaL_len(L, 2);
  if (n > MOST) lunado__iostream_badarg(L, 1, "write", "list is too long");
  lua_createtable(L, n < 1024 ? (int)n : 0, 0);
  self->holder = lua_gettop(L);
  if (n > FEW)
    self->bufs = lua_newuserdatauv(L, (size_t)n * sizeof(uv_buf_t), 0);
  for (lua_Integer i = 1; i <= n; i++) {
    if (lua_geti(L, 2, i) != LUA_TSTRING) bad_data(L, "list of strings", -1);
    add_string(L, self, -1);
    lua_rawseti(L, self->holder, i);
  }
}

static void check_data(lua_State *L, message *self) {
  self->bufs = self->few;
  self->count = 0;
  self->size = 0;
  self->holder = 2;
  if (lua_type(L, 2) == LUA_TSTRING)
    add_string(L, self, 2);
  else if (lua_type(L, 2) == LUA_TTABLE)
    add_list(L, self);
  else
    bad_data(L, "string", 2);
  if (self->count == 0) self->few[self->count++] = uv_buf_init(NULL, 0);
}

/* --- writing -------------------------------------------------------------- */

/* Pushes a pending Future of a write of the data at `data` (0: of the end of
 * writing), and IOSTREAM_WRITES.  A finalizer that runs meanwhile may write, or
 * close the stream. */
static void push_future(lua_State *L, int idx, const lunado_iostream *self,
                        int data) {
  lunado__future_new(L, self->loop->realm, LUNADO_KIND_PLAIN,
                     sizeof(lunado_future), WRITE_VALUES);
  if (data != 0) {
    lua_pushvalue(L, data);
    lua_setiuservalue(L, -2, WRITE_DATA);
  }
  lunado__iostream_pushtable(L, idx, IOSTREAM_WRITES);
}

/* Pops IOSTREAM_WRITES, and puts the Future below it there. */
static void set_future(lua_State *L, uint32_t number) {
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, number);
  lua_pop(L, 1);
}

/* Pushes a Future as push_future, and adds it as that of the next write. */
static void add_future(lua_State *L, int idx, const lunado_iostream *self,
                       int data) {
  push_future(L, idx, self, data);
  set_future(L, self->next_write);
}

/* Makes the next write, of the data that is not sent yet, or (NULL) of the end
 * of writing.  Makes the loop hold the stream for it.  Runs no finalizer. */
static lunado_write *new_write(lua_State *L, int idx, lunado_iostream *self,
                               const message *data) {
  lunado_write *write;
  lunado__iostream_hold(L, idx, self, IOSTREAM_HELD_WRITE);
  write = data != NULL ? lunado_write_new(data->bufs, data->count, data->sent)
                       : lunado_write_new_end();
  if (write != NULL) return write;
  if (is_empty(self)) lunado__iostream_release(L, self, IOSTREAM_HELD_WRITE);
  luaL_error(L, "not enough memory");
  return NULL;
}

/* Passes the next write to the core. */
static void submit(lua_State *L, lunado_iostream *self, lunado_write *write) {
  lunado_iostream_caller caller;
  self->next_write++;
  lunado__iostream_enter(L, self, &caller);
  lunado_stream_write(self->core, write);
  lunado__iostream_leave(&caller);
}

/* (stream, message): makes the write of the rest.  Makes no object, because a
 * finalizer might write. */
static int make_rest(lua_State *L) {
  message *data = lua_touserdata(L, 2);
  data->write = new_write(L, 1, lua_touserdata(L, 1), data);
  return 0;
}

/* (stream, data, number) -> the Future of the write with this number, which may
 * have ended meanwhile. */
static int make_future(lua_State *L) {
  enum { STREAM = 1, DATA, NUMBER, FUTURE };
  lunado_iostream *self = lua_touserdata(L, STREAM);
  uint32_t number = (uint32_t)lua_tointeger(L, NUMBER);
  push_future(L, STREAM, self, DATA);
  if (is_unsent(self, number)) {
    set_future(L, number);
  } else if (self->closed) {
    lua_settop(L, FUTURE);
    lua_pushvalue(L, FUTURE);
    lunado__closing_fail(L, STREAM, self, 0, true);
  } else {
    lunado__iostream_pushdone(L, self->loop->realm);
  }
  return 1;
}

/* Writes the rest of the data, of which some bytes were sent, and pushes the
 * Future.  The rest is passed to the core first, so that no other write comes
 * between. */
static int write_rest(lua_State *L, int idx, lunado_iostream *self,
                      message *data) {
  bool has_room = lunado__iostream_can_reserve(L), made;
  uint32_t number = self->next_write;
  lunado__hook hook;
  lua_pushcfunction(L, make_rest);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, data);
  made = has_room && lunado__protect_unseen(L, 2);
  if (made) {
    submit(L, self, data->write);
    lua_pushcfunction(L, make_future);
    lua_pushvalue(L, idx);
    lua_pushvalue(L, data->holder);
    lua_pushinteger(L, number);
    hook = lunado__hook_off(L);
    made = lua_pcall(L, 3, 1, 0) == LUA_OK;
    lunado__hook_on(L, &hook);
    if (made) return 1;
  }
  lunado__closing_for_memory(L, idx, self);
  return luaL_error(L, "not enough memory");
}

/* Pushes a Future that has failed with an error of the class. */
static int refuse(lua_State *L, lunado_iostream *self, lunado_error_class which,
                  const char *message_text) {
  lunado__exception_push(L, self->loop->realm, which, "%s", message_text);
  lunado__closing_pushfailed(L, self);
  return 1;
}

/* Returns true, and pushes a failed Future, if the stream cannot be written. */
static bool is_refused(lua_State *L, int idx, lunado_iostream *self,
                       size_t size) {
  size_t limit =
      lunado__iostream_limit(L, idx, "max_write_buffer_size", SIZE_MAX);
  if (self->closed) {
    lunado__closing_pusherror(L, idx, self, 0);
    lunado__closing_pushfailed(L, self);
    return true;
  }
  if (self->write_closed)
    return refuse(L, self, LUNADO_E_STREAM_CLOSED,
                  "Stream is closed for writing");
  if (limit == SIZE_MAX ||
      (limit >= size && lunado_stream_unsent(self->core) <= limit - size))
    return false;
  return refuse(L, self, LUNADO_E_STREAM_BUFFER_FULL,
                "Reached maximum write buffer size");
}

/* A file is written at the place up to which reads have taken bytes.  So drops
 * the bytes that were read ahead, which are read again. */
static void forget_ahead(lunado_iostream *self) {
  size_t size = lunado_bytes_size(&self->in);
  if (!lunado_stream_seek_back(self->core, size)) return;
  lunado_bytes_skip(&self->in, size);
  self->peer_ended = false;
  self->generation++;
}

/* stream:write(data) → a Future that is done when the data, a string or a list
 * of strings, was sent.  Tornado: BaseIOStream.write. */
static int stream_write(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self;
  message data;
  int idx;
  lua_settop(L, 2);
  check_data(L, &data);
  self = lunado__iostream_check(L);
  idx = lua_gettop(L);
  if (is_refused(L, idx, self, data.size)) return 1;
  data.sent = lunado_stream_try_write(self->core, data.bufs, data.count);
  if (data.sent == data.size && is_empty(self) && !self->connecting &&
      (self->core->filtering == NULL ||
       !lunado_stream_has_output(self->core))) {
    lunado__iostream_pushdone(L, realm);
    return 1;
  }
  if (data.sent > 0) return write_rest(L, idx, self, &data);
  lunado__iostream_reserve(L);
  add_future(L, idx, self, data.holder);
  if (is_refused(L, idx, self, data.size)) return 1;
  if (self->kind == LUNADO_STREAM_FILE) forget_ahead(self);
  submit(L, self, new_write(L, idx, self, &data));
  return 1;
}

/* Returns true, and pushes a failed Future, if writing cannot end while the
 * stream is still read. */
static bool refuses_end(lua_State *L, lunado_iostream *self) {
  if (self->connecting || !lunado_stream_is_readable(self->core)) return false;
  if (!lunado_stream_is_writable(self->core))
    return refuse(L, self, LUNADO_E_STREAM_CLOSED,
                  "Stream is open for reading only");
  if (lunado_stream_can_half_close(self->core)) return false;
  lua_pushliteral(L, "ENOTSOCK: a terminal, or a named pipe that is read as "
                     "well, cannot be closed for writing alone");
  lunado__closing_pushfailed(L, self);
  return true;
}

/* stream:close_write() → a Future that is done when all data written before,
 * and then the end of writing, was sent.  Reading continues. */
static int stream_close_write(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_iostream *self = lunado__iostream_alone(L);
  lunado_write *write;
  lunado__iostream_reserve(L);
  add_future(L, 2, self, 0);
  lunado__iostream_pushtable(L, 2, IOSTREAM_RARE);
  lua_pop(L, 1);
  if (self->write_closed) {
    lunado__iostream_get(L, 2, IOSTREAM_WRITE_CLOSED);
    return 1;
  }
  if (self->closed) {
    if (lunado__iostream_get(L, 2, IOSTREAM_ERROR) == LUA_TNIL) {
      lunado__iostream_pushdone(L, realm);
      return 1;
    }
    lunado__closing_pusherror(L, 2, self, 0);
    lunado__closing_pushfailed(L, self);
    return 1;
  }
  if (refuses_end(L, self)) return 1;
  write = new_write(L, 2, self, NULL);
  lua_pushvalue(L, 3);
  lunado__iostream_set(L, 2, IOSTREAM_WRITE_CLOSED);
  self->write_closed = true;
  submit(L, self, write);
  return 1;
}

/* stream:writing() → whether some of the written data is not sent yet.
 * Tornado: BaseIOStream.writing. */
static int stream_writing(lua_State *L) {
  const lunado_iostream *self = lunado__iostream_alone(L);
  lua_pushboolean(L, !self->closed && !is_empty(self));
  return 1;
}

static const luaL_Reg functions[] = {{"write", stream_write},
                                     {"close_write", stream_close_write},
                                     {"writing", stream_writing},
                                     {NULL, NULL}};

void lunado__writing_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
