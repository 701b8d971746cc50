/* SPDX-License-Identifier: MIT */
/*
 * member.h - the members of a group, one for each child and one for the body.
 *
 * The group (group.h) is at idx, the member at m.  No index may be relative.
 */
#ifndef LUNADO_BINDING_COROUTINE_MEMBER_H
#define LUNADO_BINDING_COROUTINE_MEMBER_H

#include "binding/coroutine/group.h"
#include "core/future.h"

/* User values of a member. */
enum {
  MEMBER_GROUP = 1,
  MEMBER_FUTURE,
  MEMBER_EPOCH,
  MEMBER_ERROR,      /* what it has raised */
  MEMBER_NEXT_ERROR, /* the member whose error came next */
  MEMBER_VALUES = MEMBER_NEXT_ERROR
};

/* A child, or the body. */
typedef struct {
  lunado_waiter waiter; /* in the child's Future */
  lua_Integer number;   /* of the spawn, from 1 on; 0: the body */
} lunado_member;

/* User values of an epoch: the Future of the wait() that has ended it, and the
 * next epoch. */
enum { EPOCH_FUTURE = 1, EPOCH_NEXT, EPOCH_VALUES = EPOCH_NEXT };

/* The time from one call of wait() to the next. */
typedef struct {
  lua_Integer left; /* members of this time that wait */
} lunado_epoch;

/* Pushes a new member of the group.  [-0, +1, m] */
lunado_member *lunado__member_push(lua_State *L, int idx);

/* True if the waiter is a member's.  [-0, +0, -] */
bool lunado__member_owns(const lunado_waiter *waiter);

/* Puts the member into the set of its group, while the group cannot be
 * cancelled.  If the spawn raises afterwards, it stays there without a Future.
 * [-0, +0, m] */
void lunado__member_add(lua_State *L, int idx, int m);

/* Takes the member out of the set of its group.  [-0, +0, -] */
void lunado__member_remove(lua_State *L, int idx, int m);

/* Makes the member at 2 of the group at 1 wait for its pending Future at 3.
 * [-0, +0, -] */
void lunado__member_wait(lua_State *L, lunado_group *group);

/* Takes the outcome of the member, whose Future is done.  [-0, +0, -] */
void lunado__member_take_outcome(lua_State *L, lunado_realm *realm, int idx,
                                 int m);

/* Pushes a new epoch.  [-0, +1, m] */
void lunado__member_push_epoch(lua_State *L);

/* Settles the Future on top without results, unless it is done, and pops it.
 * [-1, +0, -] */
void lunado__member_settle(lua_State *L, lunado_realm *realm);

#endif
