/* SPDX-License-Identifier: MIT */
/*
 * realm.h - the data of one Lua state, which all rooms share.
 *
 * A realm contains everything of lunado's that belongs to one Lua state.  It is
 * a userdata in the registry, and the first upvalue of every function of the
 * binding; the metatable of Future is the second.
 *
 * Lua's objects hold each other; C only borrows them:
 *   - a pending Future holds the owners of its waiters (user value 1), and a
 *     coroutine's Future its task (user value 2);
 *   - a task holds its thread (1), the Future of its outcome (2), the Failures
 *     that its coroutine received (3), and its scopes (4);
 *   - the stack of a suspended thread holds, on top, the Future that the thread
 *     waits for;
 *   - the registry holds an open loop.  The loop holds its queue; its handlers
 *     of descriptors (1); and, by anchors, running timers, listeners, streams
 *     that are waited for, and Futures of sleeps, promises and look-ups.
 * So a raw pointer to a waiter is valid while the waiter is linked: the
 * Future's user value holds its owner.
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
typedef struct lunado_walk lunado_walk;
typedef struct lunado_failure lunado_failure;

/* Upvalues of every function of the binding. */
enum { LUNADO_UP_REALM = 1, LUNADO_UP_FUTURE = 2, LUNADO_UPVALUES = 2 };

/* Slots: indices of the realm's table (registry[realm->table]). */
enum {
  LUNADO_SLOT_LOOPS = 1,  /* address of an ioloop -> its userdata */
  LUNADO_SLOT_DEFERRED,   /* address of a deferred waiter -> its owner */
  LUNADO_SLOT_CONVERTERS, /* metatable, light userdata or type name -> function
                           */
  LUNADO_SLOT_CLASSES,    /* list: lunado_error_class + 1 -> class */
  LUNADO_SLOT_LOADED,     /* Lua modules, by name, for a second require */
  LUNADO_SLOT_SOURCES,    /* sources of the chunks of these modules -> true */
  LUNADO_SLOT_BEHIND,    /* function that a decorator has returned -> the user's
                            function inside; ephemeron */
  LUNADO_SLOT_NO_MEMORY, /* the Failure that is used when there is no memory for
                            another */
  LUNADO_SLOT_RECEIVED,  /* weak: the Failure whose error was last given to code
                            that runs outside of coroutines: received.h */
  LUNADO_SLOT_RAISED, /* the Failure of the error last raised in a callback */
  LUNADO_SLOT_INTERRUPT, /* the Failure that ends the runs of loops, or false */
  LUNADO_SLOT_LOG_HANDLER, /* function(level, message), or false */
  LUNADO_SLOT_CONTEXT,     /* the current stack contexts, or false */
  LUNADO_SLOT_WRAP,        /* function(fn) -> fn within the current contexts */
  LUNADO_SLOT_WRAPPED,     /* function that SLOT_WRAP has returned -> its fn;
                              ephemeron */
  LUNADO_SLOT_WRAPPED_TASKS, /* task, while it is suspended -> function that
                           resumes it within its contexts; ephemeron */
  LUNADO_SLOT_INCONSISTENT,  /* function() -> StackContextInconsistentError */
  LUNADO_SLOT_MOMENT,        /* gen.moment */
  LUNADO_SLOT_KWARGS, /* function(fn, ...) -> Future: calls a coroutine function
                         whose last argument is util.kwargs */
  LUNADO_SLOT_WATCHED, /* thread -> the record of its coroutine (watch.c);
                          ephemeron */
  LUNADO_SLOT_FINISH,  /* function(thread, succeeded): called when the thread's
                          coroutine has ended; may raise */
  LUNADO_SLOT_THREAD_HOOK, /* function(thread): called when a coroutine begins;
                              or false */
  LUNADO_SLOT_LUV,         /* luv's module table, once the loop is shared */
  LUNADO_SLOT_CANARY,      /* weak: the canary, which notices collections */
  LUNADO_SLOT_COMPANION,   /* the object that notices the end of the state */
  LUNADO_SLOT_UNCERTAIN,   /* warnings that the next collection confirms */
  LUNADO_SLOT_TRACKED, /* while tracking: suspended task -> time of its first
                          suspension; ephemeron */
  LUNADO_SLOT_SIGNALS, /* signals.c's object that notices signals */
  LUNADO_SLOT_QUIET, /* Future on which with_timeouts timed out -> list of their
                        quiet_exceptions; ephemeron */
  LUNADO_SLOT_CHAINED,    /* ticket that is the target of chain_future -> its
                             witness (dependent.c); ephemeron */
  LUNADO_SLOT_WEAK,       /* metatable for weak values */
  LUNADO_SLOT_RUN_FAILED, /* the Failure of the host's last run, or false */
  LUNADO_SLOT_GIVEN_UP,   /* the Failure because of which no turn could begin
                             and a run gave up */
  LUNADO_SLOT_STREAMS,    /* address of an iostream -> its userdata; weak */
  LUNADO_SLOT_WRITTEN,    /* Future of a write that was done at once */
  LUNADO_SLOT_CANCELLERS, /* Future -> function that gives it up; ephemeron */
  LUNADO_SLOT_LAST_NOTICE, /* the notice that is used when there is no memory
                              for another */
  LUNADO_SLOT_SCOPE,       /* the metatable of scopes */
  LUNADO_SLOT_GROUP,       /* the metatable of TaskGroups */
  LUNADO_SLOT_CANCEL_REQUEST, /* function(future, request): lunado.uv's */
  LUNADO_SLOT_FOREIGN,        /* function() -> how the coroutine of another
                                 library that runs has to wait; nil if none
                                 runs */
  LUNADO_SLOT_THROWN, /* the error that core.throw raises in a coroutine */
  LUNADO_SLOT_COUNT = LUNADO_SLOT_THROWN
};

