/* SPDX-License-Identifier: MIT */
/*
 * jobserver.c - a server whose jobs are Lua scripts.
 *
 *   jobserver jobserver.lua [port [seconds]]
 *
 * A client connects to 127.0.0.1, sends a script and shuts down its half of
 * the connection:
 *   echo 'print(_VERSION) sleep(0.1) return 6 * 7' | nc -N 127.0.0.1 7000
 * While the script runs, the client receives its output; then a last line: "ok"
 * and the results of the script, "error" and the reason, or "timeout".
 *
 * Each job is a coroutine, so that all jobs run concurrently.  A job that works
 * without waiting is interrupted every few milliseconds, so that it does not
 * block the others.  A job has the given number of seconds (default 5), whether
 * it waits or works.  After that, and when its client has disconnected, it is
 * cancelled: its <close> handlers run, but may not wait.  A client has a second
 * more than a job to send its script, and again to read the answer.  All jobs
 * share a limit of memory.  jobserver.lua defines what a job may do; this file
 * has the sockets and the limits.
 *
 * A job that waits is cancelled by lunado_cancel.  A job that works is ended by
 * a debug hook, which Lua calls between instructions and before calls.  The
 * hook cannot interrupt a C function that takes long by itself, as pattern
 * matching can: so jobs do not get such functions.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

#define SCRIPT_MAX 65536
#define MEMORY_MAX (64u << 20)
#define CLIENTS_MAX 200
#define UNREAD_MAX 65536    /* bytes of output before a job has to wait */
#define SLICE_NS 5000000ull /* for which a job may hold the loop */
#define COUNT_FOR_HOOK 1000 /* instructions between two looks at the time */
#define LAST_STEPS 300      /* of the <close> handlers of a cancelled script */
#define STEPS_OF_COUNT 30   /* for COUNT_FOR_HOOK instructions; a call is one */

/* --- memory -------------------------------------------------------------- */

/* The allocator of Lua.  Above the limit, jobs get "not enough memory". */
static void *allocate(void *used, void *block, size_t old, size_t size) {
  size_t *bytes = used;
  void *moved;
  if (block == NULL) old = 0;
  if (size == 0) {
    free(block);
    *bytes -= old;
    return NULL;
  }
  if (size > old && *bytes + (size - old) > MEMORY_MAX) return NULL;
  moved = realloc(block, size);
  if (moved != NULL) *bytes = *bytes - old + size;
  return moved;
}

/* --- jobs ---------------------------------------------------------------- */

/* A client is a userdata.  The registry holds it, under its address, until its
 * handles are closed; its job, if there is one, holds it until the job has
 * ended.  User value 1 is the Future of wait_for_reader, nil while no job
 * waits.  User value 2 is the Future of the job, nil until lunado_spawn has
 * returned it. */
typedef struct {
  uv_tcp_t tcp;     /* data is the server */
  uv_timer_t timer; /* data is the server */
  uv_shutdown_t shutdown;
  int open_handles;  /* how many of tcp and timer are not closed */
  int is_running;    /* whether the script has begun and has not ended */
  int is_paused;     /* whether the hook has suspended the script */
  int is_cancelled;  /* whether the script gets an error for going on */
  int steps_left;    /* of LAST_STEPS */
  uint64_t deadline; /* of the script, on uv_hrtime */
  size_t length;     /* bytes of the script that have arrived */
  char script[SCRIPT_MAX];
} client;

/* registry[its address as a key][thread] is the client whose script runs. */
static const char clients_key = 0;

/* When a job has last let other jobs run. */
static uint64_t slice_begin;

/* Pushes and returns the client whose script the running coroutine is; pushes
 * nil and returns NULL if it is none. */
static client *push_client(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &clients_key);
  lua_pushthread(L);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

/* Cancels the job of the client on top of the stack: gives up what the job
 * waits for, raises an error there, and at each wait that follows. */
