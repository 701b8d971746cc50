/* SPDX-License-Identifier: MIT */
/*
 * lunado.h - futures, a loop and coroutines for C programs that run Lua.
 *
 * A host opens lunado in its Lua state, runs scripts as coroutines, and gives
 * them Futures, which its own code settles: at once, later on the loop, or
 * from another thread.
 *
 *   life cycle   luaL_newstate, luaL_openlibs; lunado_setloop if the host has
 *                a loop; luaopen_lunado; scripts; lua_close; and, if the host
 *                has a loop, one more uv_run before uv_loop_close.
 *   producer     lunado_newfuture, lunado_setresult, lunado_seterror;
 *                from other threads lunado_newpromise, lunado_promise_settle.
 *   consumer     lunado_awaitk inside a coroutine, lunado_result outside;
 *                lunado_runsync in callers that can wait.
 *
 * Threads: a Lua state, its Futures and its loop belong to one thread at a
 * time.  Only two functions may be called from other threads and from signal
 * handlers: lunado_promise_settle and lunado_post.  States share nothing; each
 * may have a thread of its own.
 *
 * Errors: functions that take a lua_State raise Lua errors as Lua's own API
 * does, so call them where an error is caught: from a C function that was
 * called by Lua, or with lua_pcall.  [-o, +p, x] tells, as in Lua's manual,
 * how many values a function pops and pushes, and which errors it raises: `-`
 * none; `m` only "not enough memory"; `v` this error and the errors in its
 * description; `e` any error.  A function that raises or returns an error has
 * changed nothing, unless its description says otherwise.
 * Any number may be passed as the index of a Future.  If there is no Future at
 * that index, the function raises an error that says so ("bad argument #1 to
 * 'f' (future expected, got nil)").
 *
 * "The default loop" is the state's IOLoop.instance(), "the current loop" is
 * the result of IOLoop.current(); both are the same loop, unless a script makes
 * more loops.
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

/* Before 5.4.3 a __close handler cannot wait, as the end of a TaskGroup does, and
 * cannot replace an error, as the end of a timeout does.  Before 5.4.2, when an
 * error ends a block of a coroutine that has waited, __close is called with a
 * stack that names functions which are no longer there: a traceback then reads
 * freed memory.  LUA_VERSION_RELEASE_NUM is the same from 5.4.0 to 5.4.3, but
 * luai_likely is new in 5.4.3. */
#if LUA_VERSION_NUM < 504 || !defined(luai_likely)
#error "lunado needs Lua 5.4.3 or later"
#endif

/* Before 1.41, libuv ends the process when a uv_poll_t is closed whose
 * descriptor another handle uses meanwhile, and forgets that binding has
 * failed, and that a connection was reset.  Before 1.42, a stream that was shut
 * down may keep its loop going. */
#if UV_VERSION_HEX < 0x012a00
#error "lunado needs libuv 1.42 or later"
#endif

/* The version of this header.  LUNADO_VERSION_NUM is 10000 * major + 100 *
 * minor + patch. */
#define LUNADO_VERSION_MAJOR 0
#define LUNADO_VERSION_MINOR 2
#define LUNADO_VERSION_PATCH 0
#define LUNADO_VERSION_NUM 200
#define LUNADO_VERSION "0.2.0"

#if defined(_WIN32)
#define LUNADO_EXPORT __declspec(dllexport)
#else
#define LUNADO_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- version ------------------------------------------------------------- */

/* Returns the LUNADO_VERSION_NUM of the library that is linked or loaded. */
LUNADO_EXPORT int lunado_version(void);

/* --- memory -------------------------------------------------------------- */

/* Makes lunado allocate its own memory with `fn`: the memory of loops, timers,
 * messages between threads and so on, but not that of Lua and libuv.  `fn` has
 * the signature and the duties of a Lua allocator, so the allocator passed to
 * lua_newstate can be used; but `fn` is called from every thread that runs a
 * state, and from the threads of executors.  NULL restores realloc and free.
 * The whole process uses this allocator: call this function first, while no
 * other thread uses lunado.
 * Returns 0, or UV_EBUSY while any of that memory is allocated. */
LUNADO_EXPORT int lunado_setallocator(lua_Alloc fn, void *ud);

/* --- opening ------------------------------------------------------------- */

/* Opens lunado and pushes its module table.  The Lua files are part of the
 * library: no file is searched for.  From then on `require` finds "lunado" and
 * its modules.  Call it by
 *   luaL_requiref(L, "lunado", luaopen_lunado, 0);
 * or put it into package.preload, so that the first require "lunado" calls it.
 * Lua's standard libraries must be open.  The loop is made on first use.
 * [-0, +1, e] */
