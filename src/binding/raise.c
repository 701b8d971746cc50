/* SPDX-License-Identifier: MIT */
/*
 * raise.c - Failures in the hands of lunado's own Lua modules.
 */
#include "binding/raise.h"

#include "binding/failure.h"
#include "binding/future.h"

/* fail(future, err): fails the Future.  It is anyone's to settle: where it is
 * settled already, nobody can ask it for this error, which is then logged as
 * one that was never retrieved. */
static int core_fail(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado__checkfuture(L, realm, 1);
  lua_settop(L, 2);
  if (lunado__tofailure(L, realm, 2) == NULL)
    (void)lunado__failure_new(L, realm, 2, 1);
  lunado__fail(L, realm, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"fail", core_fail}, {NULL, NULL}};

void lunado__raise_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
