/* SPDX-License-Identifier: MIT */
/*
 * module.c - lunado.core, the module of all functions that are written in C.
 * The Lua modules export some of them.
 */
#include "binding/module.h"

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/canceller.h"
#include "binding/coroutine/catch.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/group.h"
#include "binding/coroutine/groupend.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/received.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/throw.h"
#include "binding/debug/inspect.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/awaited.h"
#include "binding/future/dependent.h"
#include "binding/future/forsaken.h"
#include "binding/future/future.h"
#include "binding/future/multi.h"
#include "binding/future/sleep.h"
#include "binding/future/ticket.h"
#include "binding/future/waititer.h"
#include "binding/future/with_timeout.h"
#include "binding/future/yieldable.h"
#include "binding/loop/callback.h"
#include "binding/loop/clock.h"
#include "binding/loop/handler.h"
#include "binding/loop/interrupt.h"
#include "binding/loop/ioloop.h"
#include "binding/loop/methods.h"
#include "binding/loop/runsync.h"
#include "binding/loop/signals.h"
#include "binding/luv/luv.h"
#include "binding/luv/waits.h"
#include "binding/process/process.h"
#include "binding/process/system.h"
#include "binding/state/argument.h"
#include "binding/state/context.h"
#include "binding/state/log.h"
#include "binding/state/naming.h"
#include "binding/stream/address.h"
#include "binding/stream/descriptor.h"
#include "binding/stream/iostream.h"
#include "binding/stream/listener.h"
#include "binding/stream/opening.h"
#include "binding/thread/dump.h"
#include "binding/thread/executor.h"
#include "binding/thread/undump.h"
#include "core/descriptors.h"

/* The order matters: a file comes before the files that depend on it. */
static void fill(lua_State *L, lunado_realm *realm) {
  lunado__naming_open(L, realm);
  lunado__exception_open(L, realm);
  lunado__callback_open(L, realm);
  lunado__received_open(L, realm);
  lunado__interrupt_open(L, realm);
  lunado__failure_open(L, realm);
  lunado__awaited_open(L, realm);
  lunado__coroutine_open(L, realm);
  lunado__future_open(L, realm);
  lunado__notice_open(L, realm);
  lunado__scope_open(L, realm);
  lunado__group_open(L, realm);
  lunado__ioloop_open(L, realm);
  lunado__luv_open(L, realm);
  lunado__iostream_open(L, realm);
  lunado__listener_open(L, realm);
  lunado__descriptor_open(L, realm);
  lunado__process_open(L, realm);
}

lunado_realm *lunado__module_realm(lua_State *L) {
  static void (*const filler)(lua_State *, lunado_realm *) = fill;
  return lunado__realm_make(L, &filler);
}

static void (*const openers[])(lua_State *L) = {
    lunado__argument_functions,   lunado__exception_functions,
    lunado__log_functions,        lunado__future_functions,
    lunado__coroutine_functions,  lunado__yieldable_functions,
    lunado__multi_functions,      lunado__waititer_functions,
    lunado__sleep_functions,      lunado__with_timeout_functions,
    lunado__methods_functions,    lunado__runsync_functions,
    lunado__context_functions,    lunado__executor_functions,
    lunado__clock_functions,      lunado__inspect_functions,
    lunado__catch_functions,      lunado__naming_functions,
    lunado__signals_functions,    lunado__forsaken_functions,
    lunado__ticket_functions,     lunado__dependent_functions,
    lunado__handler_functions,    lunado__waits_functions,
    lunado__iostream_functions,   lunado__address_functions,
    lunado__opening_functions,    lunado__listener_functions,
    lunado__cancel_functions,     lunado__scope_functions,
    lunado__group_functions,      lunado__groupend_functions,
    lunado__canceller_functions,  lunado__throw_functions,
    lunado__dump_functions,       lunado__undump_functions,
    lunado__descriptor_functions, lunado__process_functions,
    lunado__system_functions};

static void set_classes(lua_State *L, lunado_realm *realm) {
  static const char *const names[LUNADO_E_COUNT] = {"Exception",
                                                    "TimeoutError",
                                                    "BadYieldError",
                                                    "InvalidStateError",
                                                    "ReturnValueIgnoredError",
                                                    "Return",
                                                    "StreamClosedError",
                                                    "UnsatisfiableReadError",
                                                    "StreamBufferFullError",
                                                    "CancelledError"};
  for (int which = 0; which < LUNADO_E_COUNT; which++) {
    lunado__exception_pushclass(L, realm, (lunado_error_class)which);
    lua_setfield(L, -2, names[which]);
  }
}

/* core.loaded holds the Lua modules by name.  So a second require, after
 * package.loaded was cleared, finds the same modules.  luv makes a loop as soon
 * as it is loaded, which lunado.uv does after this. */
int luaopen_lunado_core(lua_State *L) {
  lunado_realm *realm;
  luaL_checkversion(L); /* it was compiled for this Lua */
  lunado_fill_standard_descriptors();
  realm = lunado__module_realm(L);
  lua_newtable(L);
  for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) openers[i](L);
  set_classes(L, realm);
  lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
  lua_setfield(L, -2, "moment");
  lunado__getslot(L, realm, LUNADO_SLOT_LOADED);
  lua_setfield(L, -2, "loaded");
  return 1;
}