LUNADO_EXPORT int luaopen_lunado(lua_State *L);

/* Opens the part of lunado that is written in C, the module "lunado.core".  Lua
 * calls this function to open a lunado/core.so.  [-0, +1, m] */
LUNADO_EXPORT int luaopen_lunado_core(lua_State *L);

/* --- closing ------------------------------------------------------------- */

/* Closes the state with lua_close and returns 0.  If Lua is on the C stack,
 * does nothing and returns UV_EBUSY, because lua_close would free the state
 * that this Lua code runs on.
 *
 * lua_close itself cannot refuse.  Both functions may be called outside of all
 * callbacks, and
 *   - from a function given to lunado_post,
 *   - from any callback of the host's own handles and requests, and from the
 *     callback of uv_walk, on the host's uv_loop_t and on lunado's own,
 * provided that the host drives the loop with uv_run.  They must not be called
 * while Lua runs: while IOLoop:start, lunado_runsync or any other function
 * that takes a lua_State is on the C stack.  So they must not be called from C
 * functions that Lua calls (such as deliver, continuations, functions of
 * lunado_ondone, finalizers), nor from the log function.  If luv is loaded,
 * they must not be called from any callback, because luv runs the loop while
 * it closes.
 *
 * The host's handles are left open.  If lunado made the uv_loop_t, that loop
 * remains as long as the host has handles or requests on it, and until a
 * uv_run in progress has returned.  To free the loop, close the handles and
 * call uv_run until it returns 0.  [-0, +0, -] */
LUNADO_EXPORT int lunado_close(lua_State *L);

/* --- the loop ------------------------------------------------------------ */

/* Makes the state's default loop run on `loop`.  lunado borrows `loop`, which
 * must outlive the state.  The host may drive `loop` with uv_run, stop it, and
 * have its own handles on it, which lunado does not touch.  IOLoop:start and
 * run_sync in a script drive it as well.
 * After lua_close lunado's handles are still closing: run the loop once more,
 * with UV_RUN_NOWAIT or any other mode, before uv_loop_close.
 * NULL undoes an earlier call.
 * Returns 0, or UV_EBUSY once the default loop is in use.  [-0, +0, m] */
LUNADO_EXPORT int lunado_setloop(lua_State *L, uv_loop_t *loop);

/* Returns the uv_loop_t of the default loop.  The default loop is made on first
 * use: on the host's uv_loop_t; without one, on luv's if luv is loaded; else on
 * a uv_loop_t that lunado makes.  The code that made the uv_loop_t owns it.
 * One made by lunado exists until the state or a script closes the default
 * loop, and longer if the host has handles on it: see lunado_close.  Raises if
 * luv is loaded and its loop cannot be shared.  [-0, +0, v] */
LUNADO_EXPORT uv_loop_t *lunado_getloop(lua_State *L);

/* Sets the time slice of the default loop: the seconds for which the loop runs
 * ready callbacks and coroutines before it serves its timers, its descriptors
 * and the host's handles.  The default is 0.001.  A callback that takes longer
 * is not interrupted.  One pass of uv_run spends one slice on ready callbacks
 * and coroutines, and at most one more slice on timers that are due.
 * Raises unless seconds is more than 0.  [-0, +0, v] */
LUNADO_EXPORT void lunado_setslice(lua_State *L, double seconds);

/* Returns 1 if `handle` belongs to lunado, else 0.  A host that walks the
 * handles of a loop needs it, because it must not touch or close lunado's
 * handles.  Any handle that uv_walk finds may be passed. */
LUNADO_EXPORT int lunado_ishandle(const uv_handle_t *handle);

/* --- the log ------------------------------------------------------------- */

/* Receives one log message.  `level` is "debug", "info", "warning" or "error".
 * `message` has no newline at its end, and zeros in it are written \0.  Both
 * strings are valid only during the call.  The function is called on the thread
 * of the Lua state and must not raise. */
typedef void lunado_log_fn(void *ud, const char *level, const char *message);

/* Makes lunado call `fn` with its log messages instead of writing them to
 * stderr; NULL restores stderr.  A script's log.set_handler takes precedence.
 * `fn` may be called until lua_close returns, because finalizers log, too.
 * [-0, +0, m] */
LUNADO_EXPORT void lunado_setlog(lua_State *L, lunado_log_fn *fn, void *ud);

/* --- futures: producer --------------------------------------------------- */

