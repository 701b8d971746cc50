/* SPDX-License-Identifier: MIT */
/*
 * signals.c - signals of the process: the C functions that lunado.signals uses.
 *
 * The realm has one object that receives signals, from its first use to the end
 * of the state.  Each loop that signals shall wake has a watcher of that
 * object's descriptor.  The watcher keeps the loop's run alive only while
 * lunado.signals asks for it (signal_hold).
 *
 * Invariant: loop->signals is the loop's open watcher, or NULL; it is NULL once
 * the loop is closed.
 */
#include "binding/loop/signals.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

#include "binding/future/future.h"
#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/uverror.h"
#include "core/poll.h"
#include "core/signals.h"

/* User value of the object: the function dispatch(), called on a loop when a
 * signal has arrived. */
enum { SIGNALS_DISPATCH = 1 };

typedef struct {
  lunado_signals *core; /* NULL before it is opened and after it is freed */
} signals;

/* --- names ---------------------------------------------------------------- */

static const struct {
  const char *name;
  int number;
} names[] = {{"sigint", SIGINT},
             {"sigterm", SIGTERM},
             {"sigabrt", SIGABRT},
             {"sigfpe", SIGFPE},
             {"sigill", SIGILL},
             {"sigsegv", SIGSEGV},
             {"sighup", SIGHUP},
             {"sigkill", SIGKILL},
             {"sigwinch", SIGWINCH},
#ifdef SIGQUIT
             {"sigquit", SIGQUIT},
#endif
#ifndef _WIN32
             {"sigtrap", SIGTRAP},
             {"sigbus", SIGBUS},
             {"sigusr1", SIGUSR1},
             {"sigusr2", SIGUSR2},
             {"sigpipe", SIGPIPE},
             {"sigalrm", SIGALRM},
             {"sigchld", SIGCHLD},
             {"sigcont", SIGCONT},
             {"sigstop", SIGSTOP},
             {"sigtstp", SIGTSTP},
             {"sigttin", SIGTTIN},
             {"sigttou", SIGTTOU},
             {"sigurg", SIGURG},
             {"sigxcpu", SIGXCPU},
             {"sigxfsz", SIGXFSZ},
             {"sigvtalrm", SIGVTALRM},
             {"sigprof", SIGPROF},
             {"sigsys", SIGSYS},
#endif
#ifdef SIGIO
             {"sigio", SIGIO},
#endif
#ifdef SIGPOLL
             {"sigpoll", SIGPOLL},
#endif
#ifdef SIGPWR
             {"sigpwr", SIGPWR},
#endif
#ifdef SIGSTKFLT
             {"sigstkflt", SIGSTKFLT},
#endif
#ifdef SIGINFO
             {"siginfo", SIGINFO},
#endif
#ifdef SIGBREAK
             {"sigbreak", SIGBREAK},
#endif
             {NULL, 0}};

/* signal_number(name) → number; nil if the system has no such signal. */
static int core_signal_number(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (int i = 0; names[i].name != NULL; i++)
    if (strcmp(names[i].name, name) == 0) {
      lua_pushinteger(L, names[i].number);
      return 1;
    }
  return 0;
}

/* signal_name(number) → name; nil if no name is known. */
static int core_signal_name(lua_State *L) {
  lua_Integer number = luaL_checkinteger(L, 1);
  for (int i = 0; names[i].name != NULL; i++)
    if (names[i].number == number) {
      lua_pushstring(L, names[i].name);
      return 1;
    }
  return 0;
}

/* --- the object ----------------------------------------------------------- */

/* Closes the loops' watchers of the descriptor, before the descriptor is
 * closed. */
static void close_watchers(lua_State *L, const lunado_realm *realm) {
  lunado__getslot(L, realm, LUNADO_SLOT_LOOPS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    lunado_ioloop *loop = lua_touserdata(L, -1);
    if (loop->signals == NULL) continue;
    lunado_watcher_close(loop->signals);
    loop->signals = NULL;
  }
  lua_pop(L, 1);
}

static int signals__gc(lua_State *L) {
  signals *self = lua_touserdata(L, 1);
  if (self->core == NULL) return 0;
  close_watchers(L, lunado__realm_upvalue(L));
  lunado_signals_free(self->core);
  self->core = NULL;
  return 0;
}

static const luaL_Reg metamethods[] = {{"__gc", signals__gc}, {NULL, NULL}};

static void push_new(lua_State *L, const lunado_realm *realm) {
  signals *self = lua_newuserdatauv(L, sizeof *self, 1);
  int rc;
  self->core = NULL;
  (void)lunado__class_new(L, "lunado.Signals", NULL, metamethods);
  lua_setmetatable(L, -2);
  rc = lunado_signals_new(&self->core);
  if (rc < 0) luaL_error(L, "signals cannot be noticed: %s", uv_strerror(rc));
  lua_pushvalue(L, -1);
  lunado__setslot(L, realm, LUNADO_SLOT_SIGNALS);
}

/* Pushes the realm's object, made on first use, and returns its core. */
static lunado_signals *push_signals(lua_State *L, const lunado_realm *realm) {
  lunado_signals *core;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_SIGNALS);
  if (!lua_isuserdata(L, -1)) {
    lua_pop(L, 1);
    push_new(L, realm);
  }
  core = ((signals *)lua_touserdata(L, -1))->core;
  if (core == NULL) luaL_error(L, "the Lua state is being closed");
  return core;
}

/* --- loops ---------------------------------------------------------------- */

