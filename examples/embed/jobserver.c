/* SPDX-License-Identifier: MIT */
/*
 * jobserver.c - a server whose jobs are Lua scripts.
 *
 *   jobserver jobserver.lua [port [seconds]]
 *
 * A client connects to 127.0.0.1, sends a script and shuts down its half of
 * the connection:
 *   echo 'print(_VERSION) sleep(0.1) return 6 * 7' | nc -N 127.0.0.1 7000
 * It gets what the script prints, while it runs, and a last line: "ok" and
 * what the script returned, "error" and why, or "timeout".
 *
 * Each job is a coroutine, so that all of them run side by side.  It has so
 * many seconds (5), whether it waits or works, and all share a limit of
 * memory.  jobserver.lua says what a job may do; here are the socket and the
 * limits.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

#define SCRIPT_MAX 65536
#define MEMORY_MAX (64u << 20)

/* --- memory -------------------------------------------------------------- */

/* Jobs that ask for more than there is get "not enough memory". */
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

/* --- time ---------------------------------------------------------------- */

/* registry[its address as a key][thread] is the deadline, on uv_hrtime. */
static const char deadlines_key = 0;

/* Once the time is up, every instruction of the job raises this error, so that
 * a pcall in the job cannot hold it. */
static void on_count(lua_State *L, lua_Debug *ar) {
  lua_Integer deadline;
  (void)ar;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &deadlines_key);
  lua_pushthread(L);
  lua_rawget(L, -2);
  deadline = lua_tointeger(L, -1);
  lua_pop(L, 2);
  if ((lua_Integer)uv_hrtime() < deadline) return;
  lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
  luaL_error(L, "timeout");
}

/* Has the coroutine that calls it stop at a deadline; 0: takes that back. */
static void set_deadline(lua_State *L, lua_Integer deadline) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &deadlines_key);
  lua_pushthread(L);
  if (deadline != 0)
    lua_pushinteger(L, deadline);
  else
    lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lua_sethook(L, on_count, deadline != 0 ? LUA_MASKCOUNT : 0, 10000);
}

/* Not Lua, so that no hook can keep it from coming to its end. */
static int limit_over(lua_State *L, int status, lua_KContext unused) {
  (void)unused;
  set_deadline(L, 0);
  lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_replace(L, 1);
  return lua_gettop(L);
}

/* limited(seconds, fn): as pcall(fn), but fn may work for so long only. */
static int limited(lua_State *L) {
  lua_Number ns = luaL_checknumber(L, 1) * 1e9;
  lua_settop(L, 2);
  set_deadline(L, (lua_Integer)uv_hrtime() + (lua_Integer)ns);
  return limit_over(L, lua_pcallk(L, 0, LUA_MULTRET, 0, 0, limit_over), 0);
}

static void open_deadlines(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &deadlines_key);
}

/* --- clients ------------------------------------------------------------- */

/* A userdata.  The registry holds it, under its address, until its handle is
 * closed; the job, if there is one, until it is done. */
typedef struct {
  uv_tcp_t tcp; /* data is the server */
  uv_shutdown_t shutdown;
  size_t length; /* of the script, as far as it has come */
  char script[SCRIPT_MAX];
} client;

typedef struct {
  uv_loop_t loop;
  uv_tcp_t tcp; /* data is the server, as in every handle of the host's */
  uv_signal_t signals[2];
  lua_State *L;
  int run_job; /* in the registry: jobserver.lua's function */
} server;

/* What is written, and the request for it. */
typedef struct {
  uv_write_t request;
  char text[];
} output;

static void on_client_closed(uv_handle_t *handle) {
  client *self = (client *)handle;
  lua_State *L = ((server *)handle->data)->L;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, self);
}

static void close_client(client *self) {
  if (!uv_is_closing((uv_handle_t *)&self->tcp))
    uv_close((uv_handle_t *)&self->tcp, on_client_closed);
}

static void on_written(uv_write_t *request, int status) {
  client *self = (client *)request->handle;
  free(request);
  if (status < 0) close_client(self);
}

