/* SPDX-License-Identifier: MIT */
/*
 * lunado.h - futures, a loop and coroutines for C programs that run Lua.
 *
 * A host opens lunado in its Lua state, runs scripts as coroutines, and gives
 * them Futures which its own code settles: at once, later on the loop, or from
 * another thread.
 *
 *   life cycle   luaL_newstate, luaL_openlibs; lunado_setloop if the host has
 *                a loop; luaopen_lunado; scripts; lua_close; and where the
 *                loop is the host's, one more uv_run before uv_loop_close.
 *   producer     lunado_newfuture, lunado_setresult, lunado_seterror;
 *                from other threads lunado_newpromise, lunado_promise_settle.
 *   consumer     lunado_awaitk inside a coroutine, lunado_result outside;
 *                lunado_runsync for who wants to wait.
 *
 * Threads: a Lua state, its Futures and its loop belong to one thread at a
 * time.  Two functions alone may be called from anywhere, other threads and
 * signal handlers included: lunado_promise_settle and lunado_post.  States
 * share nothing; each may have a thread of its own.
 *
 * Errors: functions that take a lua_State raise Lua errors as Lua's own API
 * does, so call them where an error is caught: from a C function that was
 * called by Lua, or with lua_pcall.  [-o, +p, x] tells, as in Lua's manual,
 * how many values a function pops and pushes, and when it raises: `-` never,
 * `m` only when memory runs out, `v` then and as its text says, `e` anything.
 * Whatever raises or returns an error has changed nothing, unless its text
 * says so.
 * Any number may be given as an index; where there is no Future at it, this
 * is an error that says so ("bad argument #1 to 'f' (future expected, got
 * nil)").
 *
 * "The default loop" is the state's IOLoop.instance(), "the current loop" what
 * IOLoop.current() gives; they are the same unless a script makes more loops.
 */
#ifndef LUNADO_H
#define LUNADO_H

#ifdef __cplusplus
extern "C" {
#endif
#include <lua.h>
#ifdef __cplusplus
}
#endif
#include <uv.h>

/* What this header belongs to; LUNADO_VERSION_NUM counts 100 to each place. */
#define LUNADO_VERSION_MAJOR 0
#define LUNADO_VERSION_MINOR 1
#define LUNADO_VERSION_PATCH 0
#define LUNADO_VERSION_NUM 100
#define LUNADO_VERSION "0.1.0"

#if defined(_WIN32)
#define LUNADO_EXPORT __declspec(dllexport)
#else
#define LUNADO_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- version ------------------------------------------------------------- */

/* The LUNADO_VERSION_NUM of the library that is linked or loaded. */
LUNADO_EXPORT int lunado_version(void);

/* --- memory -------------------------------------------------------------- */

/* Has lunado take the memory that is neither Lua's nor libuv's from `fn`:
 * loops, timers, what is on its way between threads.  `fn` is called as Lua's
 * allocators are, so the one of lua_newstate will do, but from every thread
 * that runs a state, and from those of executors.  NULL: realloc and free.
 * It is the process's: call this first, while no other thread uses lunado.
 * Returns 0; UV_EBUSY while memory of lunado's is in use, and nothing has
 * changed. */
LUNADO_EXPORT int lunado_setallocator(lua_Alloc fn, void *ud);

/* --- opening ------------------------------------------------------------- */

/* Opens lunado, with the Lua files that are part of the library: no file is
 * looked for.  From then on `require` finds "lunado" and its modules.  For
 *   luaL_requiref(L, "lunado", luaopen_lunado, 0);
 * or for package.preload, where it waits for the first require "lunado".
 * Lua's standard libraries must be open; the loop is made on first use.
 * [-0, +1, e] */
LUNADO_EXPORT int luaopen_lunado(lua_State *L);

/* The part of it that is written in C, as the module "lunado.core"; what a
 * lunado/core.so is opened by.  [-0, +1, m] */
LUNADO_EXPORT int luaopen_lunado_core(lua_State *L);

/* --- closing ------------------------------------------------------------- */

