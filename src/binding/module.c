/* SPDX-License-Identifier: MIT */
/*
 * module.c - lunado.core, the module of everything that is written in C; the
 * Lua modules pick from it what they show.
 */
#include "binding/state/binding.h"
#include "binding/loop/clock.h"
#include "binding/future/yieldable.h"
#include "binding/coroutine/coroutine.h"
#include "binding/error/exception.h"
#include "binding/thread/executor.h"
#include "binding/future/forsaken.h"
#include "binding/loop/handler.h"
#include "binding/future/future.h"
#include "binding/future/dependent.h"
#include "binding/debug/inspect.h"
#include "binding/loop/ioloop.h"
#include "binding/state/log.h"
#include "binding/future/multi.h"
#include "binding/state/naming.h"
#include "binding/coroutine/raise.h"
#include "binding/loop/runsync.h"
#include "binding/loop/signals.h"
#include "binding/future/ticket.h"
#include "binding/loop/timeout.h"
#include "binding/future/waititer.h"

static const luaL_Reg functions[] = {
    {"is_callable", lunado__is_callable},
    {"isinstance", lunado__util_isinstance},
    {"log", lunado__log_log},
    {"log_enabled", lunado__log_enabled},
    {"log_handler", lunado__log_handler},
    {"set_log_handler", lunado__log_set_handler},
    {"set_log_level", lunado__log_set_level},
    {NULL, NULL}};

static void (*const openers[])(lua_State *L) = {
    lunado__future_functions,   lunado__coroutine_functions,
    lunado__convert_functions,  lunado__multi_functions,
    lunado__waititer_functions, lunado__sleep_functions,
    lunado__ioloop_functions,   lunado__runsync_functions,
    lunado__context_functions,  lunado__executor_functions,
    lunado__clock_functions,    lunado__inspect_functions,
    lunado__raise_functions,    lunado__naming_functions,
    lunado__signals_functions,  lunado__forsaken_functions,
    lunado__ticket_functions,   lunado__heir_functions,
    lunado__handler_functions};

static void set_classes(lua_State *L, lunado_realm *realm) {
  static const char *const names[LUNADO_E_COUNT] = {"Exception",
                                                    "TimeoutError",
                                                    "BadYieldError",
                                                    "InvalidStateError",
                                                    "ReturnValueIgnoredError",
                                                    "Return"};
  for (int which = 0; which < LUNADO_E_COUNT; which++) {
    lunado__pushclass(L, realm, (lunado_error_class)which);
    lua_setfield(L, -2, names[which]);
  }
}

/* core.loaded holds the Lua modules by name: a second require, after
 * package.loaded was cleared, finds the same ones. */
int luaopen_lunado_core(lua_State *L) {
  lunado_realm *realm = lunado__realm(L);
  lua_newtable(L);
  lunado__setfunctions(L, functions);
  for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++) openers[i](L);
  set_classes(L, realm);
  lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
  lua_setfield(L, -2, "moment");
  lunado__getslot(L, realm, LUNADO_SLOT_LOADED);
  lua_setfield(L, -2, "loaded");
  return 1;
}
