/* SPDX-License-Identifier: MIT */
/* untie.c - releasing the timer, or the place in a wait queue, of a Future that
 * other code has settled. */
#include "binding/future/untie.h"

#include "binding/future/sleep.h"
#include "binding/future/ticket.h"
#include "binding/future/with_timeout.h"

void lunado__untie(lua_State *L, lunado_realm *realm, int idx) {
  lunado_future *future = lua_touserdata(L, idx);
  if (lunado_future_pending(future)) return;
  if (future->kind == LUNADO_KIND_SLEEP)
    lunado__sleep_stop(L, idx);
  else if (future->kind == LUNADO_KIND_TIMEOUT)
    lunado__with_timeout_stop(L, realm, idx);
  else if (future->kind == LUNADO_KIND_TICKET)
    lunado__ticket_settled(L, idx);
}
