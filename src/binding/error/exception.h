/* SPDX-License-Identifier: MIT */
/* exception.h - classes of errors, and objects of them. */
#ifndef LUNADO_BINDING_ERROR_EXCEPTION_H
#define LUNADO_BINDING_ERROR_EXCEPTION_H

#include "binding/state/realm.h"

/* Adds util.isinstance to the table on top. */
void lunado__exception_functions(lua_State *L);

/* The classes of the errors that the binding itself raises. */
typedef enum {
  LUNADO_E_EXCEPTION,
  LUNADO_E_TIMEOUT,
  LUNADO_E_BAD_YIELD,
  LUNADO_E_INVALID_STATE,
  LUNADO_E_RETURN_IGNORED,
  LUNADO_E_RETURN,
  LUNADO_E_STREAM_CLOSED,
  LUNADO_E_UNSATISFIABLE_READ,
  LUNADO_E_STREAM_BUFFER_FULL,
  LUNADO_E_CANCELLED,
  LUNADO_E_COUNT
} lunado_error_class;

/* Makes the classes, and fills SLOT_CLASSES.  [-0, +0, m] */
void lunado__exception_open(lua_State *L, lunado_realm *realm);

/* Pushes a class.  [-0, +1, -] */
void lunado__exception_pushclass(lua_State *L, lunado_realm *realm,
                                 lunado_error_class which);

/* Pushes a new error object of the class, with a message that is formatted as
 * by lua_pushfstring.  [-0, +1, m] */
void lunado__exception_push(lua_State *L, lunado_realm *realm,
                            lunado_error_class which, const char *format, ...);

/* True if the value at idx is an instance of the class.  [-0, +0, -] */
bool lunado__exception_is(lua_State *L, lunado_realm *realm, int idx,
                          lunado_error_class which);

/* True if the class at `class_idx` is the class of the value at idx, or an
 * ancestor of that class.  [-0, +0, -] */
bool lunado__exception_isinstance(lua_State *L, int idx, int class_idx);

#endif
