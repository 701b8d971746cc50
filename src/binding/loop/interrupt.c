/* SPDX-License-Identifier: MIT */
/*
 * interrupt.c - recognizing interrupts, ending runs with them, and waking loops
 * for them.
 *
 * The interpreter's handler of SIGINT sets a hook, which raises the error when
 * Lua next calls a function.  A loop that waits in the system calls no
 * function, so the signal has to wake it.
 *
 * Invariants: at most one loop of the process is woken.  The handler of lunado
 * is installed only while that loop runs, and wakes it after the handler that
 * was installed before has returned.  If the process installs another handler
 * meanwhile, that handler is left in place.
 */
#if !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE) && !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* sigaction */
#endif
#include "binding/loop/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "binding/error/failure.h"
#include "binding/error/protect.h"
#include "binding/loop/callback.h"
#include "binding/loop/ioloop.h"

/* --- errors --------------------------------------------------------------- */

/* True if Lua reports that the message handler was called from a hook. */
static bool is_named_hook(lua_State *L) {
  lua_Debug ar;
  return lua_getstack(L, 0, &ar) && lua_getinfo(L, "n", &ar) &&
         strcmp(ar.namewhat, "hook") == 0;
}

static int nothing(lua_State *L) {
  (void)L;
  return 0;
}

static void on_probe(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
}

/* True if L is inside a hook: Lua then calls no other hook. */
static bool is_inside_hook(lua_State *L) {
  lua_Hook hook = lua_gethook(L);
  int mask = lua_gethookmask(L), count = lua_gethookcount(L);
  bool inside;
  lua_sethook(L, on_probe, LUA_MASKCALL, 0);
  lua_pushcfunction(L, nothing);
  lua_call(L, 0, 0);
  inside = lua_gethook(L) == on_probe;
  lua_sethook(L, hook, mask, count);
  return inside;
}

/* True if the hook of L was set by debug.sethook, so that it is a Lua
 * function. */
