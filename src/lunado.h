/* SPDX-License-Identifier: MIT */
/*
 * lunado.h - futures, a loop and coroutines for C programs that run Lua.
 */
#ifndef LUNADO_H
#define LUNADO_H

#include <lua.h>
#include <uv.h>

#if defined(_WIN32)
#define LUNADO_EXPORT __declspec(dllexport)
#else
#define LUNADO_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

LUNADO_EXPORT int luaopen_lunado(lua_State *L);
LUNADO_EXPORT int luaopen_lunado_core(lua_State *L);

/* Receives what is logged: `level` is "debug", "info", "warning" or "error".
 * Called on the thread of the Lua state; must not raise. */
typedef void lunado_log_fn(void *ud, const char *level, const char *message);

#ifdef __cplusplus
}
#endif

#endif
