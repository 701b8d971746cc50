/* SPDX-License-Identifier: MIT */
/*
 * pool.c - the threads behind an executor, and the Futures of their jobs.
 *
 * Invariant: the list in the pool's user value 1 has the Future of every
 * pending job in the job's slot.  A slot that is free has the number of the
 * next free one.  A user value of the Future has the strings that were lent to
 * the job.  A pending job refs its loop.
 */
#include "binding/thread/pool.h"

#include <string.h>

#include "binding/error/classname.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/awaited.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/loop/ioloop.h"
#include "binding/state/class.h"
#include "binding/state/log.h"
#include "binding/thread/decode.h"
#include "binding/thread/worker.h"
#include "core/alloc.h"
#include "core/threadpool.h"

#define POOL "lunado.Pool"

/* The user value of a job's Future that has the strings lent to the job. */
enum { JOB_FUTURE_LENT = 3 };

struct lunado__pool {
  lunado_threadpool *threads; /* owned; NULL: the pool was finalized */
  lunado_realm *realm;        /* of the pool's state */
  lua_State *L; /* settles jobs in this Lua thread; NULL: in that of the job's
                   loop */
  char *path;   /* owned; package.path */
  char *cpath;  /* package.cpath, in the memory block of path */
  lua_Integer slots; /* length of the list of Futures */
  lua_Integer free;  /* the first free slot; 0: none */
  unsigned busy;     /* calls of pool_done on the C stack */
  unsigned decoding; /* of these, the ones that decode results */
  bool shut;         /* refuses jobs */
  bool drained;      /* shut, and no job is pending */
  bool closing;      /* the state is being closed */
};

typedef struct pool_job pool_job;

/* The Future of a job. */
typedef struct {
  lunado_future future;
  pool_job *job; /* NULL: it is done */
} job_future;

struct pool_job {
  lunado_job job;
  lunado__work work;
  lunado__pool *pool;    /* borrowed until done */
  lunado_future *future; /* borrowed from the pool's user value 1 */
  lunado_ioloop *loop;   /* a ref, until done */
  lua_Integer slot;      /* of the Future */
  bool lent;             /* strings were lent to it */
  char room[];           /* of the parcel that was sent */
};

static job_future *to_job_future(lunado_future *future) {
  return lunado_container_of(future, job_future, future);
}

/* --- the pool and its Futures --------------------------------------------- */

/* Joins the threads, and removes the pool from the registry.  Not while a loan
 * is in use further up on the C stack, for which a thread may wait: a finalizer
 * that runs while results are decoded may shut the pool down.  The pool is also
 * kept while pool_done is on the C stack, which calls this again. */
static void end_pool(lua_State *L, lunado__pool *pool) {
  pool->drained = true;
  if (pool->decoding > 0) return;
  if (pool->threads != NULL) lunado_threadpool_join(pool->threads);
  if (pool->busy > 0 || !lua_checkstack(L, 2)) return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, pool);
}

/* Pushes the list of the Futures of pending jobs.  [-0, +1, -] */
static void push_job_futures(lua_State *L, lunado__pool *pool) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, pool);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

/* Stores the Future on top in the list below it, and returns its slot.
 * [-0, +0, m] */
static lua_Integer keep_job_future(lua_State *L, lunado__pool *pool) {
  lua_Integer slot = pool->free > 0 ? pool->free : pool->slots + 1;
  lua_pushvalue(L, -1);
  if (pool->free > 0) {
    lua_rawgeti(L, -3, slot);
    pool->free = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_rawseti(L, -3, slot);
  if (slot > pool->slots) pool->slots = slot;
  return slot;
}

/* Removes the Future of a job from the list on top, and forgets the strings
 * that were lent to the job.  [-0, +0, -] */
static void forget_job_future(lua_State *L, lunado__pool *pool,
                              lua_Integer slot, bool lent) {
  if (lent) {
    lua_rawgeti(L, -1, slot);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, JOB_FUTURE_LENT);
    lua_pop(L, 1);
  }
  lua_pushinteger(L, pool->free);
  lua_rawseti(L, -2, slot);
  pool->free = slot;
}

/* --- settling ------------------------------------------------------------- */

/* Reports an unobserved Failure at once if the state is being closed.  Lua does
 * not run the finalizer that would report it otherwise. */
static void report_at_close(lua_State *L, lunado__pool *pool, int failure) {
  if (pool->closing) lunado__awaited_report_now(L, pool->realm, failure);
}

