/* SPDX-License-Identifier: MIT */
/*
 * group.c - TaskGroups.
 *
 * The end of a child needs no memory: everything that is recorded then is an
 * object that was made when the child was spawned, or the group opened.
 *
 * Invariants:
 *   - self->count is the number of members that wait for their Futures; these
 *     are in the table of members, and their Futures hold them;
 *   - an epoch counts the waiting members that were spawned in it; those for
 *     which a wait() asks end before its Future is settled;
 *   - the notice is set before a child is cancelled, and then no child is
 *     spawned: so the table of members does not grow while it is traversed.
 */
#include "binding/coroutine/group.h"

#include "binding/coroutine/await.h"
#include "binding/coroutine/cancel.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/gc_canary.h"
#include "binding/coroutine/received.h"
#include "binding/coroutine/scope.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"
#include "binding/state/log.h"
#include "binding/state/naming.h"
#include "binding/state/text.h"

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
} group;

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
} member;

/* User values of an epoch: the Future of the wait() that has ended it, and the
 * next epoch. */
enum { EPOCH_FUTURE = 1, EPOCH_NEXT, EPOCH_VALUES = EPOCH_NEXT };

/* The time from one call of wait() to the next. */
typedef struct {
  lua_Integer left; /* members of this time that wait */
} epoch;

static group *check_group(lua_State *L, const lunado_realm *realm) {
  group *self = lunado__toclass(L, 1, realm->types.group);
  if (self == NULL) luaL_typeerror(L, 1, "TaskGroup");
  return self;
}

/* --- cancelling ----------------------------------------------------------- */

/* Stack slots that a function here may use besides those of what it calls. */
enum { GROUP_STACK = LUA_MINSTACK };

static bool has_stack(lua_State *L, lunado_realm *realm) {
  if (lua_checkstack(L, GROUP_STACK)) return true;
  lunado__log_text(L, realm,
                   "tasks of a group were not cancelled: not enough memory");
  return false;
}

/* Cancels the children that are left.  They may end meanwhile. */
static void cancel_children(lua_State *L, lunado_realm *realm, int idx) {
  int top = lua_gettop(L), members = top + 1, notice = top + 2, at = top + 3;
  if (!has_stack(L, realm)) return;
  lua_getiuservalue(L, idx, GROUP_MEMBERS);
  lua_getiuservalue(L, idx, GROUP_NOTICE);
  for (lua_pushnil(L); lua_next(L, members) != 0; lua_settop(L, at)) {
    if (lua_getiuservalue(L, at, MEMBER_FUTURE) != LUA_TNIL &&
        lua_getiuservalue(L, -1, LUNADO_FUTURE_TASK) != LUA_TNIL)
      lunado__cancel_task(L, realm, lua_gettop(L), notice);
  }
  lua_settop(L, top);
}

/* Gives the group the notice on top, unless it has one, and pops it. */
static void set_notice(lua_State *L, int idx) {
  group *self = lua_touserdata(L, idx);
  if (self->cancelled) {
    lua_pop(L, 1);
    return;
  }
  self->cancelled = true;
  lua_setiuservalue(L, idx, GROUP_NOTICE);
}

/* The same with a new notice. */
static void set_new_notice(lua_State *L, lunado_realm *realm, int idx,
                           const char *reason) {
  if (((group *)lua_touserdata(L, idx))->cancelled) return;
  lunado__cancel_notice_protected(L, realm, reason);
  set_notice(L, idx);
}

void lunado__group_tell(lua_State *L, lunado_realm *realm, int idx,
                        int notice) {
  if (((group *)lua_touserdata(L, idx))->cancelled) return;
  lua_pushvalue(L, notice);
  set_notice(L, idx);
  cancel_children(L, realm, idx);
}

/* Cancels the body with the group's notice. */
static void cancel_body(lua_State *L, lunado_realm *realm, int idx) {
  int scope = lua_gettop(L) + 1;
  lua_getiuservalue(L, idx, GROUP_SCOPE);
  lua_getiuservalue(L, idx, GROUP_NOTICE);
  lunado__scope_cancel(L, realm, scope);
  lua_settop(L, scope - 1);
}