static void cancel_coroutine(lua_State *L) {
  client *self = lua_touserdata(L, -1);
  self->is_cancelled = 1;
  if (lua_getiuservalue(L, -1, 2) != LUA_TNIL) lunado_cancel(L, -1);
  lua_pop(L, 1);
}

/* (client): ends the script, if there is one: by a cancellation if it waits.  A
 * script that the hook has suspended does not wait, and is ended by the hook
 * when it goes on. */
static int cancel_job(lua_State *L) {
  client *self = lua_touserdata(L, 1);
  if (!self->is_running) return 0;
  self->deadline = 0;
  if (self->is_paused || self->is_cancelled) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  cancel_coroutine(L);
  return 0;
}

static void on_hook(lua_State *L, lua_Debug *ar);

/* Ends a script after its deadline.  First raises an error, which runs the
 * <close> handlers.  If they take too long, or the script has caught the error
 * with pcall, raises an error at every instruction. */
static void end_script(lua_State *L, client *self, int is_count) {
  if (!self->is_cancelled) {
    cancel_coroutine(L);
    luaL_error(L, "timeout");
  }
  if (self->steps_left <= 0) {
    lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
    luaL_error(L, "timeout");
  }
  self->steps_left -= is_count ? STEPS_OF_COUNT : 1;
}

/* The debug hook.  Before the deadline it makes the script wait for a turn of
 * the loop from time to time. */
static void on_hook(lua_State *L, lua_Debug *ar) {
  int is_count = ar->event == LUA_HOOKCOUNT;
  uint64_t now = uv_hrtime();
  client *self = push_client(L);
  self->is_paused = 0;
  if (now >= self->deadline) end_script(L, self, is_count);
  lua_pop(L, 1);
  if (self->is_cancelled || !is_count || now - slice_begin < SLICE_NS) return;
  if (!lua_isyieldable(L)) return; /* for example, within a sort */
  slice_begin = now;
  self->is_paused = 1;
  lua_yield(L, 0);
}

/* Pops a client: the calling coroutine is its script from now on.  Pops nil:
 * the coroutine is no script any more. */
static void set_client(lua_State *L) {
  int mask = lua_isnil(L, -1) ? 0 : LUA_MASKCALL | LUA_MASKCOUNT;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &clients_key);
  lua_insert(L, -2);
  lua_pushthread(L);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lua_sethook(L, on_hook, mask, COUNT_FOR_HOOK);
}

/* (string, name): returns a method of a string.  Jobs get the methods of the
 * second upvalue, other coroutines those of the first. */
static int string_method(lua_State *L) {
  int is_job = push_client(L) != NULL;
  lua_settop(L, 2);
  lua_gettable(L, lua_upvalueindex(is_job ? 2 : 1));
  return 1;
}

/* methods(for jobs) */
static int methods(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getglobal(L, "string");
  lua_insert(L, 1);
  lua_pushcclosure(L, string_method, 2);
  lua_pushliteral(L, "");
  if (!lua_getmetatable(L, -1)) return 0;
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "__index");
  return 0;
}

static void open_clients(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &clients_key);
}

/* --- clients ------------------------------------------------------------- */

typedef struct {
  uv_loop_t loop;
  uv_tcp_t tcp; /* data is the server, as in every handle of the host */
  uv_signal_t signals[2];
  lua_State *L;
  uint64_t limit;    /* ms to run a script */
  uint64_t patience; /* ms to get a script, or to send the answer */
  int clients;
  int run_job; /* in the registry: jobserver.lua's function */
} server;

/* A write: the request and its data. */
typedef struct {
  uv_write_t request;
  char text[];
} output;

static server *server_of(client *self) { return self->tcp.data; }

/* (client): settles the Future of wait_for_reader, if a job waits for it. */
static int tell_waiter(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
  if (lua_getiuservalue(L, -1, 1) == LUA_TNIL) return 0;
  lua_pushnil(L);
  lua_setiuservalue(L, -3, 1);
  lunado_setresult(L, -1, 0);
  return 0;
}