/* Pushes a pending Future, an ordinary value that Lua collects.  Code that
 * will settle the Future later must keep a reference to it: in the registry, an
 * upvalue or a user value.  If another thread will settle it, lunado_newpromise
 * keeps the reference.  [-0, +1, m] */
LUNADO_EXPORT void lunado_newfuture(lua_State *L);

/* Pops nvalues values and settles the Future at idx, which is below them, with
 * these values as its result.  Its done-callbacks run before this function
 * returns; their errors are logged.  Coroutines that wait for the Future are
 * resumed in a turn of the loop.
 * Returns 0, or UV_EALREADY if the Future is already done: then the values are
 * popped and nothing else has changed.  Raises if there is no Future at idx,
 * or if there are fewer than nvalues values above it.  [-nvalues, +0, v] */
LUNADO_EXPORT int lunado_setresult(lua_State *L, int idx, int nvalues);

/* Pops an error, which may be any value, and settles the Future at idx with
 * it, as lunado_setresult does with a result.  The error nil is replaced by the
 * string "<no error object>".  If the error is never retrieved, it is logged
 * when the Future is collected.
 * Returns 0, or UV_EALREADY if the Future is already done: then the Future
 * keeps its outcome, and the error is popped and logged as never retrieved.
 * [-1, +0, v] */
LUNADO_EXPORT int lunado_seterror(lua_State *L, int idx);

/* --- futures: consumer --------------------------------------------------- */

/* Returns 1 if the value at idx is a Future, else 0. idx may be any number.
 * [-0, +0, -] */
LUNADO_EXPORT int lunado_isfuture(lua_State *L, int idx);

/* If the Future at idx has a result, pushes its values and returns their
 * number.  If it has failed, pushes the error, which then counts as retrieved,
 * and returns -1.  If it is pending, pushes nothing and returns -2.
 * [-0, +(n|1|0), v] */
LUNADO_EXPORT int lunado_result(lua_State *L, int idx);

/* Pops a function, which is above the Future at idx, and calls it with the
 * Future as its argument when the Future is done, as add_done_callback does:
 * before the function that settles the Future returns, or at once if the
 * Future is already done.  An error of the function is logged.  The Future
 * holds the function; a C function gets its data as upvalues.  Lua calls the
 * function: it may settle other Futures and spawn coroutines, but can neither
 * yield nor close the state.  [-1, +0, v] */
LUNADO_EXPORT void lunado_ondone(lua_State *L, int idx);

/* Pushes the traceback of the failed Future at idx and returns 1.  As in
 * exc_info, the traceback shows where the error was raised, and the lines at
 * which coroutines awaited it; the error then counts as retrieved.  The value
 * at idx may also be the error that lunado_runsync has just returned.
 * Returns 0 and pushes nothing if there is no traceback: for other values, for
 * a Future that has not failed, and for an error that was not raised in Lua.
 * [-0, +(1|0), m] */
LUNADO_EXPORT int lunado_traceback(lua_State *L, int idx);

/* Waits for the Future at idx, in a C function that runs inside a coroutine.
 * Use it as
 *   return lunado_awaitk(L, idx, ctx, k);
 * The continuation k(L, status, ctx) is called with the results of the Future
 * on top of the present contents of the stack: at once with status LUA_OK if
 * the Future is done, else with status LUA_YIELD when the coroutine is
 * resumed.  k returns in place of the C function, and may call lunado_awaitk
 * again.  If k is NULL, the C function returns the results.
 * If the Future has failed or fails, its error is raised, as if by the C
 * function, and k is not called.  Raises, as gen.await does, if the caller
 * does not run in one of lunado's coroutines or cannot be suspended.
 * Data that the C function needs later must be in memory that Lua owns,
 * because a coroutine that is never resumed is collected without calling k.
 * [-?, +?, e] */
LUNADO_EXPORT int lunado_awaitk(lua_State *L, int idx, lua_KContext ctx,
                                lua_KFunction k);

/* --- errors -------------------------------------------------------------- */

/* Returns 1 if the value at idx is an error object of the class called `name`,
 * or of a class derived from it, else 0.  Examples: "TimeoutError",
 * "CancelledError", or "Exception" for all classes.  [-0, +0, m] */
LUNADO_EXPORT int lunado_iserror(lua_State *L, int idx, const char *name);

/* Pushes the error class called `name` and returns 1.
 * Returns 0 and pushes nothing if no loaded module of lunado has such a class.
 * [-0, +(1|0), m] */
LUNADO_EXPORT int lunado_pushclass(lua_State *L, const char *name);