/* say(client, text): sends it, unless the client has gone. */
static int say(lua_State *L) {
  client *self = luaL_checkudata(L, 1, "client");
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  output *out;
  uv_buf_t buffer;
  if (uv_is_closing((uv_handle_t *)&self->tcp)) return 0;
  out = malloc(sizeof *out + length);
  if (out == NULL) return luaL_error(L, "not enough memory");
  memcpy(out->text, text, length);
  buffer = uv_buf_init(out->text, (unsigned)length);
  if (uv_write(&out->request, (uv_stream_t *)&self->tcp, &buffer, 1,
               on_written) < 0)
    free(out);
  return 0;
}

static void on_shut_down(uv_shutdown_t *request, int status) {
  (void)status;
  close_client((client *)request->handle);
}

/* done(client): closes the connection when all is sent. */
static int done(lua_State *L) {
  client *self = luaL_checkudata(L, 1, "client");
  if (uv_is_closing((uv_handle_t *)&self->tcp)) return 0;
  if (uv_shutdown(&self->shutdown, (uv_stream_t *)&self->tcp, on_shut_down) < 0)
    close_client(self);
  return 0;
}

/* --- receiving ----------------------------------------------------------- */

/* (server, client): starts the job as a coroutine. */
static int start_job(lua_State *L) {
  server *host = lua_touserdata(L, 1);
  client *self = lua_touserdata(L, 2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, host->run_job);
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_pushlstring(L, self->script, self->length);
  lunado_spawn(L, 2);
  return 0;
}

/* From here on errors are caught by lua_pcall: libuv must not be left by
 * one. */
static void on_script_complete(server *host, client *self) {
  lua_State *L = host->L;
  lua_pushcfunction(L, start_job);
  lua_pushlightuserdata(L, host);
  lua_pushlightuserdata(L, self);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  close_client(self);
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
    on_script_complete(stream->data, self);
  } else { /* a script that is too long, too */
    close_client(self);
  }
}

/* (server): accepts one client. */
static int accept_client(lua_State *L) {
  server *host = lua_touserdata(L, 1);
  client *self = lua_newuserdatauv(L, sizeof *self, 0);
  luaL_setmetatable(L, "client");
  lua_rawsetp(L, LUA_REGISTRYINDEX, self);
  self->length = 0;
  (void)uv_tcp_init(&host->loop, &self->tcp);
  self->tcp.data = host;
  if (uv_accept((uv_stream_t *)&host->tcp, (uv_stream_t *)&self->tcp) < 0 ||
      uv_read_start((uv_stream_t *)&self->tcp, on_alloc, on_read) < 0)
    close_client(self);
  return 0;
}

static void free_handle(uv_handle_t *handle) { free(handle); }

/* Without memory for a client; one that is not accepted would be the last. */
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
  if (status < 0) return;
  lua_pushcfunction(L, accept_client);
  lua_pushlightuserdata(L, host);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  refuse_client(host);
}

/* --- the server ---------------------------------------------------------- */

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  uv_stop(handle->loop);
}

/* Writing to a client that has gone is an error of that client, not a signal
 * that ends the process. */
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

/* (server, arguments): everything of Lua's that is needed. */
static int open_lua(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"limited", limited}, {"say", say}, {"done", done}, {NULL, NULL}};
  server *host = lua_touserdata(L, 1);
  char **argv = lua_touserdata(L, 2);
  luaL_openlibs(L);
  (void)lunado_setloop(L, &host->loop);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  luaL_newmetatable(L, "client");
  open_deadlines(L);
  if (luaL_loadfile(L, argv[1]) != LUA_OK) return lua_error(L);
  luaL_newlib(L, functions);
  lua_pushnumber(L, argv[2] != NULL && argv[3] != NULL ? atof(argv[3]) : 5);
  lua_call(L, 2, 1);
  host->run_job = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

/* The handles of lunado, whose data is NULL, are lunado's to close. */
static void close_if_ours(uv_handle_t *handle, void *host) {
  if (handle->data != host || uv_is_closing(handle)) return;
  if (handle->type == UV_TCP && handle != (void *)&((server *)host)->tcp)
    close_client((client *)handle);
  else
    uv_close(handle, NULL);
}

/* Clients are Lua's memory, so they are closed before the state is. */
static int close_server(server *host) {
  uv_walk(&host->loop, close_if_ours, host);
  uv_run(&host->loop, UV_RUN_NOWAIT);
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
  host.L = lua_newstate(allocate, &used);
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
