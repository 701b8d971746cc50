/* SPDX-License-Identifier: MIT */
/*
 * worker.c - a host with its own loop, its own handle on that loop, and a
 * thread that works for its scripts.
 *
 *   worker script.lua
 *
 * Scripts call factor(n) and get a Future.  The thread finds the factors while
 * the loop continues, and settles a promise with them.
 */
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

/* --- the thread ---------------------------------------------------------- */

/* One request.  The loop's thread owns it until it is in the queue, then the
 * worker thread, and after the promise is settled the loop's thread again. */
typedef struct request request;
struct request {
  request *next;
  lunado_promise *promise;
  lua_Integer number;
  int count;               /* factors found */
  lua_Integer factors[64]; /* no number has more */
};

static struct {
  uv_thread_t id;
  uv_mutex_t mutex;
  uv_cond_t changed;
  request *first; /* NULL: nothing is queued */
  request **end;  /* where the next request goes */
  int stopping;
} thread;

static void factorize(request *self) {
  lua_Integer rest = self->number;
  for (lua_Integer p = 2; p <= rest / p; p++)
    for (; rest % p == 0; rest /= p) self->factors[self->count++] = p;
  if (rest > 1) self->factors[self->count++] = rest;
}

/* Runs on the loop's thread: returns the factors, the result of the Future.  An
 * error raised here fails the Future, such as "not enough memory". */
static int deliver(lua_State *L) {
  request *self = lua_touserdata(L, 1);
  int count = self->count;
  luaL_checkstack(L, count, NULL);
  for (int i = 0; i < count; i++) lua_pushinteger(L, self->factors[i]);
  free(self);
  return count;
}

/* Waits for the next request and returns it; NULL if there will be none. */
static request *take(void) {
  request *self;
  uv_mutex_lock(&thread.mutex);
  while (thread.first == NULL && !thread.stopping)
    uv_cond_wait(&thread.changed, &thread.mutex);
  self = thread.first;
  if (self != NULL) {
    thread.first = self->next;
    if (thread.first == NULL) thread.end = &thread.first;
  }
  uv_mutex_unlock(&thread.mutex);
  return self;
}

/* The thread.  If the state has closed, this thread still owns the request. */
static void work(void *unused) {
  request *self;
  (void)unused;
  while ((self = take()) != NULL) {
    factorize(self);
    if (lunado_promise_settle(self->promise, deliver, self) < 0) free(self);
  }
}

static void start_thread(void) {
  uv_mutex_init(&thread.mutex);
  uv_cond_init(&thread.changed);
  thread.end = &thread.first;
  uv_thread_create(&thread.id, work, NULL);
}

static void stop_thread(void) {
  uv_mutex_lock(&thread.mutex);
  thread.stopping = 1;
  uv_cond_signal(&thread.changed);
  uv_mutex_unlock(&thread.mutex);
  uv_thread_join(&thread.id);
  uv_cond_destroy(&thread.changed);
  uv_mutex_destroy(&thread.mutex);
}

/* --- functions for scripts ------------------------------------------------ */

static void enqueue(request *self) {
  uv_mutex_lock(&thread.mutex);
  *thread.end = self;
  thread.end = &self->next;
  uv_cond_signal(&thread.changed);
  uv_mutex_unlock(&thread.mutex);
}

/* factor(n) -> Future of the prime factors of n */
static int factor(lua_State *L) {
  lua_Integer number = luaL_checkinteger(L, 1);
  request *self;
  lunado_promise *promise;
  luaL_argcheck(L, number > 0, 1, "a positive number expected");
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1); /* raises nothing from here on */
  self = calloc(1, sizeof *self);
  if (self == NULL) {
    lunado_promise_settle(promise, NULL, NULL);
    return luaL_error(L, "not enough memory");
  }
  self->promise = promise;
  self->number = number;
  enqueue(self);
  return 1;
}

/* --- the host ------------------------------------------------------------ */

static void on_tick(uv_timer_t *timer) { ++*(int *)timer->data; }

/* Runs the script until nothing is left to wait for. */
static int run_script(lua_State *L, uv_loop_t *loop, const char *file) {
  int status = luaL_loadfile(L, file);
  if (status != LUA_OK) return -1;
  lunado_spawn(L, 0); /* from here on, the script's Future */
  uv_run(loop, UV_RUN_DEFAULT);
  return lunado_result(L, -1);
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  uv_timer_t timer;
  int ticks = 0, rc;
  lua_State *L = luaL_newstate();
  if (L == NULL || argc < 2) return 1;

  /* The host has a loop, with a handle that does not keep the loop running. */
  uv_loop_init(&loop);
  uv_timer_init(&loop, &timer);
  timer.data = &ticks;
  uv_timer_start(&timer, on_tick, 1, 1);
  uv_unref((uv_handle_t *)&timer);

  luaL_openlibs(L);
  lunado_setloop(L, &loop);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  lua_register(L, "factor", factor);
  start_thread();

  rc = run_script(L, &loop, argv[1]);
  if (rc < 0)
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  else
    printf("the host's timer went on: %s\n", ticks > 0 ? "yes" : "no");

  /* The order does not matter: the thread may settle promises of a closed
   * state. */
  lua_close(L);
  stop_thread();
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) != 0 || rc < 0;
}