/* Pushes a new error object of the class called `name`, to be raised with
 * lua_error or given to lunado_seterror.  Raises if there is no such class.
 * [-0, +1, v] */
LUNADO_EXPORT void lunado_pusherror(lua_State *L, const char *name,
                                    const char *message);

/* --- coroutines ---------------------------------------------------------- */

/* Pops a function and the nargs arguments above it, calls the function as a
 * coroutine and pushes the Future of its results.  The coroutine runs at once,
 * until it first has to wait; after that the loop resumes it, so the loop must
 * run.  An error of the coroutine fails the Future and is not raised here.  The
 * coroutine lives as long as the Future that it waits for can be settled,
 * whether or not the host keeps the pushed Future.
 * Returns 0.  Raises if there are fewer than nargs + 1 values.
 * [-(nargs+1), +1, v] */
LUNADO_EXPORT int lunado_spawn(lua_State *L, int nargs);

/* Cancels the coroutine whose outcome the Future at idx is, as tasks.cancel
 * does: what it waits for is given up now, and CancelledError is raised where it
 * waits in a turn of the loop.  A coroutine that a debug hook has suspended
 * goes on to its next wait.  A coroutine that has not started never runs.
 * Returns 1; or 0, and changes nothing, if the Future is no coroutine's or the
 * coroutine has ended.  [-0, +0, v] */
LUNADO_EXPORT int lunado_cancel(lua_State *L, int idx);

/* Pops a function, which is above the Future at idx, and makes it the Future's
 * canceller.  It is called once, with the Future as its argument, when the last
 * coroutine that waits for the Future is cancelled, and gives up the work
 * behind the Future.  A Future that is still pending when the function returns
 * fails with CancelledError, and an error that is set afterwards, such as that
 * of the cancelled work, is dropped.  An error of the function is logged.  Nil
 * in place of the function removes the canceller.  [-1, +0, v] */
LUNADO_EXPORT void lunado_setcanceller(lua_State *L, int idx);

/* Calls a function with the nargs arguments above it as a coroutine, and runs
 * the default loop until the coroutine has ended; if the coroutine returns a
 * Future, that Future is awaited as well.  Replaces function and arguments by
 * the results and returns LUA_OK; or by the error, unchanged, and returns
 * LUA_ERRRUN, or LUA_ERRMEM if memory ran out.
 * Fails with util.TimeoutError after `timeout` seconds (0 or less: never); the
 * coroutine is cancelled before, and the loop runs for at most one second more
 * until it has ended.  Fails if nothing is left that could resume the coroutine,
 * if the loop is stopped
 * or closed before the coroutine has ended, and if the loop is already
 * running.  A running loop is detected only in functions that lunado has
 * called: callbacks of the host's own handles must not call lunado_runsync,
 * because uv_run must not be nested.  [-(nargs+1), +(n|1), v]; it raises only
 * if there are fewer than nargs + 1 values. */
LUNADO_EXPORT int lunado_runsync(lua_State *L, int nargs, double timeout);

/* --- other threads: promises --------------------------------------------- */

/* The right to settle one Future, once, from any thread.  The pointer is not
 * an address of memory: it may be kept, used again after the promise is settled
 * or its loop has closed, and never has to be freed. */
typedef struct lunado_promise lunado_promise;

/* Returns a promise of the Future at idx, never NULL.  Until the promise is
 * settled, the current loop holds the Future and keeps running.  So settle
 * each promise, with an error if the work has failed.
 * A Future may have several promises; the first promise that is delivered
 * settles it, unless it was settled before, for example by lunado_setresult.
 * Raises if the current loop is closing, if it has 1,048,576 unsettled
 * promises, and if 4,096 open loops of the process are known to other threads
 * (with 32-bit pointers the limits are 4,096 promises and 256 loops).
 * [-0, +0, v] */
LUNADO_EXPORT lunado_promise *lunado_newpromise(lua_State *L, int idx);

/* Settles the promise, from any thread or signal handler.  In its next turn
 * the loop calls deliver(L) on its own thread, with `ud` as a light userdata,
 * the only argument.  The values that deliver returns are the result of the
 * Future; an error that it raises is the error of the Future.  If deliver is
 * NULL, the result has no values.  L is a thread of the state, but not the
 * coroutine that waits; deliver can neither yield nor run the loop.  The
 * promises that one thread settles are delivered in the order of its calls.
 * If Lua has no memory to call deliver, the call is repeated in a later turn.
 * lunado_promise_settle allocates nothing and never blocks.  Returns
 *   0             deliver will be called exactly once: in a turn, or while the
 *                 loop closes, if the loop closes first.  deliver now owns the
 *                 data of `ud`.
 *   UV_EALREADY   the promise was settled before.
 *   UV_ECANCELED  the promise's loop, or the state, has closed.
 * In the last two cases deliver is not called, and the caller still owns the
 * data of `ud`. */
