/* SPDX-License-Identifier: MIT */
/* address.h - addresses of sockets as Lua tables, and the look-up of names. */
#ifndef LUNADO_BINDING_STREAM_ADDRESS_H
#define LUNADO_BINDING_STREAM_ADDRESS_H

#include "binding/state/realm.h"

/* Pushes { ip =, port =, family = "inet" or "inet6" }.  [-0, +1, m] */
void lunado__address_push(lua_State *L, const struct sockaddr *address);

/* Writes an address in numbers.  False: it is none. */
bool lunado__address_parse(const char *ip, int port,
                           struct sockaddr_storage *address);

/* Pushes the local address of the handle, or with `peer` the remote one. Pushes
 * nil and the error's text and name if it has none; returns how many values.
 * [-0, +(1|3), m] */
int lunado__address_pushname(lua_State *L, const uv_handle_t *handle,
                             bool peer);

/* The same for the peer of a TCP connection; [1] is the ip, [2] the port.
 * [-0, +(1|3), m] */
int lunado__address_pushpeer(lua_State *L, const uv_tcp_t *tcp);

void lunado__address_functions(lua_State *L);

#endif