/* Cancels the body and the children, because an error ends the group. */
static void fail(lua_State *L, lunado_realm *realm, int idx,
                 const char *reason) {
  if (!has_stack(L, realm)) return;
  set_new_notice(L, realm, idx, reason);
  cancel_body(L, realm, idx);
  cancel_children(L, realm, idx);
}

/* --- errors --------------------------------------------------------------- */

/* Appends the member at m, whose error is on top, to the errors of the group at
 * idx, and pops the error.  Returns whether it is the first. */
static bool add_error(lua_State *L, int idx, int m) {
  bool first;
  lua_setiuservalue(L, m, MEMBER_ERROR);
  first = lua_getiuservalue(L, idx, GROUP_LAST_ERROR) == LUA_TNIL;
  lua_pushvalue(L, m);
  if (first)
    lua_setiuservalue(L, idx, GROUP_ERROR);
  else
    lua_setiuservalue(L, -2, MEMBER_NEXT_ERROR);
  lua_pop(L, 1);
  lua_pushvalue(L, m);
  lua_setiuservalue(L, idx, GROUP_LAST_ERROR);
  return first;
}

/* (Failure, quiet_exceptions): logs the error of a child. */
static int log_child(lua_State *L) {
  lunado__cancel_log(L, lunado__realm_find(L), "Error in a TaskGroup: ", 1, 2);
  return 0;
}

/* (error, quiet_exceptions): logs the error of the body. */
static int log_body(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  if (lunado__exception_is(L, realm, 1, LUNADO_E_CANCELLED) ||
      lunado__quiet_covers(L, 1, 2))
    return 0;
  lua_pushliteral(L, "Error in the body of a TaskGroup: ");
  lunado__text_push(L, 1);
  lua_concat(L, 2);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
  return 0;
}

/* Calls one of these with the value on top, and pops it. */
static void log_later(lua_State *L, lunado_realm *realm, int idx,
                      lua_CFunction function) {
  if (!lua_checkstack(L, GROUP_STACK)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcfunction(L, function);
  lua_insert(L, -2);
  lua_getiuservalue(L, idx, GROUP_QUIET);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    lunado__log_value(L, realm,
                      "Error in a TaskGroup; its text cannot be "
                      "made: ");
}

/* True if the failed Future on top, whose Failure is at `failure`, is that of a
 * child that was cancelled: it has ended quietly. */
static bool ended_quietly(lua_State *L, lunado_realm *realm, int future,
                          int failure) {
  const lunado_future *self = lua_touserdata(L, future);
  return self->flags & LUNADO_WAS_CANCELLED &&
         lunado__failure_is_cancelled(L, realm, failure);
}

/* Takes the outcome of the member at m, whose Future is done. */
static void take_outcome(lua_State *L, lunado_realm *realm, int idx, int m) {
  int future = lua_gettop(L) + 1, failure = future + 1;
  lua_getiuservalue(L, m, MEMBER_FUTURE);
  if (((lunado_future *)lua_touserdata(L, future))->state == LUNADO_FAILED) {
    lua_getiuservalue(L, future, LUNADO_FUTURE_VALUE);
    if (!ended_quietly(L, realm, future, failure)) {
      lunado__failure_observe(L, failure);
      if (add_error(L, idx, m)) {
        lua_setiuservalue(L, idx, GROUP_FIRST);
        fail(L, realm, idx, "another task of the group has failed");
      } else {
        log_later(L, realm, idx, log_child);
      }
    }
  }
  lua_settop(L, future - 1);
}

/* --- the end of a child --------------------------------------------------- */

/* Settles the Future on top without results, unless it is done, and pops it. */
static void settle(lua_State *L, lunado_realm *realm) {
  lunado_future *future = lua_touserdata(L, -1);
  if (lunado_future_pending(future)) {
    future->count = 0;
    lua_pushnil(L);
    lunado__settle(L, realm, lua_gettop(L) - 1, LUNADO_DONE);
  }
  lua_pop(L, 1);
}

/* Ends the epochs all of whose members have ended. */
static void end_epochs(lua_State *L, lunado_realm *realm, int idx) {
  int oldest = lua_gettop(L) + 1;
  for (;;) {
    lua_getiuservalue(L, idx, GROUP_OLDEST);
    if (((epoch *)lua_touserdata(L, oldest))->left > 0 ||
        lua_getiuservalue(L, oldest, EPOCH_FUTURE) == LUA_TNIL)
      break;
    lua_getiuservalue(L, oldest, EPOCH_NEXT);
    lua_setiuservalue(L, idx, GROUP_OLDEST);
    settle(L, realm);
    lua_settop(L, oldest - 1);
  }
  lua_settop(L, oldest - 1);
}

/* Ends the wait of the block's end if this was the last child. */
static void end_join(lua_State *L, lunado_realm *realm, int idx) {
  group *self = lua_touserdata(L, idx);
  if (self->count > 0 || !self->joining) return;
  self->ended = true;
  lua_getiuservalue(L, idx, GROUP_JOIN);
  settle(L, realm);
}

static void on_child(lunado_settler *settler, lunado_waiter *waiter,
                     lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  int m = lua_gettop(L) + 1, idx = m + 1;
  (void)future;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, m, MEMBER_GROUP);
  lua_getiuservalue(L, idx, GROUP_MEMBERS);
  lua_pushvalue(L, m);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_getiuservalue(L, m, MEMBER_EPOCH);
  ((epoch *)lua_touserdata(L, -1))->left--;
  lua_settop(L, idx);
  ((group *)lua_touserdata(L, idx))->count--;
  take_outcome(L, realm, idx, m);
  end_epochs(L, realm, idx);
  end_join(L, realm, idx);
  lua_settop(L, m - 1);
}