/* Calls Lua from a callback of libuv: all callbacks use it, because an error
 * must not jump out of libuv. */
static void call_with(client *self, lua_CFunction function) {
  lua_State *L = server_of(self)->L;
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, self);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static void on_handle_closed(client *self) {
  server *host = server_of(self);
  if (--self->open_handles > 0) return;
  host->clients--;
  lua_pushnil(host->L);
  lua_rawsetp(host->L, LUA_REGISTRYINDEX, self);
}

static client *client_of_timer(void *timer) {
  return (client *)((char *)timer - offsetof(client, timer));
}

static void on_timer_closed(uv_handle_t *handle) {
  on_handle_closed(client_of_timer(handle));
}

/* The job is cancelled, because nobody reads its output. */
static void on_tcp_closed(uv_handle_t *handle) {
  client *self = (client *)handle;
  call_with(self, cancel_job);
  call_with(self, tell_waiter);
  on_handle_closed(self);
}

static void close_client(client *self) {
  if (uv_is_closing((uv_handle_t *)&self->tcp)) return;
  uv_close((uv_handle_t *)&self->tcp, on_tcp_closed);
  uv_close((uv_handle_t *)&self->timer, on_timer_closed);
}

static void on_time_up(uv_timer_t *timer) {
  client *self = client_of_timer(timer);
  if (self->is_running)
    call_with(self, cancel_job);
  else
    close_client(self);
}

static void start_timer(client *self, uint64_t ms) {
  if (!uv_is_closing((uv_handle_t *)&self->timer))
    uv_timer_start(&self->timer, on_time_up, ms, 0);
}

static void on_written(uv_write_t *request, int status) {
  uv_stream_t *stream = request->handle;
  free(request);
  if (status < 0)
    close_client((client *)stream);
  else if (uv_stream_get_write_queue_size(stream) < UNREAD_MAX)
    call_with((client *)stream, tell_waiter);
}

/* Pushes a Future that is done when the client has read all output. */
static int wait_for_reader(lua_State *L) {
  if (lua_getiuservalue(L, 1, 1) != LUA_TNIL) return 1;
  lunado_newfuture(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, 1);
  return 1;
}

/* say(client, text): sends the text, unless the client has disconnected.  If
 * the client does not read, returns a Future to wait for. */
static int say(lua_State *L) {
  client *self = luaL_checkudata(L, 1, "client");
  uv_stream_t *stream = (uv_stream_t *)&self->tcp;
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  output *out;
  uv_buf_t buffer;
  if (uv_is_closing((uv_handle_t *)stream)) return 0;
  out = malloc(sizeof *out + length);
  if (out == NULL) return luaL_error(L, "not enough memory");
  memcpy(out->text, text, length);
  buffer = uv_buf_init(out->text, (unsigned)length);
  if (uv_write(&out->request, stream, &buffer, 1, on_written) < 0) free(out);
  if (uv_stream_get_write_queue_size(stream) < UNREAD_MAX) return 0;
  return wait_for_reader(L);
}

static void on_shut_down(uv_shutdown_t *request, int status) {
  (void)status;
  close_client((client *)request->handle);
}

static void be_patient(client *self) {
  start_timer(self, server_of(self)->patience);
}

/* done(client): closes the connection when all output has been sent. */
static int done(lua_State *L) {
  client *self = luaL_checkudata(L, 1, "client");
  if (uv_is_closing((uv_handle_t *)&self->tcp)) return 0;
  if (uv_shutdown(&self->shutdown, (uv_stream_t *)&self->tcp, on_shut_down) < 0)
    close_client(self);
  return 0;
}

/* Ends the limit of a script: the client has to read the rest of its output. It
 * is written in C, so that the hook cannot interrupt it. */
static int limit_over(lua_State *L, int status, lua_KContext context) {
  client *self = (client *)context;
  int is_late = uv_hrtime() >= self->deadline;
  self->is_running = 0;
  be_patient(self);
  lua_pushnil(L);
  set_client(L);
  if (is_late)
    lua_pushnil(L);
  else
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_replace(L, 1);
  return lua_gettop(L);
}

