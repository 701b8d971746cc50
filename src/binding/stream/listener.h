/* SPDX-License-Identifier: MIT */
/* listener.h - listening for connections. */
#ifndef LUNADO_BINDING_STREAM_LISTENER_H
#define LUNADO_BINDING_STREAM_LISTENER_H

#include "binding/state/realm.h"

void lunado__listener_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tcpserver to the table on top. */
void lunado__listener_functions(lua_State *L);

#endif