/* Closes the state with lua_close and returns 0; or returns UV_EBUSY, and has
 * done nothing, where Lua is on the C stack, so that lua_close would take from
 * under it what it runs on.
 *
 * lua_close itself has no way to refuse.  It may be called, as this function
 * may, outside of all callbacks and
 *   - from a function given to lunado_post,
 *   - from any callback of the host's own handles and requests, and from that
 *     of uv_walk, on the host's uv_loop_t and on lunado's own,
 * provided that the host drives the loop with uv_run.  It must not be called
 * where Lua runs: while IOLoop:start, lunado_runsync or any other function that
 * takes a lua_State is on the C stack, hence from C functions that Lua calls
 * (deliver, continuations, functions of lunado_ondone, finalizers among them),
 * and from the log.  Where luv is loaded, it must not be called from callbacks
 * at all: luv runs the loop while it closes.
 *
 * The host's handles stay as they are.  lunado's own uv_loop_t is there as long
 * as handles or requests of the host's are on it, and until a uv_run that is in
 * progress has returned: to be done with it, close the handles and call uv_run
 * until that returns 0.  [-0, +0, -] */
LUNADO_EXPORT int lunado_close(lua_State *L);

/* --- the loop ------------------------------------------------------------ */

/* Has the state's default loop run on `loop`, which is borrowed: it must
 * outlive the state, and the host may drive it with uv_run, stop it and have
 * handles of its own on it, which lunado leaves alone.  A loop in a script
 * that was started (IOLoop:start, run_sync) drives it just as well.
 * After lua_close the loop's handles are closing: run the loop once more, with
 * UV_RUN_NOWAIT or any other mode, before uv_loop_close.
 * NULL takes back what was given.
 * Returns 0; UV_EBUSY once the default loop is in use.  [-0, +0, m] */
LUNADO_EXPORT int lunado_setloop(lua_State *L, uv_loop_t *loop);

/* The uv_loop_t of the default loop, which is made on first use: the host's,
 * else luv's where luv is loaded, else one of lunado's own.  The code that made
 * it owns it.  lunado's is there until the state or a script closes the loop,
 * and longer where the host has handles on it: see lunado_close.  Raises where luv
 * is loaded and its loop cannot be shared.  [-0, +0, v] */
LUNADO_EXPORT uv_loop_t *lunado_getloop(lua_State *L);

/* How long callbacks and coroutines that are ready may run, in seconds, before
 * the timers, the descriptors and the host's handles on the default loop have
 * their chance; at first 0.001.  It is overdrawn by a callback that takes
 * long.  One pass of uv_run spends so much on turns, and as much at most on
 * timers that are due.  Raises where seconds is not more
 * than 0.  [-0, +0, v] */
LUNADO_EXPORT void lunado_setslice(lua_State *L, double seconds);

/* Whether a handle is one of lunado's, which are not to be closed or touched:
 * for hosts that walk the handles of a loop.  Any handle that uv_walk finds
 * will do. */
LUNADO_EXPORT int lunado_ishandle(const uv_handle_t *handle);

/* --- the log ------------------------------------------------------------- */

/* Receives what is logged: `level` is "debug", "info", "warning" or "error",
 * `message` has no newline at its end, and zeros in it are written \0.  Both
 * are gone when it returns.  Called on the thread of the Lua state; must not
 * raise. */
typedef void lunado_log_fn(void *ud, const char *level, const char *message);

/* Has what is logged go to `fn` instead of to stderr; NULL: to stderr again.
 * A script's log.set_handler takes precedence over it.  Finalizers log, too:
 * it may be called until lua_close returns.  [-0, +0, m] */
LUNADO_EXPORT void lunado_setlog(lua_State *L, lunado_log_fn *fn, void *ud);

/* --- futures: producer --------------------------------------------------- */

/* Pushes a pending Future, an ordinary value that Lua collects.  Whoever is to
 * settle it later has to keep it: in the registry, an upvalue, a user value;
 * for another thread, with lunado_newpromise.  [-0, +1, m] */
LUNADO_EXPORT void lunado_newfuture(lua_State *L);

/* Pops nvalues values and settles the Future at idx, which is below them, with
 * these as its result.  Callbacks that were added to it run before this
 * returns; what they raise is logged.  Coroutines that wait for it go on in a
 * turn of the loop.
 * Returns 0; UV_EALREADY when it is settled already: then the values are
 * popped and nothing else has changed.  Raises where there is no Future, or
 * there are not so many values.  [-nvalues, +0, v] */