/* The number of times that dispatch is called again for signals that it
 * left. */
#define MOST_RETRIES 3

/* Calls dispatch().  Arrived signals are first read from the descriptor and
 * counted, so that each signal wakes the loop once, even if the call fails. */
static void dispatch(lunado_ioloop *loop, int retries) {
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  signals *self;
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lunado__getslot(L, loop->realm, LUNADO_SLOT_SIGNALS);
  self = lua_touserdata(L, -1);
  lunado_signals_drain(self->core);
  lua_getiuservalue(L, -1, SIGNALS_DISPATCH);
  lunado__ioloop_ref(loop); /* the callback may close the loop */
  lunado__callback(L, loop->realm, loop, 0);
  if (!loop->closed && retries < MOST_RETRIES &&
      lunado_signals_next(self->core) != 0) {
    loop->signal_retries = retries + 1;
    lunado_loop_ready(loop->core, &loop->signal_retry);
  }
  lunado__ioloop_unref(L, loop);
  lua_settop(L, top);
}

static void on_readable(lunado_watcher *watcher, int events) {
  (void)events;
  dispatch(watcher->loop->owner, 0);
}

static void on_retry(lunado_loop *core, lunado_callback *task) {
  lunado_ioloop *loop = core->owner;
  (void)task;
  dispatch(loop, loop->signal_retries);
}

/* signal_attach(loop, dispatch): from now on calls dispatch() when a signal has
 * arrived, on this loop or on another attached loop, whichever notices the
 * signal first. */
static int core_signal_attach(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_ioloop *loop = lunado__ioloop_check(L, realm, 1);
  lunado_watcher *watcher;
  uv_os_sock_t fd;
  int rc;
  lua_settop(L, 2);
  fd = lunado_signals_fd(push_signals(L, realm));
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, SIGNALS_DISPATCH);
  if (loop->signals != NULL) return 0;
  rc = lunado_watcher_new(&watcher, loop->core, fd, LUNADO_READ, on_readable);
  if (rc < 0)
    return luaL_error(L, "signals cannot wake the loop: %s", uv_strerror(rc));
  lunado_watcher_keep_alive(watcher, false);
  lunado_callback_init(&loop->signal_retry, on_retry);
  loop->signals = watcher;
  return 0;
}

/* signal_hold(loop, yes): whether the loop's run goes on for signals while
 * nothing else keeps it alive.  No effect on a closed loop. */
static int core_signal_hold(lua_State *L) {
  lunado_ioloop *loop = lunado__ioloop_at(L, lunado__realm_upvalue(L), 1);
  if (loop != NULL && loop->signals != NULL)
    lunado_watcher_keep_alive(loop->signals, lua_toboolean(L, 2) != 0);
  return 0;
}

/* --- signals -------------------------------------------------------------- */

/* signal_watch(number) → true, or nil and libuv's error: starts to receive the
 * signal. */
static int core_signal_watch(lua_State *L) {
  lua_Integer number = luaL_checkinteger(L, 1);
  lunado_signals *core = push_signals(L, lunado__realm_upvalue(L));
  int rc = number < 1 || number > INT_MAX
               ? UV_EINVAL
               : lunado_signals_watch(core, (int)number);
  if (rc == 0) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lunado__uverror_pushtext(L, rc);
  return 2;
}

/* signal_unwatch(number): stops receiving the signal. */
static int core_signal_unwatch(lua_State *L) {
  lua_Integer number = luaL_checkinteger(L, 1);
  lunado_signals *core = push_signals(L, lunado__realm_upvalue(L));
  lunado_signals_unwatch(core, (int)number);
  return 0;
}

/* signal_next() → the number of a signal that has arrived; nil if none is
 * left. */
static int core_signal_next(lua_State *L) {
  lunado_signals *core = push_signals(L, lunado__realm_upvalue(L));
  int number;
  lunado_signals_drain(core);
  number = lunado_signals_next(core);
  if (number == 0) return 0;
  lua_pushinteger(L, number);
  return 1;
}

/* signal_take(): marks the signal that signal_next returned as handled. */
static int core_signal_take(lua_State *L) {
  (void)lunado_signals_take(push_signals(L, lunado__realm_upvalue(L)));
  return 0;
}

/* signal_awaited(future) → true while the Future has a waiter besides the
 * callback that lunado.signals has added. */
static int core_signal_awaited(lua_State *L) {
  const lunado_future *future =
      lunado__checkfuture(L, lunado__realm_upvalue(L), 1);
  const lunado_waiter *first = future->waiters;
  lua_pushboolean(L, lunado_future_pending(future) && first != NULL &&
                         first->next != first);
  return 1;
}

/* signal_alias(wrapper, fn): messages name the wrapper by the name of fn. */
static int core_signal_alias(lua_State *L) {
  lua_settop(L, 2);
  lunado__getslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_WRAPPED);
  if (!lua_istable(L, 3)) return 0;
  lua_insert(L, 1);
  lua_rawset(L, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"signal_number", core_signal_number},
                                     {"signal_name", core_signal_name},
                                     {"signal_attach", core_signal_attach},
                                     {"signal_hold", core_signal_hold},
                                     {"signal_watch", core_signal_watch},
                                     {"signal_unwatch", core_signal_unwatch},
                                     {"signal_next", core_signal_next},
                                     {"signal_take", core_signal_take},
                                     {"signal_alias", core_signal_alias},
                                     {"signal_awaited", core_signal_awaited},
                                     {NULL, NULL}};

void lunado__signals_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
