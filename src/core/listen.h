/* SPDX-License-Identifier: MIT */
/*
 * listen.h - streams that accept connections.
 *
 * A stream that listens is neither read nor written.  Its event is `incoming`.
 * A connection that the owner does not accept during this event is closed,
 * because libuv accepts no other connection before.
 */
#ifndef LUNADO_CORE_LISTEN_H
#define LUNADO_CORE_LISTEN_H

#include <stdbool.h>

#include "core/stream.h"

/* Binds a stream that is not connected to an address, or to a path.  With
 * `v6_only` an IPv6 address does not accept IPv4 connections.  Returns 0 or an
 * error of libuv's; after an error the stream can only be closed. */
int lunado_stream_bind(lunado_stream *stream, const struct sockaddr *address,
                       bool v6_only);
int lunado_stream_bind_pipe(lunado_stream *stream, const char *path);

/* Listens; up to `backlog` connections wait to be accepted, but no more than
 * the system allows.  Keeps a run from ending.  Returns 0 or an error. */
int lunado_stream_listen(lunado_stream *stream, int backlog);

/* Makes a stream of an incoming connection.  As lunado_stream_new. */
int lunado_stream_accept(lunado_stream *listening, lunado_stream **stream);

#endif