/* --- spawning ------------------------------------------------------------- */

/* Pushes a new member of the group at idx. */
static member *push_member(lua_State *L, int idx) {
  member *self = lua_newuserdatauv(L, sizeof *self, MEMBER_VALUES);
  self->waiter.list = NULL;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, MEMBER_GROUP);
  return self;
}

/* Puts the member at m into the set of members, while the group cannot be
 * cancelled.  If the spawn raises afterwards, it stays there without a
 * Future. */
static void add_member(lua_State *L, int m) {
  lua_getiuservalue(L, 1, GROUP_MEMBERS);
  lua_pushvalue(L, m);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static void remove_member(lua_State *L, int m) {
  lua_getiuservalue(L, 1, GROUP_MEMBERS);
  lua_pushvalue(L, m);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Makes the member at 2 wait for its pending Future at 3. */
static void wait_for(lua_State *L, group *self) {
  member *m = lua_touserdata(L, 2);
  if (!lunado__owner_wait(L, 3, 2, &m->waiter, on_child)) return;
  lua_getiuservalue(L, 1, GROUP_EPOCH);
  ((epoch *)lua_touserdata(L, -1))->left++;
  lua_setiuservalue(L, 2, MEMBER_EPOCH);
  self->count++;
}

/* Pushes the Future of a function that was not called, since the group is
 * cancelled. */
static int refuse(lua_State *L, lunado_realm *realm) {
  lua_settop(L, 1);
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  lua_getiuservalue(L, 1, GROUP_NOTICE);
  lunado__settle_copy(L, realm, 3, 2);
  lua_settop(L, 2);
  return 1;
}

/* group:spawn(fn, ...) → the Future of fn(...), called as a coroutine of the
 * group.  In a cancelled group fn is not called, and the Future has failed. */
static int group_spawn(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  group *self = check_group(L, realm);
  lunado__checkcallable(L, 2);
  if (self->ended) return luaL_error(L, "the TaskGroup has ended");
  if (self->cancelled) return refuse(L, realm);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  (void)push_member(L, 1);
  add_member(L, lua_gettop(L));
  lua_insert(L, 2);
  lunado__coroutine_spawn_any(L, realm, lua_gettop(L) - 3);
  self->spawned++;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 2, MEMBER_FUTURE);
  if (lunado_future_pending(lua_touserdata(L, 3))) wait_for(L, self);
  if (!lunado_future_pending(lua_touserdata(L, 3))) {
    remove_member(L, 2);
    take_outcome(L, realm, 1, 2);
  } else if (self->cancelled) {
    lua_getiuservalue(L, 1, GROUP_NOTICE);
    if (lua_getiuservalue(L, 3, LUNADO_FUTURE_TASK) != LUA_TNIL)
      lunado__cancel_task(L, realm, 5, 4);
  }
  lua_settop(L, 3);
  return 1;
}

/* --- methods -------------------------------------------------------------- */

/* group:cancel([reason]): cancels the children; in tasks.group, the body as
 * well. */
static int group_cancel(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  group *self = check_group(L, realm);
  lua_settop(L, 2);
  if (self->ended) return 0;
  if (!self->cancelled) {
    lunado__cancel_notice(L, realm, 2, 1);
    set_notice(L, 1);
  }
  if (self->owns_body) cancel_body(L, realm, 1);
  cancel_children(L, realm, 1);
  return 0;
}

/* Pushes a new epoch. */
static void push_epoch(lua_State *L) {
  epoch *self = lua_newuserdatauv(L, sizeof *self, EPOCH_VALUES);
  self->left = 0;
}

/* group:wait() → a Future that is done when all children have ended that were
 * spawned before this call. */
static int group_wait(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const group *self = check_group(L, realm);
  lua_settop(L, 1);
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  push_epoch(L);
  if (self->count == 0) {
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    settle(L, realm);
    return 1;
  }
  lua_getiuservalue(L, 1, GROUP_EPOCH);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, EPOCH_FUTURE);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, EPOCH_NEXT);
  lua_settop(L, 3);
  lua_setiuservalue(L, 1, GROUP_EPOCH);
  return 1;
}