/* Pushes the Failure of a job that failed or was dropped.  [-0, +1, m] */
static void push_job_failure(lua_State *L, lunado__pool *pool,
                             const pool_job *self) {
  int base = lua_gettop(L);
  if (self->job.dropped) {
    lunado__exception_push(L, pool->realm, LUNADO_E_EXCEPTION,
                           "the executor was closed before the job began");
    (void)lunado__failure_new(L, pool->realm, -1, -1);
  } else if (self->work.parcel.count == 0) {
    lunado__failure_nomemory(L, pool->realm);
  } else {
    lunado__decode(L, &self->work.parcel);
    (void)lunado__failure_new(L, pool->realm, base + 1, -1);
    lua_pushvalue(L, base + 2);
    lua_setiuservalue(L, -2, LUNADO_FAILURE_TEXT);
  }
  lua_insert(L, base + 1);
  lua_settop(L, base + 1);
}

/* Ends the use of strings in the results.  [-0, +0, -] */
static void give_back(pool_job *self) {
  lunado__loan *loan = self->work.loan;
  self->work.loan = NULL;
  if (loan != NULL && lunado__loan_give_back(loan))
    lunado_threadpool_wake(self->pool->threads);
}

/* Pushes the job's results.  Finalizers may run meanwhile.
 * [-0, +parcel.count, m] */
static void take_results(lua_State *L, lunado__pool *pool, pool_job *self) {
  pool->decoding++;
  lunado__decode(L, &self->work.parcel);
  pool->decoding--;
  give_back(self);
}

/* Settles the Future at idx with the job's results.  [-0, +0, m] */
static void succeed_job(lua_State *L, lunado__pool *pool, pool_job *self,
                        int idx) {
  int count = self->work.parcel.count;
  if (count > 0) take_results(L, pool, self);
  lunado__future_pack(L, count);
  if (!lunado_future_pending(self->future)) return; /* settled by a finalizer */
  self->future->count = (uint32_t)count;
  lunado__settle_known(L, pool->realm, idx, self->future, LUNADO_DONE);
}

/* (job, Future [, failure]): settles the Future of the job, which a user of the
 * Future may have settled already. */
static int settle_job(lua_State *L) {
  pool_job *self = lua_touserdata(L, 1);
  lunado__pool *pool = self->pool;
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    if (!self->job.dropped && !self->work.failed) {
      if (lunado_future_pending(self->future)) succeed_job(L, pool, self, 2);
      return 0;
    }
    if (self->job.dropped && !lunado_future_pending(self->future)) return 0;
    push_job_failure(L, pool, self);
    lua_replace(L, 3);
  }
  lua_pushvalue(L, 3);
  lunado__settle_failed(L, pool->realm, 2);
  if (!self->job.dropped) report_at_close(L, pool, 3);
  return 0;
}

/* Settles the Future of the job.  If settling raises an error, for example
 * because memory is short, settles the Future with that error.  The list of
 * Futures is on top.  [-0, +0, -] */
static void settle_job_protected(lua_State *L, lunado__pool *pool,
                                 pool_job *self) {
  unsigned decoding = pool->decoding;
  int status;
  lua_pushcfunction(L, settle_job);
  lua_pushlightuserdata(L, self);
  lua_rawgeti(L, -3, self->slot);
  status = lua_pcall(L, 2, 0, 0);
  pool->decoding = decoding;
  give_back(self);
  if (status == LUA_OK) return;
  lunado__failure_wrap(L, pool->realm);
  lua_pushcfunction(L, settle_job);
  lua_pushlightuserdata(L, self);
  lua_rawgeti(L, -4, self->slot);
  lua_rotate(L, -4, -1);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* --- for threadpool.h --------------------------------------------------- */

static void *pool_start(lunado_threadpool *threads) {
  const lunado__pool *pool = lunado_threadpool_data(threads);
  return lunado__worker_new(pool->realm->filler, pool->path, pool->cpath);
}

static void pool_run(lunado_threadpool *threads, void *state, lunado_job *job) {
  (void)threads;
  lunado__worker_run(state, &lunado_container_of(job, pool_job, job)->work);
}

static void pool_rest(lunado_threadpool *threads, void *state) {
  (void)threads;
  lunado__worker_rest(state);
}

static void pool_finish(lunado_threadpool *threads, void *state) {
  (void)threads;
  lunado__worker_free(state);
}

static void pool_done(lunado_threadpool *threads, lunado_job *job) {
  lunado__pool *pool = lunado_threadpool_data(threads);
  pool_job *self = lunado_container_of(job, pool_job, job);
  lua_State *L = pool->L != NULL ? pool->L : self->loop->L;
  to_job_future(self->future)->job = NULL;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    give_back(self);
    return;
  }
  pool->busy++;
  push_job_futures(L, pool);
  settle_job_protected(L, pool, self);
  forget_job_future(L, pool, self->slot, self->lent);
  lua_pop(L, 1);
  lunado__ioloop_unref(L, self->loop);
  pool->busy--;
  if (pool->drained) end_pool(L, pool);
}

