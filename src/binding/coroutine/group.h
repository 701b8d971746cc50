/* SPDX-License-Identifier: MIT */
/*
 * group.h - TaskGroups: coroutines that end with the block that started them.
 *
 * A group is a to-be-closed userdata with a scope (scope.h) in the coroutine
 * that opened it.
 */
#ifndef LUNADO_BINDING_COROUTINE_GROUP_H
#define LUNADO_BINDING_COROUTINE_GROUP_H

#include "binding/state/realm.h"

/* User values of a group. */
enum {
  GROUP_SCOPE = 1,  /* of its block */
  GROUP_MEMBERS,    /* set of the members that wait */
  GROUP_NOTICE,     /* for the children, once they are cancelled */
  GROUP_JOIN,       /* the Future for which the end of the block waits */
  GROUP_QUIET,      /* quiet_exceptions */
  GROUP_PLACE,      /* "file:line" where it was opened */
  GROUP_FIRST,      /* the Failure of the child that failed before all others
                       and before the body */
  GROUP_BODY,       /* the member that stands for the body */
  GROUP_ERROR,      /* the member whose error came first */
  GROUP_LAST_ERROR, /* the member whose error came last */
  GROUP_OLDEST,     /* the oldest epoch that has not ended */
  GROUP_EPOCH,      /* the present epoch */
  GROUP_VALUES = GROUP_EPOCH
};

typedef struct {
  lua_Integer count;   /* members that wait */
  lua_Integer spawned; /* children so far */
  uint32_t sequence;   /* realm->collector.sequence when it was made */
  bool open;           /* the block has begun */
  bool cancelled;      /* GROUP_NOTICE is set */
  bool joining;        /* the end of the block waits for GROUP_JOIN */
  bool ended;          /* the block has ended */
  bool owns_body;      /* cancel() cancels the body, too */
} lunado_group;

/* Returns argument 1, which must be a group.  [-0, +0, v] */
lunado_group *lunado__group_check(lua_State *L, const lunado_realm *realm);

/* Makes the class of groups, once per state.  [-0, +0, m] */
void lunado__group_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__group_functions(lua_State *L);

#endif