/* group:errors() → a list of the errors of the body and the children, in
 * order. */
static int group_errors(lua_State *L) {
  (void)check_group(L, lunado__realm_upvalue(L));
  lua_settop(L, 1);
  lua_newtable(L);
  lua_getiuservalue(L, 1, GROUP_ERROR);
  for (lua_Integer i = 1; !lua_isnil(L, 3); i++) {
    lua_getiuservalue(L, 3, MEMBER_ERROR);
    if (lunado__failure_at(L, lunado__realm_upvalue(L), -1) != NULL)
      lua_getiuservalue(L, -1, LUNADO_FAILURE_ERROR);
    lua_rawseti(L, 2, i);
    lua_getiuservalue(L, 3, MEMBER_NEXT_ERROR);
    lua_replace(L, 3);
    lua_settop(L, 3);
  }
  lua_settop(L, 2);
  return 1;
}

static int group__tostring(lua_State *L) {
  const group *self = check_group(L, lunado__realm_upvalue(L));
  if (self->ended)
    lua_pushfstring(L, "TaskGroup: %p (ended)", self);
  else
    lua_pushfstring(L, "TaskGroup: %p (%I running)", self, self->count);
  return 1;
}

/* --- the end of the block ------------------------------------------------- */

/* What the end of the block returns. */
enum {
  END_CLOSE, /* nothing: it is __close */
  END_TELL   /* whether it has waited */
};

/* Ends the group where its end cannot wait: its coroutine is closed, or
 * something on its stack cannot be suspended. */
static int end_at_once(lua_State *L, lunado_realm *realm) {
  group *self = lua_touserdata(L, 1);
  bool running;
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  self->joining = true; /* so that it is not abandoned */
  running = lunado__scope_close(L, realm, 3);
  self->ended = true;
  set_new_notice(L, realm, 1, "the group was closed");
  cancel_children(L, realm, 1);
  if (running && self->count > 0)
    return luaL_error(L, "a TaskGroup cannot wait for its tasks inside a "
                         "function that cannot be suspended");
  return 0;
}

