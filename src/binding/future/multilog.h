/* SPDX-License-Identifier: MIT */
/* multilog.h - the errors of a multi beside the one that it raises. */
#ifndef LUNADO_BINDING_FUTURE_MULTILOG_H
#define LUNADO_BINDING_FUTURE_MULTILOG_H

#include "binding/state/realm.h"

/* Logs the errors of the multi at idx but for that of the Failure at `failure`,
 * which it raises, and for quiet ones; also those that the multis among its
 * children have left to it.  [-0, +0, -] */
void lunado__multilog_others(lua_State *L, lunado_realm *realm, int idx,
                             int failure);

#endif
