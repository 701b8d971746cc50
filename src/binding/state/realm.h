/* SPDX-License-Identifier: MIT */
/*
 * realm.h - what the files of this folder share.
 *
 * A realm is all that belongs to one Lua state.  It is a userdata in the
 * registry, and the first upvalue of every function of the binding; the
 * metatable of Future is the second.
 *
 * Liveness lives in Lua's object graph; C borrows:
 *   - a pending Future holds the owners of its waiters (user value 1), and a
 *     coroutine's Future its task (user value 2);
 *   - a task holds its thread (1), the Future of its outcome (2), and the
 *     Failure that its coroutine was given last (3);
 *   - a suspended thread's stack holds the Future it waits for, on top;
 *   - an open loop is held by the registry, and holds its queue and whatever
 *     it anchors: running timers and watchers.
 * So a raw pointer to a waiter is good while it is linked: the Future's user
 * value holds its owner.
 */
#ifndef LUNADO_BINDING_STATE_REALM_H
#define LUNADO_BINDING_STATE_REALM_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/future.h"
#include "core/loop.h"
#include "lunado.h"

#if LUA_FLOAT_TYPE != LUA_FLOAT_DOUBLE || LUA_MAXINTEGER < 0x7fffffffffffffff
#error \
    "lunado needs a Lua whose numbers have 64 bits: in those of LUA_32BITS \
times cannot tell milliseconds"
#endif

typedef struct lunado_realm lunado_realm;
typedef struct lunado_ioloop lunado_ioloop;
typedef struct lunado_task lunado_task;
typedef struct lunado_failure lunado_failure;

/* Upvalues of every function of the binding. */
enum { LUNADO_UP_REALM = 1, LUNADO_UP_FUTURE = 2, LUNADO_UPVALUES = 2 };

/* Places in the realm's table (registry[realm->table]). */
enum {
  LUNADO_SLOT_LOOPS = 1,    /* address of an ioloop -> its userdata */
  LUNADO_SLOT_DEFERRED,     /* address of a deferred waiter -> its owner */
  LUNADO_SLOT_CONVERTERS,   /* metatable or type name -> function */
  LUNADO_SLOT_CLASSES,      /* list: lunado_error_class + 1 -> class */
  LUNADO_SLOT_LOADED,       /* Lua modules, by name, for a second require */
  LUNADO_SLOT_SOURCES,      /* sources of their chunks -> true */
  LUNADO_SLOT_BEHIND,       /* function that a decorator has made -> the user's
                               function in it; ephemeron */
  LUNADO_SLOT_NO_MEMORY,    /* a Failure for when there is no memory for one */
  LUNADO_SLOT_RECEIVED,     /* weak: the Failure whose error was given last to
                               what runs outside of coroutines: received.h */
  LUNADO_SLOT_FAILURES,     /* address of a task -> Failure of its error, while
                               that unwinds the coroutine's stack */
  LUNADO_SLOT_RAISED,       /* Failure of the error last raised in a callback */
  LUNADO_SLOT_INTERRUPT,    /* Failure that ends the runs of loops, or false */
  LUNADO_SLOT_LOG_HANDLER,  /* function(level, message), or false */
  LUNADO_SLOT_CONTEXT,      /* the current stack contexts, false: none */
  LUNADO_SLOT_WRAP,         /* function(fn) -> fn within the current contexts */
  LUNADO_SLOT_WRAPPED,      /* such a function -> the fn it runs; ephemeron */
  LUNADO_SLOT_CAPTURED,     /* task -> function that resumes it within its
                               contexts, while it is suspended; ephemeron */
  LUNADO_SLOT_INCONSISTENT, /* function() -> StackContextInconsistentError */
  LUNADO_SLOT_MOMENT,       /* gen.moment */
  LUNADO_SLOT_KWARGS,       /* function(fn, ...) -> Future: calls a coroutine
                               function whose last argument is util.kwargs */
  LUNADO_SLOT_WATCHED,      /* thread -> what watch.c knows of its coroutine;
                               ephemeron */
  LUNADO_SLOT_FINISH,       /* function(thread, succeeded): its coroutine is
                               over; may raise */
  LUNADO_SLOT_THREAD_HOOK,  /* function(thread): a coroutine begins; or false */
  LUNADO_SLOT_LUV,          /* luv's module table, once the loop is shared */
  LUNADO_SLOT_CANARY,       /* weak: the object that notices collections */
  LUNADO_SLOT_COMPANION,    /* the one that notices the end of the state */
  LUNADO_SLOT_UNCERTAIN,    /* warnings that the next collection confirms */
  LUNADO_SLOT_TRACKED,      /* while tracking: a task that is suspended -> the
                               time when it first was; ephemeron */
  LUNADO_SLOT_SIGNALS,      /* the object that notices signals: signals.c's */
  LUNADO_SLOT_QUIET,        /* Future that a with_timeout gave up -> list of
                               the quiet_exceptions of all that did; ephemeron
                             */
  LUNADO_SLOT_CHAINED,      /* ticket that is the target of chain_future -> its
                               witness: dependent.c's; ephemeron */
  LUNADO_SLOT_WEAK,         /* metatable for weak values */
  LUNADO_SLOT_RUN_FAILED,   /* Failure of the host's last run, or false */
  LUNADO_SLOT_GIVEN_UP,     /* Failure for which no turn of a run began */
  LUNADO_SLOT_COUNT = LUNADO_SLOT_GIVEN_UP
};

