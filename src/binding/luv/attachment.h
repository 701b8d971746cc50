/* SPDX-License-Identifier: MIT */
/*
 * attachment.h - what attaches a Lua state's luv to lunado's default loop.
 *
 * The attachment is a userdata that the registry holds.  It is younger than
 * luv's own loop and than the IOLoop that luv came to, so that at the end of
 * the state its finalizer comes before theirs.
 */
#ifndef LUNADO_BINDING_LUV_ATTACHMENT_H
#define LUNADO_BINDING_LUV_ATTACHMENT_H

#include "binding/luv/loader.h"
#include "binding/state/realm.h"

/* The first words of luv's context; the others differ between versions. */
typedef struct {
  uv_loop_t *uv;
  lua_State *L; /* that callbacks run on */
  lunado_luv_runner *runner;
} lunado_luv_context;

typedef struct lunado_attachment {
  lunado_luv_context *context; /* luv's; the registry holds it.  NULL: not
                                  attached yet */
  uv_loop_t *uv;               /* the shared one */
  lunado_loop *lender;         /* the loop that has lent `uv`; it exists until
                                  that is reclaimed.  NULL: `uv` is luv's or
                                  the host's */
  lunado_luv_runner *plain;    /* luv's runner, which ours replaces; NULL: the
                                  host's runner is in use */
  void (*set_loop)(lua_State *L, uv_loop_t *uv); /* NULL: unknown */
  lua_CFunction run;                             /* luv's own functions */
  lua_CFunction walk;
  lua_CFunction loop_mode; /* NULL before luv 1.40 */
  int deferred; /* values in the list of deferred finalizers, see shutdown.c */
  bool ending;  /* the state is being closed */
  bool over;    /* libuv has finished with luv's handles since */
} lunado_attachment;

/* The default loop, if it is open and on the shared uv_loop_t. */
lunado_ioloop *lunado__attachment_loop(const lunado_realm *realm);

/* True while luv uses the uv_loop_t that was shared; uv.loop_close() ends
 * that. */
static inline bool lunado__attachment_is_live(const lunado_attachment *self) {
  return self != NULL && self->context != NULL && self->context->uv == self->uv;
}

/* After an error jumped out of a run of luv's: tells luv that it is not
 * running.  [-0, +0, -] */
void lunado__attachment_run_stopped(lunado_realm *realm);

/* luv's context; NULL: luv is not loaded.  [-0, +0, -] */
lunado_luv_context *lunado__attachment_context(lua_State *L);

/* Keeps luv's module table at idx alive: it owns luv's loop, which would be
 * closed when a program drops the table.  A table without a loop of its own
 * belongs to a luv that found one: its earlier one, or lunado's.
 * [-0, +0, m] */
void lunado__attachment_hold_module(lua_State *L, lunado_realm *realm, int idx);

/* The C function `name` of luv's table at idx, or NULL.  [-0, +0, -] */
lua_CFunction lunado__attachment_function(lua_State *L, int idx,
                                          const char *name);

/* Attaches luv, whose context has the loop's uv_loop_t and whose table is on
 * top, to the loop.  Raises on failure; all changes are then undone, and luv
 * has no loop.  [-0, +0, e] */
void lunado__attachment_tie(lua_State *L, lunado_ioloop *loop,
                            lunado_luv_context *context);

/* If luv is attached already, pushes its table and returns true; else pushes
 * nothing and returns false.  [-0, +1, -] */
bool lunado__attachment_again(lua_State *L, lunado_realm *realm);

/* Makes luv, which `opener` is about to open, use the default loop; does
 * nothing if `opener` is not luv's.  [-0, +0, e] */
void lunado__attachment_lend(lua_State *L, lunado_realm *realm,
                             lua_CFunction opener);

/* To be called if luv was not opened after all: takes the loop from luv.  [-0,
 * +0, -] */
void lunado__attachment_take_back(lua_State *L, lunado_realm *realm);

/* To be called after luv was opened, with its table at idx: attaches luv to the
 * default loop, or raises if luv does not use that.  [-0, +0, e] */
void lunado__attachment_receive(lua_State *L, lunado_realm *realm, int idx);

#endif
