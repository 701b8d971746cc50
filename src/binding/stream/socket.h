/* SPDX-License-Identifier: MIT */
/* socket.h - queries and options of `stream.handle`. */
#ifndef LUNADO_BINDING_STREAM_SOCKET_H
#define LUNADO_BINDING_STREAM_SOCKET_H

#include "binding/state/realm.h"

/* Methods of an iostream's userdata, which is the `handle` of a stream that has
 * a handle of its own.  They are named as those of luv's handles. */
extern const luaL_Reg lunado__socket_methods[];

#endif
