/* SPDX-License-Identifier: MIT */
/*
 * attachment.h - attaching a Lua state's luv to lunado's default loop.
 *
 * The attachment is a userdata that the registry holds.  It is made after luv's
 * own loop and after the IOLoop to which luv is attached.  So at the end of the
 * state its finalizer runs before theirs.
 */
#ifndef LUNADO_BINDING_LUV_ATTACHMENT_H
#define LUNADO_BINDING_LUV_ATTACHMENT_H

#include "binding/luv/loader.h"
#include "binding/state/realm.h"

/* The first fields of luv's context; the later ones differ between versions. */
typedef struct {
  uv_loop_t *uv;
  lua_State *L; /* the Lua thread that runs luv's callbacks */
  lunado_luv_runner *runner;
} lunado_luv_context;

typedef struct lunado_attachment {
  lunado_luv_context *context; /* luv's; held by the registry.  NULL: luv is not
                                  attached yet */
  uv_loop_t *uv;               /* the shared uv_loop_t */
  lunado_loop *lender;         /* the loop that has lent `uv`; it exists until
                                  `uv` is reclaimed.  NULL: `uv` is luv's or the
                                  host's */
  lunado_luv_runner *luv_runner; /* luv's runner, which lunado__runner_call
                                  replaces; NULL: the host's runner is in use */
  void (*set_loop)(lua_State *L, uv_loop_t *uv); /* NULL: unknown */
  lua_CFunction run;                             /* luv's own luv.run */
  lua_CFunction walk;                            /* luv's own luv.walk */
  lua_CFunction loop_mode; /* luv.loop_mode; NULL before luv 1.40 */
  int deferred; /* length of the list of deferred finalizers; see shutdown.c */
  bool ending;  /* the state is being closed */
  bool ended;   /* and libuv has finished with luv's handles */
} lunado_attachment;

/* Returns the default loop if it is open and on the shared uv_loop_t, else
 * NULL. */
lunado_ioloop *lunado__attachment_loop(const lunado_realm *realm);

/* True while luv uses the shared uv_loop_t, which is until uv.loop_close(). */
static inline bool lunado__attachment_is_live(const lunado_attachment *self) {
  return self != NULL && self->context != NULL && self->context->uv == self->uv;
}

/* Marks luv as not running, after an error has jumped out of luv.run.
 * [-0, +0, -] */
void lunado__attachment_run_stopped(lunado_realm *realm);

/* Returns luv's context; NULL if luv is not loaded.  [-0, +0, -] */
lunado_luv_context *lunado__attachment_context(lua_State *L);

/* Keeps luv's module table at idx alive, because it owns luv's loop, which
 * would be closed when the table is collected.  A table without a loop does not
 * replace a table that is held already: its luv found an existing loop, luv's
 * earlier one or lunado's.
 * [-0, +0, m] */
void lunado__attachment_hold_module(lua_State *L, lunado_realm *realm, int idx);

/* Returns the C function `name` of luv's table at idx, or NULL.  [-0, +0, -] */
lua_CFunction lunado__attachment_function(lua_State *L, int idx,
                                          const char *name);

/* Attaches luv, whose context has the loop's uv_loop_t and whose table is on
 * top, to the loop.  If this fails, undoes all changes and raises an error.
 * [-0, +0, e] */
void lunado__attachment_attach(lua_State *L, lunado_ioloop *loop,
                               lunado_luv_context *context);

/* If luv is attached already, pushes its table and returns true; else pushes
 * nothing and returns false.  [-0, +1, -] */
bool lunado__attachment_again(lua_State *L, lunado_realm *realm);

/* Prepares luv, which `opener` is about to open, to use the default loop.  Does
 * nothing if `opener` is not luv's.  Raises if luv calls another libuv.
 * [-0, +0, e] */
void lunado__attachment_prepare(lua_State *L, lunado_realm *realm,
                                lua_CFunction opener);

/* Undoes lunado__attachment_prepare.  Called if luv could not be opened.
 * [-0, +0, -] */
void lunado__attachment_cancel(lua_State *L, lunado_realm *realm);

/* Attaches luv to the default loop.  Called after luv was opened, with its
 * table at idx.  Raises if luv does not use the default loop.  [-0, +0, e] */
void lunado__attachment_complete(lua_State *L, lunado_realm *realm, int idx);

#endif