/* The body has raised the error at 2, or its last wait was cancelled. */
static void end_body(lua_State *L, lunado_realm *realm) {
  bool own;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  own = lunado__scope_is_own(L, 3, 2);
  lua_settop(L, 2);
  if (own) return;
  lua_getiuservalue(L, 1, GROUP_BODY);
  lua_pushvalue(L, 2);
  if (!add_error(L, 1, 3)) {
    lua_pushvalue(L, 2);
    log_later(L, realm, 1, log_body);
  }
  fail(L, realm, 1, "the body of the group has failed");
  lua_settop(L, 2);
}

/* All children have ended. */
static int leave(lua_State *L, lunado_realm *realm, int end, bool waited) {
  group *self = lua_touserdata(L, 1);
  lua_settop(L, 2);
  self->ended = true;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  (void)lunado__scope_close(L, realm, 3);
  if (lua_getiuservalue(L, 1, GROUP_FIRST) != LUA_TNIL) {
    lunado__received_pass(L, realm);
    return lua_error(L);
  }
  if (end == END_CLOSE && waited && lua_isnil(L, 2))
    lunado__scope_raise_due(L, realm);
  lua_pushboolean(L, waited);
  return end == END_TELL;
}

/* An error was raised in place of the end of the wait. */
static int break_off(lua_State *L, lunado_realm *realm) {
  group *self = lua_touserdata(L, 1);
  self->ended = true;
  set_new_notice(L, realm, 1, "the group was closed");
  cancel_children(L, realm, 1);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  (void)lunado__scope_close(L, realm, lua_gettop(L));
  lua_pop(L, 1);
  return lunado__await_result(L, realm, 0);
}

static int joined(lua_State *L, int status, lua_KContext end) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)status;
  if (realm->coroutines.throwing) return break_off(L, realm);
  return leave(L, realm, (int)end, true);
}

/* (group, err): ends the block; err is the error that ended the body, or
 * nil. */
static int end_block(lua_State *L, int end) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  group *self = check_group(L, realm);
  bool inside;
  lua_settop(L, 2);
  if (self->ended) return 0;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  inside = lunado__scope_is_inside(L, realm, 3);
  if (!inside) return end_at_once(L, realm);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) end_body(L, realm);
  if (self->count == 0) return leave(L, realm, end, false);
  self->joining = true;
  lua_getiuservalue(L, 1, GROUP_JOIN);
  return lunado__await(L, realm, 3, end, joined);
}

static int group__close(lua_State *L) { return end_block(L, END_CLOSE); }

/* group_finish(group [, err]) → whether it had to wait. */
static int core_group_finish(lua_State *L) { return end_block(L, END_TELL); }

/* group_is_own(group, err) → whether err is the error with which the group has
 * cancelled the body. */
static int core_group_is_own(lua_State *L) {
  (void)check_group(L, lunado__realm_upvalue(L));
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  lua_pushboolean(L, lunado__scope_is_own(L, 3, 2));
  return 1;
}

/* --- groups that are not closed ------------------------------------------- */

/* (group, what): pushes the message. */
static int make_message(lua_State *L) {
  lua_getiuservalue(L, 1, GROUP_PLACE);
  lua_pushfstring(L, "TaskGroup of %s %s", lua_tostring(L, 3),
                  (const char *)lua_touserdata(L, 2));
  return 1;
}

static void log_misuse(lua_State *L, lunado_realm *realm, int idx,
                       const char *what) {
  lua_pushcfunction(L, make_message);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, (void *)what);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    lunado__log(L, realm, LUNADO_LOG_ERROR);
  else
    lunado__log_value(L, realm, "a TaskGroup was not closed: ");
}

void lunado__group_abandon(lua_State *L, lunado_realm *realm, int idx) {
  group *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  if (self->ended || self->joining || !has_stack(L, realm)) return;
  self->ended = true;
  log_misuse(L, realm, idx, "was not closed: use local group <close>");
  set_new_notice(L, realm, idx, "the group was not closed");
  cancel_children(L, realm, idx);
  lua_settop(L, top);
}

