/* SPDX-License-Identifier: MIT */
/*
 * embedded.h - the Lua files of lunado, compiled into the library.
 *
 * The build generates the table from lua/.  With it, hosts of liblunado and of
 * the amalgamation need no Lua files on disk.  The module lunado/core.so and
 * the rock are built without LUNADO_EMBEDDED and have no table: their Lua files
 * are installed beside them.
 */
#ifndef LUNADO_BINDING_STATE_EMBEDDED_H
#define LUNADO_BINDING_STATE_EMBEDDED_H

#include <stddef.h>

#include "binding/state/realm.h"

/* One Lua file. */
typedef struct {
  const char *name; /* the name for require: "lunado", "lunado.gen" */
  const unsigned char *source; /* the text, without a terminating zero */
  size_t length;               /* in bytes */
} lunado__embedded_module;

/* Ordered by file name; the last entry has the name NULL. */
extern const lunado__embedded_module lunado__embedded_modules[];

#endif