static void pool_free_job(lunado_job *job) {
  pool_job *self = lunado_container_of(job, pool_job, job);
  lunado__parcel_free(&self->work.parcel);
  lunado__free(self);
}

static void pool_ended(lunado_threadpool *threads) {
  lunado__pool *pool = lunado_threadpool_data(threads);
  end_pool(pool->realm->main, pool);
}

static const lunado_threadpool_ops pool_ops = {
    pool_start, pool_run,      pool_rest, pool_finish,
    pool_done,  pool_free_job, pool_ended};

/* --- sending -------------------------------------------------------------- */

/* Pushes a QueueFull exception, whose class belongs to lunado.queues.
 * [-0, +1, m] */
static void push_queue_full(lua_State *L) {
  static const char name[] = "QueueFull\nException\n";
  lunado__classname_find(L, name, sizeof name - 1);
  lua_pushliteral(L, "the executor's queue is full");
  lua_call(L, 1, 1);
}

/* [-0, +0, v] */
static void raise_refusal(lua_State *L, lunado__pool *pool, int rc) {
  switch (rc) {
  case UV_ENOBUFS:
    push_queue_full(L);
    break;
  case UV_ENOMEM:
    luaL_error(L, "not enough memory");
    break;
  case UV_ECANCELED:
    lunado__exception_push(L, pool->realm, LUNADO_E_EXCEPTION,
                           "the executor was shut down");
    break;
  default:
    lunado__exception_push(L, pool->realm, LUNADO_E_EXCEPTION,
                           "cannot start a thread: %s", uv_strerror(rc));
  }
  lua_error(L);
}

/* [-0, +0, v] */
static void check_open(lua_State *L, lunado__pool *pool) {
  if (pool->shut || pool->threads == NULL) raise_refusal(L, pool, UV_ECANCELED);
}

void lunado__pool_check_room(lua_State *L, lunado__pool *pool, size_t n) {
  check_open(L, pool);
  if (n > lunado_threadpool_room(pool->threads))
    raise_refusal(L, pool, UV_ENOBUFS);
}

/* Pushes the table of Futures, and a pending Future, which it stores there. The
 * Future anchors the strings lent to the parcel at `packing`.  *loop is the
 * current loop.  [-0, +2, e] */
static lunado_future *push_job_future(lua_State *L, lunado__pool *pool,
                                      int packing, lunado_ioloop **loop,
                                      lua_Integer *slot) {
  bool lent = lunado__parcel_at(L, packing)->lent > 0;
  job_future *self;
  push_job_futures(L, pool);
  self = lunado__future_new(L, pool->realm, LUNADO_KIND_JOB, sizeof *self,
                            lent ? JOB_FUTURE_LENT : 1);
  self->job = NULL;
  *loop = lunado__ioloop_current(L, pool->realm);
  check_open(L, pool); /* a finalizer may have shut it */
  if (lent) {
    lunado__parcel_push_lent(L, packing);
    lua_setiuservalue(L, -2, JOB_FUTURE_LENT);
  }
  *slot = keep_job_future(L, pool);
  return &self->future;
}

/* Submits the parcel at `packing`.  [-0, +0, -] */
static int submit_job(lua_State *L, lunado__pool *pool, lunado_ioloop *loop,
                      lunado_future *future, lua_Integer slot, int packing) {
  const lunado__parcel *parcel = lunado__parcel_at(L, packing);
  size_t room = lunado__parcel_room(parcel);
  pool_job *self = lunado__realloc(NULL, sizeof *self + room);
  int rc;
  if (self == NULL) return UV_ENOMEM;
  self->pool = pool;
  self->future = future;
  self->slot = slot;
  self->loop = loop;
  self->lent = parcel->lent > 0;
  self->work.loan = NULL;
  lunado__parcel_move(L, packing, &self->work.parcel,
                      room > 0 ? self->room : NULL);
  rc = lunado_threadpool_submit(pool->threads, loop->core, &self->job);
  if (rc == 0) {
    to_job_future(future)->job = self;
    lunado__ioloop_ref(loop);
    return 0;
  }
  lunado__parcel_free(&self->work.parcel);
  lunado__free(self);
  return rc;
}

void lunado__pool_send(lua_State *L, lunado__pool *pool) {
  int packing = lua_gettop(L), rc;
  lunado_ioloop *loop;
  lunado_future *future;
  lua_Integer slot;
  check_open(L, pool);
  future = push_job_future(L, pool, packing, &loop, &slot);
  rc = submit_job(L, pool, loop, future, slot, packing);
  if (rc == 0) {
    lua_remove(L, -2);
    return;
  }
  lua_insert(L, -2);
  forget_job_future(L, pool, slot, false);
  raise_refusal(L, pool, rc);
}

