/* SPDX-License-Identifier: MIT */
/*
 * embedded.h - the Lua files of lunado, compiled into the library.
 *
 * The build writes the table from lua/.  Hosts of liblunado and of the
 * amalgamation need no Lua file on disk because of it; the module
 * lunado/core.so and the rock, whose Lua files are installed beside them, are
 * built without LUNADO_EMBEDDED and have no table.
 */
#ifndef LUNADO_BINDING_STATE_EMBEDDED_H
#define LUNADO_BINDING_STATE_EMBEDDED_H

#include <stddef.h>

#include "binding/state/realm.h"

/* One Lua file. */
typedef struct {
  const char *name;            /* as for require: "lunado", "lunado.gen" */
  const unsigned char *source; /* the text; not a string, no final zero */
  size_t length;               /* in bytes */
} lunado__embedded_module;

/* Ordered by file name; the last entry has the name NULL. */
extern const lunado__embedded_module lunado__embedded_modules[];

#endif
