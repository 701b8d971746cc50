/* SPDX-License-Identifier: MIT */
/*
 * listen.h - streams that accept connections.
 *
 * A stream that listens is neither read nor written.  Its event is `incoming`;
 * a connection that the owner does not accept meanwhile is closed: until it is
 * accepted libuv would accept no other.
 */
#ifndef LUNADO_CORE_LISTEN_H
#define LUNADO_CORE_LISTEN_H

#include <stdbool.h>

#include "core/stream.h"

/* Gives a stream that is not connected its address, TCP's or a path.  With
 * `v6_only` an address of IPv6 does not stand for one of IPv4 as well.
 * Returns 0 or an error of libuv's, and then the stream is of no use. */
int lunado_stream_bind(lunado_stream *stream, const struct sockaddr *address,
                       bool v6_only);
int lunado_stream_bind_pipe(lunado_stream *stream, const char *path);

/* Listens; up to `backlog` connections wait to be accepted, but no more than
 * the system allows.  Keeps a run from ending.  Returns 0 or an error. */
int lunado_stream_listen(lunado_stream *stream, int backlog);

/* Makes a stream of a connection that is coming in.  As lunado_stream_new. */
int lunado_stream_accept(lunado_stream *listening, lunado_stream **stream);

#endif