LUNADO_EXPORT int lunado_setresult(lua_State *L, int idx, int nvalues);

/* Pops an error, which may be any value, and settles the Future at idx with
 * it, as lunado_setresult does with a result.  nil becomes the string
 * "<no error object>".  An error that no caller asks the Future for is logged
 * when that is collected.
 * Returns 0; UV_EALREADY when the Future is settled already: it stays as it is,
 * the error is popped, and logged as one that was never retrieved.
 * [-1, +0, v] */
LUNADO_EXPORT int lunado_seterror(lua_State *L, int idx);

/* --- futures: consumer --------------------------------------------------- */

/* Whether the value at idx is a Future.  Any number will do as idx.
 * [-0, +0, -] */
LUNADO_EXPORT int lunado_isfuture(lua_State *L, int idx);

/* Pushes what the Future at idx came to, and returns how many values these
 * are; -1 when it has failed, with the error pushed, which counts as seen from
 * now on; -2 while it is pending, with nothing pushed.
 * [-0, +(n|1|0), v] */
LUNADO_EXPORT int lunado_result(lua_State *L, int idx);

/* Pops a function, which is above the Future at idx, and has it called with the
 * Future as its argument when that is done, as add_done_callback does: before
 * whatever settles the Future returns; at once when it is done already.  What
 * the function raises is logged.  The Future holds the function: what a C
 * function needs are its upvalues.  It is called by Lua: it may settle other
 * Futures and spawn coroutines, but can neither yield nor close the state.
 * [-1, +0, v] */
LUNADO_EXPORT void lunado_ondone(lua_State *L, int idx);

/* Pushes where the error of the failed Future at idx was raised, and the lines
 * at which coroutines awaited it, as exc_info has it; the error counts as seen
 * from now on.  idx may also be where the error is that lunado_runsync has
 * just returned.  Returns 1; or 0 with nothing pushed where there is none: for
 * another value, a Future that has not failed, or an error that was not raised
 * in Lua.  [-0, +(1|0), m] */
LUNADO_EXPORT int lunado_traceback(lua_State *L, int idx);

/* For C functions that wait, to be used as
 *   return lunado_awaitk(L, idx, ctx, k);
 * Has k(L, status, ctx) called with the results of the Future at idx pushed
 * above what is on the stack now: at once, with status LUA_OK, when it is
 * done, else with status LUA_YIELD when the coroutine is resumed.  k returns
 * what the C function is to return; it may wait again.
 * When the Future has failed or fails, its error is raised instead of calling
 * k, as if by the C function.  Where k is NULL the C function returns the
 * results.  Raises as gen.await does where the running function is no coroutine
 * of lunado's, or cannot be suspended.
 * Memory that the C function owns in the meantime must be Lua's: a coroutine
 * that is never resumed is collected.  [-?, +?, e] */
LUNADO_EXPORT int lunado_awaitk(lua_State *L, int idx, lua_KContext ctx,
                                lua_KFunction k);

/* --- errors -------------------------------------------------------------- */

/* Whether the value at idx is an error object of the class that is called
 * `name`, or of one derived from it: "TimeoutError", "CancelledError",
 * "Exception" for all of them.  [-0, +0, m] */
LUNADO_EXPORT int lunado_iserror(lua_State *L, int idx, const char *name);

/* Pushes the class of errors that is called `name`, and returns 1; 0 with
 * nothing pushed where no module of lunado's that is loaded has one.
 * [-0, +(1|0), m] */
LUNADO_EXPORT int lunado_pushclass(lua_State *L, const char *name);

/* Pushes a new error object of that class, to be raised with lua_error or given
 * to lunado_seterror.  Raises where there is no such class.  [-0, +1, v] */
LUNADO_EXPORT void lunado_pusherror(lua_State *L, const char *name,
                                    const char *message);

/* --- coroutines ---------------------------------------------------------- */

/* Pops a function and the nargs arguments above it, calls it as a coroutine
 * of lunado's and pushes the Future of its results.  It runs at once, to the
 * first time it has to wait; from there on the loop resumes it, so the loop
 * has to run.  Its errors fail the Future and are not raised here.  The
 * coroutine lives as long as what it waits for can come, whether or not the
 * Future is kept.
 * Returns 0.  Raises where there are not so many values. [-(nargs+1), +1, v] */