/* Where a settle on the C stack finds the owners of the waiters it runs. */
typedef struct lunado_settle_frame lunado_settle_frame;
struct lunado_settle_frame {
  lua_State *L;
  int owners; /* stack index: the owner, or a table address -> owner */
};

/* Threads of finished coroutines that are kept for later ones. */
#define LUNADO_IDLE_TASKS 256

/* Points to the function that makes the parts of a realm that belong to other
 * files. */
typedef void (*const *lunado_realm_filler)(lua_State *L, lunado_realm *realm);

struct lunado_realm {
  lunado_realm_filler filler; /* of this realm */
  lua_State *main;            /* the state's main thread */
  int table;                  /* reference in the registry to the slots */
  struct lunado_attachment
      *luv; /* what attaches luv to the default loop; luv/'s */

  /* Identities of metatables, for fast tests.  The registry holds them all. */
  struct {
    const void *future;
    const void *task;
    const void *ioloop;
    const void *failure;
    const void *iterator; /* of WaitIterator */
    const void *witness;
    const void *bond;
    const void *kwargs; /* of util.kwargs; NULL: not loaded */
    int future_class;   /* reference in the registry to Future's metatable */
  } types;

  /* state/log.c's */
  struct {
    int level;               /* least level that is logged */
    lunado_log_fn *host_log; /* the host's log handler; NULL: none */
    void *host_log_data;
  } logging;

  /* state/context.c's */
  struct {
    const void *current; /* identity of SLOT_CONTEXT; NULL: none */
  } contexts;

  /* Of error/, coroutine/received.c and loop/interrupt.c. */
  struct {
    int handler;  /* reference in the registry to the message
                     handler, lunado__callback_handler */
    bool passing; /* lunado's own code raises SLOT_RECEIVED again */
    const lua_State
        *receiver;      /* where SLOT_RECEIVED was given; NULL: nowhere */
    bool interrupted;   /* SLOT_INTERRUPT is in use */
    bool unnamed_hooks; /* Lua does not name a hook called from C */
  } errors;

  /* future/'s */
  struct {
    lunado_settler settler;     /* of all Futures of this state */
    lunado_settle_frame *frame; /* innermost settle; lives on the C stack */
    unsigned deferred;          /* entries of SLOT_DEFERRED */
    unsigned deferred_most;     /* that it has had since it was made */
  } futures;

