/* SPDX-License-Identifier: MIT */
/*
 * chain.c - chain_future: one Future gets the outcome of another.
 */
#include "binding/future/chain.h"

#include "binding/future/dependent.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/future/ticket.h"
#include "binding/future/timedout.h"
#include "binding/future/untie.h"

/* A chain_link waits for the source.  User values besides the dependent: the
 * source, which the link must hold because the dependent does not; the wait
 * queue, if the dependent is a ticket. */
enum {
  CHAIN_SOURCE = LUNADO_BOND_DEPENDENT + 1,
  CHAIN_WAITQUEUE,
  CHAIN_VALUES = CHAIN_WAITQUEUE
};

typedef struct {
  lunado_bond bond;
  lunado_waiter waiter; /* in the source */
} chain_link;

/* Settles the Future at `to` with the outcome of the Future at `from`. */
static void pass_on(lua_State *L, lunado_realm *realm, int from, int to) {
  lunado__settle_copy(L, realm, from, to);
  lunado__untie_tied(L, realm, to, lua_touserdata(L, to));
}

static void on_source(lunado_settler *settler, lunado_waiter *waiter,
                      lunado_future *source) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  int top = lua_gettop(L);
  (void)source;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, top + 1, CHAIN_SOURCE);
  lunado__dependent_push(L, top + 1);
  if (!lua_isnil(L, -1)) pass_on(L, realm, top + 2, top + 3);
  lua_settop(L, top);
}

static void forget_source(lua_State *L, lunado_realm *realm, int bond,
                          int dependent) {
  chain_link *self = lua_touserdata(L, bond);
  const lunado_future *target = lua_touserdata(L, dependent);
  int source = lua_gettop(L) + 1;
  if (self->waiter.list == NULL || !lua_checkstack(L, 16)) return;
  lua_getiuservalue(L, bond, CHAIN_SOURCE);
  if (lunado_future_pending(target))
    lunado__timedout_copy(L, realm, source, dependent);
  lunado__owner_forget(L, source, &self->waiter);
  lua_pop(L, 1);
}

/* Binds the target to the bond.  A ticket needs no bond to hold it: it notices
 * its waiters itself, and its wait queue holds it while it has any. */
static void hold_target(lua_State *L, lunado_realm *realm, int to, int bond) {
  const lunado_future *target = lua_touserdata(L, to);
  if (target->kind != LUNADO_KIND_TICKET) {
    lunado__dependent_bind(L, realm, to, bond, false);
    return;
  }
  lunado__ticket_push_waitqueue(L, to);
  lua_setiuservalue(L, bond, CHAIN_WAITQUEUE);
  lunado__dependent_bind_ticket(L, realm, to, bond);
}

/* Links a new chain_link to the source and binds the target to it.  Returns
 * false if a finalizer has settled the source meanwhile. */
static bool chain(lua_State *L, lunado_realm *realm, int from, int to) {
  chain_link *self = lua_newuserdatauv(L, sizeof *self, CHAIN_VALUES);
  int bond = lua_gettop(L);
  bool linked;
  self->bond = (lunado_bond){.forget = forget_source};
  self->waiter.list = NULL;
  lua_pushvalue(L, from);
  lua_setiuservalue(L, bond, CHAIN_SOURCE);
  hold_target(L, realm, to, bond);
  linked = lunado__owner_wait(L, from, bond, &self->waiter, on_source);
  lua_pop(L, 1);
  return linked;
}

/* Does nothing if the target is done already or is the source itself. */
void lunado__chain(lua_State *L, lunado_realm *realm, int from, int to) {
  const lunado_future *source = lua_touserdata(L, from);
  const lunado_future *target = lua_touserdata(L, to);
  if (source == target || !lunado_future_pending(target)) return;
  if (!lunado_future_pending(source) || !chain(L, realm, from, to))
    pass_on(L, realm, from, to);
}

bool lunado__chain_target(lua_State *L, const lunado_waiter *waiter,
                          int owner) {
  if (waiter->cb != on_source) return false;
  lunado__dependent_push(L, owner);
  return true;
}
