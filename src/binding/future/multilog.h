/* SPDX-License-Identifier: MIT */
/* multilog.h - logging the errors of a multi besides the one that it raises. */
#ifndef LUNADO_BINDING_FUTURE_MULTILOG_H
#define LUNADO_BINDING_FUTURE_MULTILOG_H

#include "binding/state/realm.h"

/* Logs the errors of the children of the multi at idx, except the error of the
 * Failure at `failure`, which the multi raises, and errors that its
 * quiet_exceptions cover.  Also logs the errors of multis among its children,
 * if they have not logged them.  [-0, +0, -] */
void lunado__multilog_others(lua_State *L, lunado_realm *realm, int idx,
                             int failure);

#endif