static bool has_lua_hook(lua_State *L) {
  bool has = false;
  if (lua_getfield(L, LUA_REGISTRYINDEX, "_HOOKKEY") == LUA_TTABLE) {
    lua_pushthread(L);
    has = lua_rawget(L, -2) != LUA_TNIL;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return has;
}

bool lunado__interrupt_is_raised(lua_State *L, const lunado_realm *realm) {
  if (is_named_hook(L)) return true;
  return realm->errors.unnamed_hooks && is_inside_hook(L) && !has_lua_hook(L);
}

static void on_try(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  lua_pushnil(L);
  (void)lua_error(L);
}

static int tell_if_named(lua_State *L) {
  lua_pushboolean(L, is_named_hook(L));
  return 1;
}

void lunado__interrupt_open(lua_State *L, lunado_realm *realm) {
  lua_State *thread = lua_newthread(L);
  lua_sethook(thread, on_try, LUA_MASKCALL, 0);
  lua_pushcfunction(thread, tell_if_named);
  lua_pushcfunction(thread, nothing);
  (void)lua_pcall(thread, 0, 0, -2);
  realm->errors.unnamed_hooks = !lua_toboolean(thread, -1);
  lua_pop(L, 1);
}

/* Ends the innermost run without completing its turn; the next run calls the
 * callbacks that are left. */
static void end_run(const lunado_realm *realm) {
  if (realm->loops.running == NULL) return;
  realm->loops.running->queue.turn = 0;
  lunado_loop_break(realm->loops.running->core);
}

bool lunado__interrupt_note(lua_State *L, lunado_realm *realm) {
  const lunado_failure *failure = lua_touserdata(L, -1);
  if (!failure->interrupt || realm->loops.running == NULL) return false;
  lua_pushvalue(L, -1);
  lunado__setslot(L, realm, LUNADO_SLOT_INTERRUPT);
  realm->errors.interrupted = true;
  end_run(realm);
  return true;
}

bool lunado__interrupt_take(lua_State *L, lunado_realm *realm) {
  if (!realm->errors.interrupted) return false;
  lunado__getslot(L, realm, LUNADO_SLOT_INTERRUPT);
  end_run(realm); /* the run around the ended one */
  if (realm->loops.running != NULL) return true;
  lua_pushboolean(L, 0);
  lunado__setslot(L, realm, LUNADO_SLOT_INTERRUPT);
  realm->errors.interrupted = false;
  return true;
}

/* --- waking --------------------------------------------------------------- */

#if defined(SA_SIGINFO) || defined(_WIN32)

static _Atomic(const lunado_ioloop *) watched_by; /* NULL: none */
static _Atomic(lunado_loopid) woken;              /* the id of that loop's
                                                   * core */

static void on_wake(lunado_loop *core, lunado_message *message) {
  lunado_ioloop *loop = core->owner;
  (void)message;
  atomic_store(&loop->waking, false);
  lunado_loop_calm(core);
  if (core->closed) return;
  /* Calls an empty function, so that a pending hook is called. */
  if (!lunado__protect_call(loop->L, loop->realm, nothing, NULL))
    lunado__callback_report_guarded(loop->L, loop->realm, true, "an interrupt");
}

/* Wakes the loop from a signal handler, or from any thread. */
static void wake(void) {
  lunado_loopid id = atomic_load(&woken);
  lunado_loop *core = lunado_loopid_enter(id);
  if (core != NULL) {
    lunado_ioloop *loop = core->owner;
    lunado_loop_urge(core);
    if (!atomic_exchange(&loop->waking, true))
      (void)lunado_loop_send(core, &loop->wake, on_wake);
    lunado_loopid_leave(id);
  }
}

/* Makes the loop the one that is woken; false: another one is. */
static bool claim(const lunado_ioloop *loop) {
  const lunado_ioloop *nobody = NULL;
  lunado_loopid id;
  if (lunado_loopid_get(loop->core, &id) < 0 ||
      !atomic_compare_exchange_strong(&watched_by, &nobody, loop))
    return false;
  atomic_store(&woken, id);
  return true;
}

static void disclaim(const lunado_ioloop *loop) {
  atomic_store(&woken, 0);
  atomic_store(&watched_by, NULL);
  lunado_loop_calm(loop->core);
}

#endif

#ifdef SA_SIGINFO

typedef void (*signal_handler)(int);

static _Atomic(signal_handler) handler_before;

static void on_interrupt(int signum) {
  int error = errno;
  atomic_load (&handler_before)(signum);
  wake();
  errno = error;
}

static bool is_handled(const struct sigaction *action) {
  return (action->sa_flags & SA_SIGINFO) == 0 &&
         action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

bool lunado__interrupt_watch(const lua_State *L, lunado_ioloop *loop) {
  struct sigaction action;
  if (L != loop->realm->main || sigaction(SIGINT, NULL, &action) != 0 ||
      !is_handled(&action) || !claim(loop))
    return false;
  atomic_store(&handler_before, action.sa_handler);
  action.sa_handler = on_interrupt;
  (void)sigaction(SIGINT, &action, NULL);
  return true;
}

void lunado__interrupt_unwatch(const lunado_ioloop *loop) {
  struct sigaction action;
  if (atomic_load(&watched_by) != loop) return;
  if (sigaction(SIGINT, NULL, &action) == 0 &&
      (action.sa_flags & SA_SIGINFO) == 0 &&
      action.sa_handler == on_interrupt) {
    action.sa_handler = atomic_load(&handler_before);
    (void)sigaction(SIGINT, &action, NULL);
  }
  disclaim(loop);
}

#elif defined(_WIN32)

/* Waits until the thread that Windows has started for the Ctrl-C has called
 * all handlers, and has ended. */
static DWORD WINAPI wake_afterwards(void *thread) {
  (void)WaitForSingleObject(thread, INFINITE);
  (void)CloseHandle(thread);
  wake();
  return 0;
}

/* Windows calls the newest handler first, so the interpreter's, which sets the
 * hook, is still to be called. */
static BOOL WINAPI on_interrupt(DWORD event) {
  HMODULE self;
  HANDLE process = GetCurrentProcess(), thread;
  if (event != CTRL_C_EVENT) return FALSE;
  /* Keeps this module loaded for wake_afterwards. */
  if (GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                             GET_MODULE_HANDLE_EX_FLAG_PIN,
                         (const char *)&watched_by, &self) &&
      DuplicateHandle(process, GetCurrentThread(), process, &thread,
                      SYNCHRONIZE, FALSE, 0) &&
      !QueueUserWorkItem(wake_afterwards, thread, WT_EXECUTELONGFUNCTION))
    (void)CloseHandle(thread);
  return FALSE;
}

bool lunado__interrupt_watch(const lua_State *L, lunado_ioloop *loop) {
  if (L != loop->realm->main || !claim(loop)) return false;
  if (SetConsoleCtrlHandler(on_interrupt, TRUE)) return true;
  disclaim(loop);
  return false;
}

void lunado__interrupt_unwatch(const lunado_ioloop *loop) {
  if (atomic_load(&watched_by) != loop) return;
  (void)SetConsoleCtrlHandler(on_interrupt, FALSE);
  disclaim(loop);
}

#else

bool lunado__interrupt_watch(const lua_State *L, lunado_ioloop *loop) {
  (void)L, (void)loop;
  return false;
}

void lunado__interrupt_unwatch(const lunado_ioloop *loop) { (void)loop; }

#endif
