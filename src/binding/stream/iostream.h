/* SPDX-License-Identifier: MIT */
/*
 * iostream.h - the stream behind an IOStream.
 *
 * An IOStream is a table, so that programs can set fields on it and derive
 * classes.  Its field [1] is a userdata with the stream's state, an iostream.
 *
 * Invariants: the handle or the file exists until `core` is NULL.  The loop
 * holds the userdata only while something waits for the stream: a read, a close
 * callback, a write, a connect, a handshake or the end of closing. So a stream
 * that the program has dropped is collected, and its finalizer closes the
 * handle.  The handle keeps the loop running while a read or a close callback
 * waits.
 */
#ifndef LUNADO_BINDING_STREAM_IOSTREAM_H
#define LUNADO_BINDING_STREAM_IOSTREAM_H

#include "binding/future/ticket.h"
#include "binding/loop/ioloop.h"
#include "binding/state/realm.h"
#include "core/stream.h"

/* User values, and behind them what few streams have: fields of the table that
 * is IOSTREAM_RARE. */
enum {
  IOSTREAM_LOOP = 1, /* of `loop` */
  IOSTREAM_OBJECT,   /* the IOStream */
  IOSTREAM_READ,     /* Future of the read that waits */
  IOSTREAM_WHAT,     /* of the last read: its delimiter, or function; of a
                        stream that was just accepted, the address of the
                        other end */
  IOSTREAM_RARE,     /* a table, or nil */
  IOSTREAM_VALUES = IOSTREAM_RARE,
  IOSTREAM_WRITES,         /* number of a write -> its Future; or nil */
  IOSTREAM_HANDLE,         /* luv's handle: adopted, or the one that closes a
                              file's descriptor */
  IOSTREAM_WRITE_CLOSED,   /* Future of close_write */
  IOSTREAM_CONNECT,        /* Future of connect */
  IOSTREAM_TARGET,         /* what it connects to, in words; or what its filter
                              starts */
  IOSTREAM_CLOSE_MESSAGE,  /* message of the StreamClosedErrors, or nil */
  IOSTREAM_ERROR,          /* why it was closed */
  IOSTREAM_CLOSE_CALLBACK, /* to be called when it is closed */
  IOSTREAM_CLOSED,         /* Future of close */
  IOSTREAM_FILTER,         /* object of the filter (filtering.h) */
  IOSTREAM_STARTING        /* Future of the filter's handshake */
};

/* The reasons for which the loop holds the userdata. */
enum {
  IOSTREAM_HELD_READ = 1,
  IOSTREAM_HELD_CALLBACK = 2,
  IOSTREAM_HELD_WRITE = 4,
  IOSTREAM_HELD_CONNECT = 8,
  IOSTREAM_HELD_CLOSING = 16,
  IOSTREAM_HELD_STARTING = 32,
  /* These also keep the loop's run alive, unless it is in the background. */
  IOSTREAM_KEEPS_ALIVE =
      IOSTREAM_HELD_READ | IOSTREAM_HELD_CALLBACK | IOSTREAM_HELD_STARTING
};

/* What a read looks for. */
typedef enum {
  IOSTREAM_NOTHING,
  IOSTREAM_BYTES,     /* `count` bytes; with `partial` as many as there are */
  IOSTREAM_DELIMITER, /* all up to and including it */
  IOSTREAM_LINE,      /* the same up to "\n", without that or "\r\n" */
  IOSTREAM_MATCH,     /* what a function of Lua finds */
  IOSTREAM_REST       /* all up to the end */
} lunado_iostream_want;

typedef struct {
  const lunado_ticket_owner *ticket; /* of its reads; first, for ticket.h */
  lunado_stream *core;  /* NULL: the handle is closed, or unadopted */
  lunado_bytes in;      /* bytes that have arrived and are not taken yet; `core`
                           writes here while it is open */
  lunado_ioloop *loop;  /* IOSTREAM_LOOP holds it */
  size_t count;         /* wanted bytes; of a delimiter or a line, the bytes
                           within which it must end: SIZE_MAX for no limit */
  uint32_t ahead;       /* bytes that may arrive while no read waits */
  uint32_t generation;  /* grows when a read begins, or takes bytes */
  uint32_t first_write; /* number of the first write that is not sent yet */
  uint32_t next_write;  /* the number that the next write gets */
  uint32_t anchor; /* in the loop; 0: none yet.  Its value is the userdata while
                      there are `holds`, else false */
  uint8_t holds;
  lunado_iostream_want want : 3;
  lunado_stream_kind kind : 2; /* of the stream */
  bool partial : 1;
  bool has_reader : 1; /* IOSTREAM_READ is a Future that this stream will
                          settle */
  bool has_close_callback : 1;
  bool connecting : 1;
  bool starting : 1;     /* the filter's handshake is under way */
  bool serving : 1;      /* by a TCPServer's handler, which has not returned */
  bool peer_ended : 1;   /* reading has reached the end of the stream */
  bool end_sent : 1;     /* the end of writing was sent */
  bool write_closed : 1; /* IOSTREAM_WRITE_CLOSED is a Future */
  bool closed : 1;       /* stream:closed() is true; reads may still take
                            bytes that have arrived */
  bool handle_closing : 1; /* the handle is closing as well, or closed */
  bool reported : 1;       /* a caller got the error that closed it */
  bool was_reported : 1;   /* `reported`, when the last read began */
  bool background : 1;     /* never keeps the loop's run alive */
} lunado_iostream;

