/* SPDX-License-Identifier: MIT */
/*
 * drive.h - running a uv_loop_t so that no error jumps out of its run.
 */
#ifndef LUNADO_BINDING_LOOP_DRIVE_H
#define LUNADO_BINDING_LOOP_DRIVE_H

#include "binding/state/realm.h"

/* Runs the loop's uv_loop_t as uv_run does; through luv if luv shares it.  If
 * an error escapes from a callback, passes it to handle_callback_exception and
 * continues the run.  If luv refuses to run, returns as if the run had been
 * stopped.  [-0, +0, -] */
int lunado__drive(lunado_loop *core, uv_run_mode mode);

/* True while any IOLoop of the realm runs the uv_loop_t or is about to, even if
 * that IOLoop was closed meanwhile.  [-0, +0, -] */
bool lunado__drive_is_running(const lunado_realm *realm, const uv_loop_t *uv);

/* Calls luv's own run with the mode, and again after each error that jumps out
 * of it.  Pushes the results of the last call and returns their number.  Raises
 * if the uv_loop_t is being run already.  [-0, +n, v] */
int lunado__drive_luv(lua_State *L, lunado_realm *realm, uv_run_mode mode);

#endif