/* limited(client, fn): like pcall(fn), but fn is the client's script, and has
 * its limit of time.  Returns nil first if that is over. */
static int limited(lua_State *L) {
  client *self = luaL_checkudata(L, 1, "client");
  uint64_t limit = server_of(self)->limit;
  lua_KContext context = (lua_KContext)self;
  lua_settop(L, 2);
  self->is_running = 1;
  self->steps_left = LAST_STEPS;
  self->deadline = uv_hrtime() + limit * 1000000;
  start_timer(self, limit);
  lua_pushvalue(L, 1);
  set_client(L);
  return limit_over(L, lua_pcallk(L, 0, LUA_MULTRET, 0, context, limit_over),
                    context);
}

/* --- receiving ----------------------------------------------------------- */

/* (client): starts the job as a coroutine.  If there is no memory for that, the
 * client gets no answer. */
static int start_job(lua_State *L) {
  client *self = lua_touserdata(L, 1);
  be_patient(self);
  lua_rawgeti(L, LUA_REGISTRYINDEX, server_of(self)->run_job);
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_pushlstring(L, self->script, self->length);
  lunado_spawn(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, 2);
  return 0;
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
  client *self = (client *)handle;
  (void)wanted;
  *buffer = uv_buf_init(self->script + self->length,
                        (unsigned)(SCRIPT_MAX - self->length));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
  client *self = (client *)stream;
  (void)buffer;
  if (n >= 0) {
    self->length += (size_t)n;
  } else if (n == UV_EOF) {
    uv_read_stop(stream);
    call_with(self, start_job);
  } else { /* also if the script is too long */
    close_client(self);
  }
}

/* (server): accepts one client. */
static int accept_client(lua_State *L) {
  server *host = lua_touserdata(L, 1);
  client *self = lua_newuserdatauv(L, sizeof *self, 2);
  luaL_setmetatable(L, "client");
  lua_rawsetp(L, LUA_REGISTRYINDEX, self);
  self->length = 0;
  self->is_running = self->is_paused = self->is_cancelled = 0;
  (void)uv_tcp_init(&host->loop, &self->tcp);
  (void)uv_timer_init(&host->loop, &self->timer);
  self->tcp.data = self->timer.data = host;
  self->open_handles = 2;
  host->clients++;
  be_patient(self);
  if (uv_accept((uv_stream_t *)&host->tcp, (uv_stream_t *)&self->tcp) < 0 ||
      uv_read_start((uv_stream_t *)&self->tcp, on_alloc, on_read) < 0)
    close_client(self);
  return 0;
}

static void free_handle(uv_handle_t *handle) { free(handle); }

/* Refuses a client for which there is no place or no memory.  It must be
 * accepted first, because otherwise libuv would report no further clients. */
static void refuse_client(server *host) {
  uv_tcp_t *tcp = malloc(sizeof *tcp);
  if (tcp == NULL) return;
  (void)uv_tcp_init(&host->loop, tcp);
  (void)uv_accept((uv_stream_t *)&host->tcp, (uv_stream_t *)tcp);
  uv_close((uv_handle_t *)tcp, free_handle);
}

static void on_connection(uv_stream_t *stream, int status) {
  server *host = stream->data;
  lua_State *L = host->L;
  int rc = LUA_ERRMEM;
  if (status < 0) return;
  if (host->clients < CLIENTS_MAX) {
    lua_pushcfunction(L, accept_client);
    lua_pushlightuserdata(L, host);
    rc = lua_pcall(L, 1, 0, 0);
    if (rc != LUA_OK) lua_pop(L, 1);
  }
  if (rc != LUA_OK) refuse_client(host);
}

/* --- the server ---------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  uv_stop(handle->loop);
}

/* Writing to a client that has disconnected must be an error of that client,
 * not a signal that ends the process. */