void lunado__pool_shut_down(lua_State *L, lunado__pool *pool, bool wait) {
  lua_State *outer = pool->L;
  pool->shut = true;
  if (pool->threads == NULL) return;
  if (lunado_threadpool_shut_down(pool->threads) && !wait &&
      !lunado_threadpool_deserted(pool->threads))
    return;
  pool->L = L;
  lunado_threadpool_settle(pool->threads);
  pool->L = outer;
  end_pool(L, pool);
}

/* --- giving up ------------------------------------------------------------ */

/* True if no thread has begun with the job of the pending Future. */
static bool is_job_queued(const lunado_future *future) {
  const pool_job *self =
      lunado_container_of(future, const job_future, future)->job;
  return self != NULL &&
         lunado_threadpool_is_queued(self->pool->threads, &self->job);
}

/* Takes the job of the pending Future at idx out of the queue, and settles the
 * Future with the Failure on top, which it pops.  If a thread has begun with
 * the job meanwhile, its outcome will be dropped.  Waiters of the Future may
 * shut the pool down, which ends the job.  [-1, +0, -] */
static void withdraw_job(lua_State *L, int idx) {
  job_future *future = lua_touserdata(L, idx);
  pool_job *self = future->job;
  lunado__pool *pool = self != NULL ? self->pool : NULL;
  bool taken =
      pool != NULL && lunado_threadpool_withdraw(pool->threads, &self->job);
  lua_State *outer;
  lunado__settle_failed(L, lunado__realm_find(L), idx);
  if (!taken || future->job == NULL) return;
  outer = pool->L;
  pool->L = L;
  lunado_threadpool_end_dropped(pool->threads, &self->job);
  pool->L = outer;
}

/* --- life cycle ----------------------------------------------------------- */

static void log_dropped(lua_State *L, lunado__pool *pool, size_t count) {
  if (count == 0 || !lua_checkstack(L, 4)) return;
  lua_pushfstring(L,
                  "ThreadPoolExecutor was closed before %I of its jobs began",
                  (LUAI_UACINT)count);
  lunado__log(L, pool->realm, LUNADO_LOG_WARNING);
}

static int pool__gc(lua_State *L) {
  lunado__pool *pool = lua_touserdata(L, 1);
  lunado_threadpool *threads = pool->threads;
  size_t dropped = 0;
  if (threads != NULL) {
    pool->closing = true;
    (void)lunado_threadpool_shut_down(threads);
    dropped = lunado_threadpool_drop(threads);
    lunado__pool_shut_down(L, pool, true);
    pool->threads = NULL;
    lunado_threadpool_free(threads);
  }
  lunado__free(pool->path);
  pool->path = NULL;
  log_dropped(L, pool, dropped);
  return 0;
}

void lunado__pool_open(lua_State *L) {
  static const luaL_Reg metamethods[] = {{"__gc", pool__gc}, {NULL, NULL}};
  (void)lunado__class_new(L, POOL, NULL, metamethods);
  lua_pop(L, 1);
}

/* Pushes package.path or package.cpath.  [-0, +1, m] */
static void push_package_field(lua_State *L, const char *name) {
  int base = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "package") == LUA_TTABLE) lua_getfield(L, -1, name);
  if (lua_type(L, -1) != LUA_TSTRING) lua_pushliteral(L, "");
  lua_replace(L, base + 1);
  lua_settop(L, base + 1);
}

/* Copies package.path and package.cpath for the threads, which cannot read them
 * from this state.  [-0, +0, m] */
static void copy_paths(lua_State *L, lunado__pool *pool) {
  const char *path, *cpath;
  size_t size, csize;
  push_package_field(L, "path");
  push_package_field(L, "cpath");
  path = lua_tostring(L, -2);
  cpath = lua_tostring(L, -1);
  size = strlen(path) + 1;
  csize = strlen(cpath) + 1;
  pool->path = lunado__realloc(NULL, size + csize);
  if (pool->path == NULL) raise_refusal(L, pool, UV_ENOMEM);
  pool->cpath = pool->path + size;
  memcpy(pool->path, path, size);
  memcpy(pool->cpath, cpath, csize);
  lua_pop(L, 2);
}

lunado__pool *lunado__pool_new(lua_State *L, lunado_realm *realm,
                               unsigned threads, size_t queue) {
  lunado__pool *pool = lua_newuserdatauv(L, sizeof *pool, 1);
  int rc;
  memset(pool, 0, sizeof *pool);
  pool->realm = realm;
  realm->jobs.is_queued = is_job_queued;
  realm->jobs.withdraw = withdraw_job;
  luaL_setmetatable(L, POOL);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  copy_paths(L, pool);
  rc = lunado_threadpool_new(&pool->threads, threads, queue, &pool_ops, pool);
  if (rc < 0) raise_refusal(L, pool, rc);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, pool);
  return pool;
}