LUNADO_EXPORT int lunado_spawn(lua_State *L, int nargs);

/* Calls a function with the nargs arguments above it as a coroutine and runs
 * the default loop until it is done; a Future that it returns is awaited.
 * Replaces function and arguments by the results and returns LUA_OK, or by
 * the error, unchanged, and returns LUA_ERRRUN, or LUA_ERRMEM for want of
 * memory.  Fails with util.TimeoutError after `timeout` seconds (0 or less:
 * never); the function is not stopped by that and goes on when the loop runs
 * again.  Fails when nothing is left that could ever wake the function, when
 * the loop is stopped or closed before it is done, and where the loop is
 * running already.  That can be seen where lunado has called; callbacks of the
 * host's own handles must not call this, for uv_run does not nest.
 * [-(nargs+1), +(n|1), v], and raises only where there are not so many
 * values. */
LUNADO_EXPORT int lunado_runsync(lua_State *L, int nargs, double timeout);

/* --- other threads: promises --------------------------------------------- */

/* The right to settle one Future, once, from any thread.  What it is called by
 * is not an address of memory: it may be kept, used and used again however
 * late, and there is nothing to free. */
typedef struct lunado_promise lunado_promise;

/* A promise of the Future at idx.  From now on the current loop holds the
 * Future and counts as having something to wait for, until the promise is
 * settled: so settle each one, with an error where the work has failed.
 * Never NULL.  Several promises of one Future are allowed; the first that is
 * delivered settles it, and so does a lunado_setresult that comes before.
 * Raises where the loop is closing, where it has 1,048,576 promises that are
 * not settled, and where 4,096 open loops of the process are known to other
 * threads (4,096 and 256 where pointers have 32 bits).  [-0, +0, v] */
LUNADO_EXPORT lunado_promise *lunado_newpromise(lua_State *L, int idx);

/* Settles the promise, from any thread or signal handler: has deliver(L)
 * called in the next turn of the loop, on its thread, with `ud` as a light
 * userdata for the one argument.  The values that deliver returns are
 * the result of the Future, what it raises is its error; deliver NULL: no
 * values.  L is the state's, but not the coroutine that waits; deliver cannot
 * yield, nor run the loop.  Settlements of one thread are delivered in their
 * order; one for which Lua has no memory even to call comes later.
 * Allocates nothing and never blocks.
 * Returns
 *   0             deliver will be called, exactly once: in a turn, or, when
 *                 the loop closes before that, while it closes.  What `ud`
 *                 points to is deliver's now.
 *   UV_EALREADY   the promise was settled before,
 *   UV_ECANCELED  its loop, or the state, has closed: in both cases deliver is
 *                 not called, and `ud` is still the caller's. */
LUNADO_EXPORT int lunado_promise_settle(lunado_promise *promise,
                                        lua_CFunction deliver, void *ud);

/* --- other threads: posts ------------------------------------------------ */

/* The default loop, as other threads and signal handlers may call it.  As with
 * promises, this is not an address of memory, may be used however late, and
 * there is nothing to free. */
typedef struct lunado_loop lunado_loop;

/* The name of the default loop, always the same one while that is open; never
 * NULL.  Raises where the loop is closing, and where 4,096 open loops of the
 * process are known to other threads (256 where pointers have 32 bits).
 * [-0, +0, v] */
LUNADO_EXPORT lunado_loop *lunado_looponly(lua_State *L);

/* Wakes the loop and has fn(arg) called in its next turn, on its thread; fn
 * NULL: only wakes it.  From any thread and from signal handlers.  Keeps the
 * loop from waiting, but not from ending: a loop that is left with nothing to
 * wait for ends without calling fn.  fn is outside of Lua: it may use the
 * state, but what raises it must call with lua_pcall.
 * Returns 0, and then fn is called once, unless the loop closes before;
 * UV_ENOBUFS when 1024 posts are on their way; UV_ECANCELED when the loop, or
 * the state, has closed. */
LUNADO_EXPORT int lunado_post(lunado_loop *loop, void (*fn)(void *arg),
                              void *arg);

#ifdef __cplusplus
}
#endif

#endif
