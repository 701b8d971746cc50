/* SPDX-License-Identifier: MIT */
/* descriptor.h - objects that own descriptors: until a stream, a listener or a
 * program gets them, or the collector closes them. */
#ifndef LUNADO_BINDING_STREAM_DESCRIPTOR_H
#define LUNADO_BINDING_STREAM_DESCRIPTOR_H

#include "binding/state/realm.h"

typedef struct {
  int fd; /* -1: closed, or given away */
} lunado_descriptor;

/* Returns the descriptor at idx; NULL: the value is none.  [-0, +0, -] */
lunado_descriptor *lunado__descriptor_at(lua_State *L,
                                         const lunado_realm *realm, int idx);

/* Argument `arg` as a descriptor that is open.  [-0, +0, v] */
lunado_descriptor *lunado__descriptor_check(lua_State *L, int arg);

/* Makes the class, once per state.  [-0, +0, m] */
void lunado__descriptor_open(lua_State *L, lunado_realm *realm);

/* Adds the functions to the table on top.  [-0, +0, m] */
void lunado__descriptor_functions(lua_State *L);

#endif