LUNADO_EXPORT int lunado_promise_settle(lunado_promise *promise,
                                        lua_CFunction deliver, void *ud);

/* --- other threads: posts ------------------------------------------------ */

/* A handle of the default loop for other threads and signal handlers.  As with
 * promises, the pointer is not an address of memory, may be used after the loop
 * has closed, and never has to be freed. */
typedef struct lunado_loop lunado_loop;

/* Returns the handle of the default loop: always the same one while the loop
 * is open, never NULL.  Raises if the loop is closing, and if 4,096 open loops
 * of the process are known to other threads (256 with 32-bit pointers).
 * [-0, +0, v] */
LUNADO_EXPORT lunado_loop *lunado_looponly(lua_State *L);

/* Wakes the loop, from any thread or signal handler; in its next turn the loop
 * calls fn(arg) on its own thread.  If fn is NULL, only wakes the loop.  A post
 * keeps the loop from waiting for events, but does not keep it running: a loop
 * that has nothing left to wait for ends without calling fn.  fn runs outside
 * of protected mode: it may use the state, but must use lua_pcall for calls
 * that can raise.
 * Returns 0 if fn will be called once, unless the loop closes first;
 * UV_ENOBUFS if 1024 posts are pending; UV_ECANCELED if the loop or the state
 * has closed. */
LUNADO_EXPORT int lunado_post(lunado_loop *loop, void (*fn)(void *arg),
                              void *arg);

/* --- C modules: handles on a loop ---------------------------------------- */

/*
 * A C module that connects a library to the loop has handles of its own on it:
 * uv_poll_t for the library's sockets, uv_timer_t for its deadlines.  As a
 * guest of the loop it learns when the loop closes, its handles are closed with
 * the loop, and its callbacks enter Lua as lunado's own callbacks do.
 *
 * Make one guest for each object of the module, such as a connection.  It ends
 * by lunado_guest_leave, which the object's finalizer calls, or when its loop
 * closes, whichever comes first; then the pointer is invalid.
 */
typedef struct lunado_guest lunado_guest;

/* Makes a guest of the current loop.  When that loop closes, while the state
 * closes at the latest, on_close(L, ud) is called once, after which lunado
 * closes the guest's handles and frees the guest.  on_close must not raise, nor
 * run Lua code, and may push ten values.  Raises if the loop is closed.
 * [-0, +0, v] */
LUNADO_EXPORT lunado_guest *lunado_newguest(
    lua_State *L, void (*on_close)(lua_State *L, void *ud), void *ud);

/* Returns the uv_loop_t of the guest's loop. */
LUNADO_EXPORT uv_loop_t *lunado_guest_getloop(const lunado_guest *guest);

/* Returns `size` bytes of zeros that begin with a handle, which the caller then
 * initializes (uv_timer_init); NULL without memory.  lunado_ishandle is true
 * for it.  Its `data` must stay NULL, because luv takes it for its own: find
 * the module's data by the address of the handle.  While the handle is active
 * it keeps the loop running, unless it is unreferenced (uv_unref). */
LUNADO_EXPORT void *lunado_guest_newhandle(lunado_guest *guest, size_t size);

/* Closes a handle, whose callback is not called any more, and frees its memory
 * when libuv has finished with it.  Also frees one whose initialization has
 * failed.  Never close such a handle with uv_close. */
LUNADO_EXPORT void lunado_guest_closehandle(void *handle);

/* Enters Lua from a callback of the guest's handles: calls fn(L) in protected
 * mode, with `ud` as a light userdata, its only argument.  An error of fn is
 * passed to the loop's handle_callback_exception.  fn may do anything that a
 * callback of the loop may do: it may close the loop, or make the guest leave.
 * Returns 0 if fn was called; UV_ENOMEM if there was no memory to call it, so
 * that the caller should try again later; UV_ECANCELED if the guest has ended,
 * during the call or before (that is, within another one), and is invalid. */
LUNADO_EXPORT int lunado_guest_call(lunado_guest *guest, lua_CFunction fn,
                                    void *ud);

/* Ends the guest and closes its handles; on_close will not be called. */
LUNADO_EXPORT void lunado_guest_leave(lunado_guest *guest);

#ifdef __cplusplus
}
#endif

#endif
