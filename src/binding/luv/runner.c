/* SPDX-License-Identifier: MIT */
/* runner.c - running luv's callbacks as the loop runs its own. */
#include "binding/luv/runner.h"

#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/luv/attachment.h"
#include "binding/luv/shutdown.h"
#include "binding/state/context.h"
#include "core/jump.h"
#include "core/poll.h"

/* Flag of luv's runners: do not exit the process if the callback fails. */
#define NO_EXIT 0x01

/* --- luv's callbacks ------------------------------------------------------ */

/* Runs a callback of luv's as the loop runs its own: outside any coroutine and
 * stack context, and with errors passed to the loop.  The stack holds the loop
 * meanwhile. */
static void call_for_luv(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                         int nargs) {
  lunado_task *outer = realm->coroutines.current;
  lunado_loop *core = loop->core;
  lunado__ioloop_push(L, loop);
  lunado__getslot(L, realm, LUNADO_SLOT_CONTEXT);
  lua_rotate(L, -3 - nargs, 2); /* loop context function arguments */
  lua_pushboolean(L, 0);
  lunado__context_set(L, realm);
  realm->coroutines.current = NULL;
  lunado__loop_enter(core);
  lunado__callback(L, realm, loop, nargs);
  lunado__watchers_check(core); /* libuv may be about to poll */
  lunado__loop_exit(core);      /* libuv may be running timers */
  realm->coroutines.current = outer;
  lunado__context_set(L, realm);
  lua_pop(L, 1);
}

int lunado__runner_call(lua_State *L, int nargs, int nresults, int flags) {
  lunado_realm *realm;
  lunado_ioloop *loop;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_pop(L, nargs + 1);
    return -LUA_ERRMEM;
  }
  realm = lunado__realm_find(L);
  if (nresults != 0)
    return realm->luv->luv_runner(L, nargs, nresults, flags | NO_EXIT);
  if (realm->luv->deferred > 0) lunado__shutdown_finalize(L, realm->luv);
  loop = lunado__attachment_loop(realm);
  if (loop != NULL)
    call_for_luv(L, realm, loop, nargs);
  else
    lunado__callback(L, realm, NULL, nargs);
  return 0;
}