/* Where a settle that is on the C stack finds the owners of the waiters that it
 * runs. */
typedef struct lunado_settle_frame lunado_settle_frame;
struct lunado_settle_frame {
  lua_State *L;
  int owners; /* stack index: the owner, or a table address -> owner */
};

/* The maximum number of tasks, with their threads, that are kept for reuse when
 * their coroutines have ended. */
#define LUNADO_IDLE_TASKS 256

/* Points to the function that makes the parts of a realm that other files
 * use. */
typedef void (*const *lunado_realm_filler)(lua_State *L, lunado_realm *realm);

struct lunado_realm {
  lunado_realm_filler filler;    /* of this realm */
  lua_State *main;               /* the state's main thread */
  int table;                     /* reference in the registry to the slots */
  struct lunado_attachment *luv; /* luv/'s: attaches luv to the default loop */

  /* Identities of metatables, for fast tests.  The registry holds the
   * metatables. */
  struct {
    const void *future;
    const void *task;
    const void *ioloop;
    const void *failure;
    const void *iterator; /* of WaitIterator */
    const void *witness;
    const void *bond;
    const void *executor;
    const void *stream;
    const void *listener;
    const void *descriptor;
    const void *process;
    const void *scope;
    const void *group;
    const void *exceptions[10]; /* their classes, by lunado_error_class */
    const void *kwargs; /* of util.kwargs; NULL: not loaded */
    int future_class;   /* reference in the registry to Future's metatable */
    int failure_class;  /* the same, to that of Failures */
  } types;

  /* state/log.c's */
  struct {
    int level;               /* the lowest level that is logged */
    lunado_log_fn *host_log; /* the host's log handler; NULL: none */
    void *host_log_data;
  } logging;

  /* state/context.c's */
  struct {
    const void *current; /* identity of SLOT_CONTEXT; NULL: none */
  } contexts;

  /* Of error/, coroutine/received.c and loop/interrupt.c. */
  struct {
    int handler;               /* reference in the registry to the message
                                  handler, lunado__callback_handler */
    const lua_State *receiver; /* the thread on which SLOT_RECEIVED was set;
                                  NULL: it is not set */
    bool interrupted;          /* SLOT_INTERRUPT is in use */
    bool unnamed_hooks;        /* Lua does not name a hook called from C */
  } errors;

  /* future/'s */
  struct {
    lunado_settler settler;     /* of all Futures of this state */
    lunado_settle_frame *frame; /* the innermost settle; it is on the C stack */
    unsigned deferred;          /* entries of SLOT_DEFERRED */
    unsigned deferred_most;     /* the most since that table was made */
  } futures;

