/* SPDX-License-Identifier: MIT */
/*
 * drive.h - running a uv_loop_t so that no error jumps over its run.
 */
#ifndef LUNADO_BINDING_LOOP_DRIVE_H
#define LUNADO_BINDING_LOOP_DRIVE_H

#include "binding/state/realm.h"

/* Drives the loop's uv_loop_t, through luv where luv shares it; as uv_run. An
 * error that a callback lets out is brought to handle_callback_exception, and
 * the run goes on.  A refusal of luv's counts as a run that was stopped.
 * [-0, +0, -] */
int lunado__drive(lunado_loop *core, uv_run_mode mode);

/* True while a run of any IOLoop of the realm drives the uv_loop_t, or is about
 * to, even when that IOLoop was closed meanwhile.  [-0, +0, -] */
bool lunado__drive_is_running(const lunado_realm *realm, const uv_loop_t *uv);

/* Calls luv's own run with the mode, as often as errors jump out of it. Pushes
 * what it returns in the end, and returns how many.  Raises where a run drives
 * the uv_loop_t already.  [-0, +n, v] */
int lunado__drive_luv(lua_State *L, lunado_realm *realm, uv_run_mode mode);

#endif