/* A method that is calling the core: events of its stream run on L, those of
 * others on loop->L.  It is on the C stack. */
typedef struct lunado_iostream_caller {
  const lunado_iostream *stream; /* on the stack of L */
  lua_State *L;
  const struct lunado_iostream_caller *outer;
} lunado_iostream_caller;

void lunado__iostream_open(lua_State *L, lunado_realm *realm);

/* Pushes the functions for lunado.iostream into the table on top. */
void lunado__iostream_functions(lua_State *L);

/* Pushes the userdata of the IOStream that is argument 1.  [-0, +1, v] */
lunado_iostream *lunado__iostream_check(lua_State *L);

/* The same for a method without arguments: drops all arguments but the
 * IOStream, so the userdata is at 2. */
lunado_iostream *lunado__iostream_alone(lua_State *L);

/* Makes an IOStream of the table at `object`: pushes its userdata, of a closed
 * stream on the loop, and sets [1] to it.  [-0, +1, m] */
lunado_iostream *lunado__iostream_new(lua_State *L, lunado_ioloop *loop,
                                      int object);

/* Gives it an open stream.  [-0, +0, -] */
void lunado__iostream_attach(lunado_iostream *self, lunado_stream *core);

/* The open loop that runs on the uv_loop_t; raises if there is none.
 * [-0, +0, v] */
lunado_ioloop *lunado__iostream_loop_on(lua_State *L, lunado_realm *realm,
                                        const uv_loop_t *uv);

/* Raises "bad argument #position to 'name' (what)" in a method.  If argument 1
 * is no IOStream, raises the error about that.  [-0, +0, v] */
int lunado__iostream_badarg(lua_State *L, int position, const char *name,
                            const char *what);

/* Argument `arg`, a count of bytes, which is argument `arg` - 1 of a method's
 * call.  [-0, +0, v] */
size_t lunado__iostream_count(lua_State *L, int arg, const char *name);

/* Makes the loop hold the userdata at idx for a reason.  [-0, +0, m] */
void lunado__iostream_hold(lua_State *L, int idx, lunado_iostream *self,
                           int reason);

/* Removes a reason; without any, the loop does not hold the userdata.
 * [-0, +0, -] */
void lunado__iostream_release(lua_State *L, lunado_iostream *self, int reason);

/* Ensures room on the stack of L for an event during a call of the core's, or
 * raises: the event would be lost.  To be called in the C function that makes
 * the call, before anything changes.  [-0, +0, m] */
void lunado__iostream_reserve(lua_State *L);

/* Does the same, but returns false if there is no memory.  [-0, +0, -] */
bool lunado__iostream_can_reserve(lua_State *L);

/* Enclose a call of the core's.  If the core may call an event meanwhile, the
 * stack was reserved before. */
static inline void lunado__iostream_enter(lua_State *L,
                                          const lunado_iostream *self,
                                          lunado_iostream_caller *caller) {
  *caller = (lunado_iostream_caller){self, L, self->loop->caller};
  self->loop->caller = caller;
}
static inline void lunado__iostream_leave(
    const lunado_iostream_caller *caller) {
  caller->stream->loop->caller = caller->outer;
}

/* Calls `function` with the userdata, `status` and `number`, protected.  To be
 * called in an event of the core's.  If there is no memory, closes the stream.
 * [-0, +0, -] on the thread where callbacks run */
void lunado__iostream_call(lunado_iostream *self, lua_CFunction function,
                           int status, lua_Integer number);

/* Returns the integer field `name` (raw) of the IOStream whose userdata is at
 * idx; `otherwise` if the field is not a number of 0 or more.  [-0, +0, m] */
size_t lunado__iostream_limit(lua_State *L, int idx, const char *name,
                              size_t otherwise);

/* Pushes the Future that is done without a result; it is always the same one.
 * [-0, +1, -] */
void lunado__iostream_pushdone(lua_State *L, lunado_realm *realm);

/* Pushes a user value, or a rare one, of the userdata at idx; returns its type.
 * [-0, +1, -] */
int lunado__iostream_get(lua_State *L, int idx, int value);

/* Pushes the table that is a user value, or a rare one, of the userdata at idx;
 * makes it first, unless a finalizer does so meanwhile.  [-0, +1, m] */
void lunado__iostream_pushtable(lua_State *L, int idx, int value);

/* Sets a user value, or a rare one, of the userdata at idx to the value on top,
 * which is popped.  Memory is needed for the first rare value that is not nil,
 * unless IOSTREAM_RARE was pushed before.  [-1, +0, m] */
void lunado__iostream_set(lua_State *L, int idx, int value);

/* Pushes the Future that is the user value `value` of the userdata at idx,
 * which loses it.  [-0, +1, -] */
void lunado__iostream_take(lua_State *L, int idx, int value);

/* Settles the Future that is the user value `value` of the userdata at idx, if
 * it is a pending one, with the value on top, which is popped; the userdata
 * loses it.  [-1, +0, m] */
void lunado__iostream_settle(lua_State *L, lunado_realm *realm, int idx,
                             int value);

#endif