  /* coroutine/'s */
  struct {
    lunado_task *current; /* the task of the running coroutine; its runner's
                             stack holds it */
    lunado_task *yielder; /* the task whose yield is being converted; its
                             runner's stack holds it */
    lunado_task *callee; /* the task to start in place of a caller that has just
                            yielded for it; the caller's stack holds it */
    lua_State *runner;   /* the thread that runs `current` */
    int runner_index;    /* the stack index of the task of `current`, in its
                     runner's C    function; valid while `current` is */
    unsigned nesting; /* the number of coroutines on the C stack, each started
                         within the one before */
    uintptr_t stack_base; /* the address on the C stack at which the first of
                             them runs */
    bool awaiting;        /* the yield in progress is gen.await's */
    bool throwing;        /* the coroutine is resumed with an error */
    bool has_thread_hook; /* SLOT_THREAD_HOOK is to be called */
    bool tracking; /* lunado.debug asks for tasks: SLOT_TRACKED is a table */
    uint32_t pass; /* the number of the last walk of a cancellation */
    lunado_walk *walk; /* the walk that is under way (waitcycle.h), or NULL */
    lua_Hook user_hook; /* the debug hook of the coroutine into which an error
                           is being raised */
    int user_hook_mask;
    int user_hook_count;
    lua_CFunction base;      /* of every coroutine: lunado__body_run */
    lua_CFunction decorated; /* the function that gen.coroutine returns; its
                                upvalue 3 is the user's function */
  } coroutines;

  /* coroutine/task.c's: tasks whose coroutines have ended */
  struct {
    lua_State *thread; /* has the tasks on its stack; held by the registry */
    int count;
    lunado_task *tasks[LUNADO_IDLE_TASKS]; /* their addresses */
    bool reuse;                            /* the tasks may be reused */
  } idle;

  /* coroutine/gc_canary.c's */
  struct {
    uint32_t sequence;    /* the number of tasks and canaries created so far */
    uint32_t canary;      /* the `sequence` of the present canary */
    uint32_t last_canary; /* the `sequence` of the previous canary */
    bool canary_lost;     /* there was no memory for a canary */
    bool closing;         /* the state is being closed */
  } collector;

  /* thread/pool.c's, for cancellations; set before the first job.  A job's
   * Future is pending in both. */
  struct {
    /* True if no thread has begun with the job. */
    bool (*is_queued)(const lunado_future *future);
    /* Takes the job of the Future at idx out of the queue, and settles the
     * Future with the Failure on top, which it pops.  [-1, +0, -] */
    void (*withdraw)(lua_State *L, int idx);
  } jobs;

  /* loop/'s; loops are held by SLOT_LOOPS */
  struct {
    lunado_ioloop *current;
    lunado_ioloop *running; /* the loop whose start or run_sync is innermost;
                               its caller's stack holds it */
    lunado_ioloop *default_loop;
    uv_loop_t *host_uv; /* the uv_loop_t that the host gave before the default
                           loop was created */
    lua_State *called;  /* has on its stack the callables that queues are
                           calling, innermost on top; held by the registry */
    uint64_t timeouts;  /* the number of timeouts started so far */
    uint32_t made;      /* the number of loops created so far */
    lunado_link cores;  /* the cores of the loops whose finalizer has not run */
  } loops;
};

/* --- realm.c -------------------------------------------------------------- */

/* Returns the realm, or NULL if there is none.  For hooks and finalizers, which
 * have no upvalues.  [-0, +0, -] */
lunado_realm *lunado__realm_find(lua_State *L);

/* Returns the realm of L's state.  The first use creates it, and calls `filler`
 * to fill it.  [-0, +0, m] */
lunado_realm *lunado__realm_make(lua_State *L, lunado_realm_filler filler);

/* Sets the filler with which lunado__realm will create the realm of L's state.
 * [-0, +0, m] */
void lunado__realm_prepare(lua_State *L, lunado_realm_filler filler);

/* Returns the realm of L's state, which exists already or has been prepared
 * with lunado__realm_prepare.  [-0, +0, m] */
lunado_realm *lunado__realm(lua_State *L);

/* Returns the realm, in a function of the binding.  [-0, +0, -] */
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

/* Pushes the realm, Future's metatable and the value at idx (upvalue 3), then
 * makes `function` a closure over them.  [-0, +1, m] */
void lunado__pushclosure(lua_State *L, lua_CFunction function, int idx);

/* Sets the functions in the table on top, as luaL_setfuncs, with the
 * binding's upvalues.  [-0, +0, m] */
void lunado__setfunctions(lua_State *L, const luaL_Reg *functions);

#endif