  /* coroutine/'s */
  struct {
    lunado_task *current; /* of the coroutine that runs; its caller's stack
                             holds it */
    lunado_task *yielder; /* whose yield is being converted; its runner's
                             stack holds it */
    lunado_task *callee;  /* to be started in place of a caller that has just
                             yielded for it; on the caller's stack */
    lua_State *runner;    /* runs `current`, whose task is at the index */
    int place;            /* of the C function there; good while `current`
                             is */
    unsigned nesting;     /* coroutines started on the C stack in each other */
    uintptr_t stack_base; /* where on the C stack the first of them runs */
    bool awaiting;        /* the yield in progress is gen.await's */
    bool throwing;        /* the value being resumed with is an error */
    bool has_thread_hook; /* SLOT_THREAD_HOOK is to be called */
    bool tracking;        /* debug asks for tasks: SLOT_TRACKED is a table */
    lua_Hook user_hook;   /* of the coroutine an error is raised into */
    int user_hook_mask;
    int user_hook_count;
    lua_CFunction base;      /* at the base of each: lunado__body_run */
    lua_CFunction decorated; /* what gen.coroutine returns; upvalue 3 is the
                                user's function */
  } coroutines;

  /* coroutine/task.c's: tasks of coroutines that have ended */
  struct {
    lua_State *thread; /* has them on its stack; held by the registry */
    int count;
    lunado_task *tasks[LUNADO_IDLE_TASKS]; /* their addresses */
    bool reuse;                            /* they may serve again */
  } idle;

  /* coroutine/gc_canary.c's */
  struct {
    uint32_t sequence;    /* tasks and canaries made so far */
    uint32_t canary;      /* `sequence` of the present canary, */
    uint32_t last_canary; /* and of the one before */
    bool canary_lost;     /* there was no memory for a canary */
    bool closing;         /* the state is being closed */
  } collector;

  /* loop/'s; loops are held by SLOT_LOOPS */
  struct {
    lunado_ioloop *current;
    lunado_ioloop *running; /* whose start or run_sync is innermost; held
                               by its caller's stack */
    lunado_ioloop *default_loop;
    uv_loop_t *host_uv; /* given by the host before the default loop */
    lua_State *called;  /* has the callables that queues are calling, innermost
                           on top; held by the registry */
    uint64_t timeouts;  /* started so far */
    uint32_t made;      /* loops, so far */
    lunado_link cores;  /* of loops whose finalizer has not run */
  } loops;
};

/* --- context.c: stack contexts -------------------------------------------- */

/* --- callback.c: from a callback into Lua --------------------------------- */

/* The realm if there is one, else NULL; for hooks and finalizers, which have
 * no upvalues.  [-0, +0, -] */
lunado_realm *lunado__realm_find(lua_State *L);

/* The realm of L's state; made, and filled by `filler`, on first use.
 * [-0, +0, m] */
lunado_realm *lunado__realm_make(lua_State *L, lunado_realm_filler filler);

/* Has lunado__realm make the realm of L's state with `filler`.  [-0, +0, m] */
void lunado__realm_prepare(lua_State *L, lunado_realm_filler filler);

/* The realm of L's state, for which that was called, or that has one.
 * [-0, +0, m] */
lunado_realm *lunado__realm(lua_State *L);

/* The realm, for functions of the binding. */
static inline lunado_realm *lunado__realm_upvalue(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(LUNADO_UP_REALM));
}

/* Pushes the value of a slot.  [-0, +1, -] */
void lunado__getslot(lua_State *L, const lunado_realm *realm, int slot);

/* Sets a slot to the value on top.  [-1, +0, -] */
void lunado__setslot(lua_State *L, const lunado_realm *realm, int slot);

/* Pushes the realm and Future's metatable, then makes `function` a closure
 * over them.  [-0, +1, m] */
void lunado__pushfunction(lua_State *L, lua_CFunction function);

/* Makes `function` a closure over them and the value at idx, upvalue 3.
 * [-0, +1, m] */
void lunado__pushclosure(lua_State *L, lua_CFunction function, int idx);

/* Sets the functions in the table on top, as luaL_setfuncs, with the
 * binding's upvalues.  [-0, +0, m] */
void lunado__setfunctions(lua_State *L, const luaL_Reg *functions);

#endif
