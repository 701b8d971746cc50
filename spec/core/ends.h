/* SPDX-License-Identifier: MIT */
/*
 * ends.h - both ends of a connection, as streams that check what arrives.
 *
 * What an end writes continues a text that the other one knows.
 */
#ifndef LUNADO_SPEC_CORE_ENDS_H
#define LUNADO_SPEC_CORE_ENDS_H

#include "../support/posix.h"
#include "core/stream.h"
#include "support.h"

enum { TEXT_SIZE = 8 * 1024 * 1024 };

/* What the ends write. */
extern char text[TEXT_SIZE];

typedef struct end end;

/* One of 'a' (arrived), 'e' (ended), 'w' (written), 'c' (connected), 's'
 * (started), 'x' (closed) has happened. */
typedef void (*end_act)(end *self, char event);

struct end {
  lunado_stream *stream; /* NULL once it is closed */
  uv_stream_t *foreign;  /* what it has adopted; NULL: nothing */
  lunado_bytes in;
  char name;
  size_t got;       /* bytes that were taken */
  size_t sent;      /* bytes that were given to be written */
  size_t largest;   /* the most that came at once */
  unsigned arrived; /* how often something came */
  unsigned writes;  /* that were begun */
  unsigned written; /* that were told of */
  unsigned failed;  /* those of them that failed */
  int error;        /* of the last one */
  int ended;        /* why reading has ended; 0: it has not */
  int connected;    /* 1: not told yet */
  unsigned started; /* how often the filter's handshake has ended well */
  bool keeps;       /* takes nothing of what arrives */
  bool nibbles;     /* takes a part only */
  end_act act;      /* called after each event; NULL: none is */
};

extern end here, there; /* here is read, there is written */

typedef enum { LOCAL, PIPE, TCP } medium;

/* --- life cycle ---------------------------------------------------------- */

/* Connects here and there; of a pipe there are only these directions.  The
 * streams keep runs alive. */
void ends_open(lunado_loop *loop, medium of, bool adopted);

/* Makes a stream, which is 0, the owner's. */
void end_take(end *self, lunado_stream *stream);

/* Makes one of an open descriptor. */
void end_open(end *self, lunado_loop *loop, medium of, bool adopted, int fd);

/* Closes the stream, and what it has adopted; or that alone, which the stream
 * has given back. */
void end_close(end *self);
void end_close_foreign(end *self);

/* Closes what is open of both; until nothing is left. */
void ends_close(lunado_loop *loop);

/* As fixtures. */
int setup_ends_on_own(void **state);
int setup_ends_on_borrowed(void **state);
int teardown_ends(void **state);

/* A test on a loop of its own; and on a borrowed one, too. */
#define end_unit(test) \
  { #test, test, setup_ends_on_own, teardown_ends, NULL }
#define end_units(test) \
  end_unit(test), { \
#test " (borrowed)", test, setup_ends_on_borrowed, teardown_ends, NULL \
  }

/* Calls body(loop) with ends of every kind, and closes them. */
void in_every_way(lunado_loop *loop, void (*body)(lunado_loop *loop));

/* As that, without pipes. */
void in_both_directions(lunado_loop *loop, void (*body)(lunado_loop *loop));

/* --- what they do -------------------------------------------------------- */

/* Puts the next n bytes of the text, or the end, into the queue. */
void end_write(end *self, size_t n);
void end_write_end(end *self);

/* Fills what the system has room for, and some more waits: one write is under
 * way that does not end. */
void end_fill(end *self);

/* Reads from now on, see lunado_stream_read. */
void end_read(end *self, size_t missing);

/* Takes n bytes, which must be the next ones. */
void end_skip(end *self, size_t n);

/* How many bytes have arrived that were not taken. */
size_t end_waiting(const end *self);

/* --- turns --------------------------------------------------------------- */

/* Some turns that wait for nothing. */
void turn(lunado_loop *loop);

/* Turns until it is true. */
#define turn_until(loop, condition) \
  while (!(condition)) assert_int_equal(uv_run((loop)->uv, UV_RUN_ONCE) < 0, 0)

/* A socket that listens on a free port, whose address it writes. */
int listen_on(struct sockaddr_in *address);

#endif