static void catch_signals(server *host) {
  static const int numbers[] = {SIGINT, SIGTERM};
#ifdef SIGPIPE
  signal(SIGPIPE, SIG_IGN);
#endif
  for (int i = 0; i < 2; i++) {
    uv_signal_init(&host->loop, &host->signals[i]);
    host->signals[i].data = host;
    uv_signal_start(&host->signals[i], on_signal, numbers[i]);
  }
}

static int listen_on(server *host, int port) {
  struct sockaddr_in address;
  int length = sizeof address, rc;
  uv_tcp_init(&host->loop, &host->tcp);
  host->tcp.data = host;
  uv_ip4_addr("127.0.0.1", port, &address);
  rc = uv_tcp_bind(&host->tcp, (const struct sockaddr *)&address, 0);
  if (rc == 0) rc = uv_listen((uv_stream_t *)&host->tcp, 128, on_connection);
  if (rc < 0) return rc;
  uv_tcp_getsockname(&host->tcp, (struct sockaddr *)&address, &length);
  printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  return fflush(stdout);
}

/* (server, arguments): opens lunado and loads jobserver.lua. */
static int open_lua(lua_State *L) {
  static const luaL_Reg functions[] = {{"limited", limited},
                                       {"methods", methods},
                                       {"say", say},
                                       {"done", done},
                                       {NULL, NULL}};
  server *host = lua_touserdata(L, 1);
  char **argv = lua_touserdata(L, 2);
  double seconds = argv[2] != NULL && argv[3] != NULL ? atof(argv[3]) : 5;
  luaL_openlibs(L);
  (void)lunado_setloop(L, &host->loop);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  luaL_newmetatable(L, "client");
  open_clients(L);
  if (luaL_loadfile(L, argv[1]) != LUA_OK) return lua_error(L);
  luaL_newlib(L, functions);
  host->limit = (uint64_t)(seconds * 1e3);
  host->patience = host->limit + 1000;
  lua_call(L, 1, 1);
  host->run_job = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* lunado's handles, whose data is NULL, are closed by lunado. */
static void close_if_ours(uv_handle_t *handle, void *host) {
  if (handle->data != host || uv_is_closing(handle)) return;
  if (handle->type == UV_TCP && handle != (void *)&((server *)host)->tcp)
    close_client((client *)handle);
  else if (handle->type != UV_TIMER) /* which is closed with its client */
    uv_close(handle, NULL);
}

/* Clients are in memory that Lua owns, so they are closed before the state.  In
 * the first run of the loop the jobs end, because they are cancelled. */
static int close_server(server *host) {
  uv_walk(&host->loop, close_if_ours, host);
  uv_run(&host->loop, UV_RUN_DEFAULT);
  lua_close(host->L);
  uv_run(&host->loop, UV_RUN_DEFAULT);
  return uv_loop_close(&host->loop);
}

int main(int argc, char **argv) {
  static server host;
  size_t used = 0;
  int rc;
  if (argc < 2) return 1;
  uv_loop_init(&host.loop);
#if LUA_VERSION_NUM >= 505
  host.L = lua_newstate(allocate, &used, luaL_makeseed(NULL));
#else
  host.L = lua_newstate(allocate, &used);
#endif
  if (host.L == NULL) return 1;
  lua_pushcfunction(host.L, open_lua);
  lua_pushlightuserdata(host.L, &host);
  lua_pushlightuserdata(host.L, argv);
  rc = lua_pcall(host.L, 2, 0, 0);
  if (rc != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(host.L, -1));
  } else {
    catch_signals(&host);
    rc = listen_on(&host, argc > 2 ? atoi(argv[2]) : 7000);
    if (rc == 0)
      uv_run(&host.loop, UV_RUN_DEFAULT);
    else
      fprintf(stderr, "cannot listen: %s\n", uv_strerror(rc));
  }
  return close_server(&host) != 0 || rc != 0;
}