static int group__gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const group *self = lua_touserdata(L, 1);
  lua_settop(L, 1);
  if (!self->open || self->ended) return 0;
  lua_getiuservalue(L, 1, GROUP_PLACE);
  switch (lunado__gc_canary_cause(L, realm, self->sequence)) {
  case LUNADO_GC_COLLECTED:
    log_misuse(L, realm, 1, "was collected while it was open");
    break;
  case LUNADO_GC_UNCERTAIN:
    lua_pushfstring(L, "TaskGroup of %s was collected while it was open",
                    lua_tostring(L, 2));
    lunado__gc_canary_log(L, realm, LUNADO_GC_UNCERTAIN);
    break;
  case LUNADO_GC_CLOSING:
    break;
  }
  return 0;
}

/* --- opening -------------------------------------------------------------- */

/* Pushes a new group without a scope. */
static group *push_group(lua_State *L, lunado_realm *realm, int quiet) {
  group *self = lua_newuserdatauv(L, sizeof *self, GROUP_VALUES);
  int idx = lua_gettop(L);
  *self = (group){.sequence = ++realm->collector.sequence};
  lunado__getslot(L, realm, LUNADO_SLOT_GROUP);
  lua_setmetatable(L, idx);
  lua_newtable(L);
  lua_setiuservalue(L, idx, GROUP_MEMBERS);
  ((lunado_future *)lunado__future_new(L, realm, LUNADO_KIND_PLAIN,
                                       sizeof(lunado_future), 1))
      ->flags |= LUNADO_IS_KEPT;
  lua_setiuservalue(L, idx, GROUP_JOIN);
  (void)push_member(L, idx);
  lua_setiuservalue(L, idx, GROUP_BODY);
  push_epoch(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, GROUP_OLDEST);
  lua_setiuservalue(L, idx, GROUP_EPOCH);
  lua_pushvalue(L, quiet);
  lua_setiuservalue(L, idx, GROUP_QUIET);
  return self;
}

/* Returns an open group with the quiet_exceptions on top. */
static group *open_group(lua_State *L, lunado_realm *realm) {
  int quiet = lua_gettop(L), idx = quiet + 1;
  group *self = push_group(L, realm, quiet);
  lunado__naming_pushplace(L, realm, L);
  lua_setiuservalue(L, idx, GROUP_PLACE);
  lunado__scope_push_group(L, realm, idx);
  lua_setiuservalue(L, idx, GROUP_SCOPE);
  self->open = true;
  return self;
}

/* TaskGroup([opts]) → an open group.  opts.quiet_exceptions are the errors that
 * are not logged when they come later than another. */
static int tasks_task_group(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_pushnil(L);
  } else {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "quiet_exceptions");
    lua_insert(L, 1);
    lunado__quiet_check(L, 1);
    lua_settop(L, 1);
  }
  (void)open_group(L, lunado__realm_upvalue(L));
  return 1;
}

/* body_group() → an open group that owns its body. */
static int core_body_group(lua_State *L) {
  lua_settop(L, 0);
  lua_pushnil(L);
  open_group(L, lunado__realm_upvalue(L))->owns_body = true;
  return 1;
}

static const luaL_Reg methods[] = {{"cancel", group_cancel},
                                   {"errors", group_errors},
                                   {"spawn", group_spawn},
                                   {"wait", group_wait},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", group__close},
                                       {"__gc", group__gc},
                                       {"__tostring", group__tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"TaskGroup", tasks_task_group},
                                     {"body_group", core_body_group},
                                     {"group_finish", core_group_finish},
                                     {"group_is_own", core_group_is_own},
                                     {NULL, NULL}};

void lunado__group_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

/* The metatable is in a slot: see lunado__scope_open. */
void lunado__group_open(lua_State *L, lunado_realm *realm) {
  lua_createtable(L, 0, 6);
  lunado__setfunctions(L, metamethods);
  lua_createtable(L, 0, sizeof methods / sizeof methods[0]);
  lunado__setfunctions(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "TaskGroup");
  lua_setfield(L, -2, "__name");
  lua_pushliteral(L, "lunado");
  lua_setfield(L, -2, "__metatable");
  realm->types.group = lua_topointer(L, -1);
  lunado__setslot(L, realm, LUNADO_SLOT_GROUP);
}
