/* SPDX-License-Identifier: MIT */
/*
 * client.c - a client: libcurl's multi handle, driven by a loop.
 *
 * Invariants: under its address an open client has an entry in the registry:
 * its userdata while transfers run, else false.  As the entry exists, changing
 * it needs no memory.  A transfer is in `ready` while it has events that
 * on_events was not told.  The deadline and the watched sockets keep the loop
 * running only while transfers run.
 *
 * Pointers: a timer's `client` is valid while its handle is open, because the
 * client closes it before it goes.
 */
#include "curl/client.h"

#include <string.h>

#include "curl/sockets.h"
#include "curl/transfer.h"

/* How long after lack of memory events are told again, in milliseconds. */
enum { RETRY = 1 };

struct lunado_curl_timer {
  uv_timer_t timer; /* the first field: the handle of the guest */
  lunado_curl_client *client;
};

/* --- telling -------------------------------------------------------------- */

void lunado__client_ready(lunado_curl_client *self,
                          lunado_curl_transfer *transfer) {
  if (transfer->is_ready) return;
  transfer->is_ready = true;
  transfer->next = NULL;
  *self->last = transfer;
  self->last = &transfer->next;
}

void lunado__client_unready(lunado_curl_client *self,
                            lunado_curl_transfer *transfer) {
  lunado_curl_transfer **at = &self->ready;
  if (!transfer->is_ready) return;
  while (*at != transfer) at = &(*at)->next;
  *at = transfer->next;
  if (self->last == &transfer->next) self->last = at;
  transfer->is_ready = false;
}

static bool is_memory_error(lua_State *L, int status) {
  return status == LUA_ERRMEM ||
         (lua_type(L, -1) == LUA_TSTRING &&
          strcmp(lua_tostring(L, -1), "not enough memory") == 0);
}

/* Calls on_events for the first of the ready transfers.  The client is at 1,
 * its function at 2, its transfers at 3.  A call that ran out of memory is
 * repeated later; another error is raised. */
static void tell_one(lua_State *L, lunado_curl_client *self) {
  lunado_curl_transfer *transfer = self->ready;
  int status;
  lunado__client_unready(self, transfer);
  lua_rawgetp(L, 3, transfer); /* stays on the stack */
  lua_pushvalue(L, 2);
  lua_getiuservalue(L, 4, LUNADO_CURL_OWNER);
  lua_pushvalue(L, 4);
  lua_pushboolean(L, transfer->failed);
  status = lua_pcall(L, 3, 0, 0); /* may stop the transfer */
  if (status != LUA_OK) {
    if (transfer->client == NULL || !is_memory_error(L, status)) {
      lunado__transfer_stop(L, transfer);
      lua_error(L);
    }
    transfer->failed = true;
    lunado__client_ready(self, transfer);
  }
  lua_settop(L, 3);
}

/* (client as a light userdata): tells what there is to tell now. */
static int tell_all(lua_State *L) {
  lunado_curl_client *self = lua_touserdata(L, 1);
  unsigned count = 0;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, self) != LUA_TUSERDATA) return 0;
  lua_replace(L, 1);
  lua_getiuservalue(L, 1, LUNADO_CURL_ON_EVENTS);
  lua_getiuservalue(L, 1, LUNADO_CURL_TRANSFERS);
  for (const lunado_curl_transfer *t = self->ready; t != NULL; t = t->next)
    count++;
  while (count-- > 0 && self->ready != NULL) tell_one(L, self);
  return 0;
}

static void on_retry(uv_timer_t *timer);

void lunado__client_tell_later(lunado_curl_client *self) {
  uint64_t ms = self->ready != NULL && self->ready->failed ? RETRY : 0;
  uv_timer_t *timer = &self->retry->timer;
  if (!uv_is_active((uv_handle_t *)timer))
    (void)uv_timer_start(timer, on_retry, ms, 0);
}

/* Tells the events, when libcurl has returned to a callback of libuv's.  The
 * client may be closed and collected afterwards, unless it is returned. */
static lunado_curl_client *tell_events(lunado_curl_client *self) {
  int rc;
  if (self->ready == NULL || self->telling) return self;
  self->telling = true;
  rc = lunado_guest_call(self->guest, tell_all, self);
  if (rc == UV_ECANCELED) return NULL;
  self->telling = false;
  if (self->ready != NULL) lunado__client_tell_later(self);
  return self;
}

/* --- driving libcurl ------------------------------------------------------ */

/* (client as a light userdata): ends all transfers, since one of their sockets
 * cannot be watched. */
static int fail_all(lua_State *L) {
  lunado_curl_client *self = lua_touserdata(L, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, self) != LUA_TUSERDATA) return 0;
  lua_getiuservalue(L, -1, LUNADO_CURL_TRANSFERS);
  for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
    lunado_curl_transfer *transfer = lua_touserdata(L, -1);
    if (transfer->refusal == NULL) transfer->refusal = "not enough memory";
    lunado__transfer_done(transfer, CURLE_OUT_OF_MEMORY);
  }
  return 0;
}

void lunado__client_after(lunado_curl_client *self) {
  const CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(self->multi, &left)) != NULL) {
    lunado_curl_transfer *transfer;
    if (message->msg != CURLMSG_DONE) continue;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    lunado__transfer_done(transfer, message->data.result);
  }
  if (self->failing) {
    self->failing = false;
    if (lunado_guest_call(self->guest, fail_all, self) == UV_ECANCELED) return;
  }
  (void)tell_events(self);
}

static int on_timer_set(CURLM *multi, long ms, void *ud);

static void on_deadline(uv_timer_t *timer) {
  lunado_curl_client *self = ((lunado_curl_timer *)timer)->client;
  int running;
  long ms = -1;
  self->timer_set = false;
  (void)curl_multi_socket_action(self->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  /* libcurl sets the deadline only when it changes.  It does not change if the
   * loop, whose time is a little older, has called too early. */
  if (!self->timer_set && curl_multi_timeout(self->multi, &ms) == CURLM_OK &&
      ms >= 0)
    (void)on_timer_set(self->multi, ms > 0 ? ms : 1, self);
  lunado__client_after(self);
}

static int on_timer_set(CURLM *multi, long ms, void *ud) {
  lunado_curl_client *self = ud;
  uv_timer_t *timer = &self->timer->timer;
  (void)multi;
  self->timer_set = true;
  if (ms < 0)
    (void)uv_timer_stop(timer);
  else
    (void)uv_timer_start(timer, on_deadline, (uint64_t)ms, 0);
  return 0;
}

static void on_retry(uv_timer_t *timer) {
  lunado__client_after(((lunado_curl_timer *)timer)->client);
}

/* --- transfers ------------------------------------------------------------ */

static void keep_running(const lunado_curl_client *self, bool yes) {
  uv_handle_t *timer = (uv_handle_t *)&self->timer->timer;
  if (yes)
    uv_ref(timer);
  else
    uv_unref(timer);
}

/* Sets the client's entry in the registry to the value on top, which it pops.
 * Needs no memory, except for the first entry. */
static void set_entry(lua_State *L, lunado_curl_client *self) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, self);
}

void lunado__client_hold(lua_State *L, int idx,
                         lunado_curl_transfer *transfer) {
  lunado_curl_client *self = lua_touserdata(L, idx);
  lua_getiuservalue(L, idx, LUNADO_CURL_TRANSFERS);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, transfer);
  lua_pop(L, 1);
  if (self->running++ > 0) return;
  lua_pushvalue(L, idx);
  set_entry(L, self);
  keep_running(self, true);
}

void lunado__client_release(lua_State *L, lunado_curl_client *self,
                            lunado_curl_transfer *transfer) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, self);
  lua_getiuservalue(L, -1, LUNADO_CURL_TRANSFERS);
  lua_pushnil(L);
  lua_rawsetp(L, -2, transfer);
  lua_pop(L, 2);
  if (--self->running > 0) return;
  keep_running(self, false);
  lua_pushboolean(L, 0);
  set_entry(L, self);
}

void lunado__client_equip(lunado_curl_client *self,
                          lunado_curl_transfer *transfer) {
  lunado_curl_spare spare = {0};
  if (self->spares > 0)
    spare = self->spare[--self->spares];
  else
    spare.easy = curl_easy_init();
  transfer->easy = spare.easy;
  transfer->head = spare.head;
  transfer->body = spare.body;
  if (spare.easy == NULL) return;
  (void)curl_easy_setopt(spare.easy, CURLOPT_CLOSESOCKETFUNCTION,
                         lunado__sockets_on_close);
  (void)curl_easy_setopt(spare.easy, CURLOPT_CLOSESOCKETDATA, self);
}

static void free_spare(lunado_curl_spare *spare) {
  if (spare->easy != NULL) curl_easy_cleanup(spare->easy);
  lunado__bytes_fini(&spare->head);
  lunado__bytes_fini(&spare->body);
}

void lunado__client_take_back(lunado_curl_client *self,
                              lunado_curl_transfer *transfer) {
  lunado_curl_spare spare = {transfer->easy, transfer->head, transfer->body};
  transfer->easy = NULL;
  transfer->head = transfer->body = (lunado_curl_bytes){0};
  if (spare.easy == NULL || self->multi == NULL ||
      self->spares == LUNADO_CURL_SPARE) {
    free_spare(&spare);
    return;
  }
  curl_easy_reset(spare.easy);
  lunado__bytes_clear(&spare.head);
  lunado__bytes_clear(&spare.body);
  self->spare[self->spares++] = spare;
}

/* --- life cycle ----------------------------------------------------------- */

/* Stops the transfers that run.  Each of them leaves the table of transfers,
 * which lua_next permits. */
static void stop_all(lua_State *L, lunado_curl_client *self) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, self) == LUA_TUSERDATA) {
    lua_getiuservalue(L, -1, LUNADO_CURL_TRANSFERS);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
      lunado__transfer_stop(L, lua_touserdata(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* Closes all but the guest.  libcurl's callbacks close the sockets. */
static void close_all(lua_State *L, lunado_curl_client *self) {
  stop_all(L, self);
  while (self->spares > 0) free_spare(&self->spare[--self->spares]);
  if (self->multi != NULL) (void)curl_multi_cleanup(self->multi);
  self->multi = NULL;
  self->guest = NULL;
  lua_pushnil(L);
  set_entry(L, self);
}

/* The loop closes. */
static void on_loop_close(lua_State *L, void *ud) { close_all(L, ud); }

/* client:close(): stops the transfers, without telling their owners, and closes
 * all connections. */
static int client_close(lua_State *L) {
  lunado_curl_client *self = luaL_checkudata(L, 1, LUNADO_CURL_CLIENT);
  lunado_guest *guest = self->guest;
  close_all(L, self);
  if (guest != NULL) lunado_guest_leave(guest);
  return 0;
}

/* client:closed(): whether the client or its loop is closed. */
static int client_closed(lua_State *L) {
  const lunado_curl_client *self = luaL_checkudata(L, 1, LUNADO_CURL_CLIENT);
  lua_pushboolean(L, self->multi == NULL);
  return 1;
}

lunado_curl_client *lunado__client_check(lua_State *L, int arg) {
  lunado_curl_client *self = luaL_checkudata(L, arg, LUNADO_CURL_CLIENT);
  if (self->multi == NULL) luaL_error(L, "the client is closed");
  return self;
}

static lunado_curl_timer *new_timer(lunado_curl_client *self) {
  lunado_curl_timer *timer = lunado_guest_newhandle(self->guest, sizeof *timer);
  if (timer == NULL) return NULL;
  timer->client = self;
  (void)uv_timer_init(lunado_guest_getloop(self->guest), &timer->timer);
  return timer;
}

#define SET(multi, option, value) \
  ((void)curl_multi_setopt(multi, option, value))

int lunado__client_new(lua_State *L) {
  lua_Integer connections = luaL_checkinteger(L, 2);
  lunado_curl_client *self;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  self = lua_newuserdatauv(L, sizeof *self, LUNADO_CURL_CLIENT_VALUES);
  *self = (lunado_curl_client){0};
  self->last = &self->ready;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, LUNADO_CURL_ON_EVENTS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LUNADO_CURL_TRANSFERS);
  luaL_setmetatable(L, LUNADO_CURL_CLIENT);
  lua_pushboolean(L, 0);
  set_entry(L, self);
  self->guest = lunado_newguest(L, on_loop_close, self);
  self->timer = new_timer(self);
  self->retry = new_timer(self);
  if (self->timer != NULL && self->retry != NULL)
    self->multi = curl_multi_init();
  if (self->multi == NULL) return luaL_error(L, "not enough memory");
  keep_running(self, false);
  SET(self->multi, CURLMOPT_SOCKETFUNCTION, lunado__sockets_on_change);
  SET(self->multi, CURLMOPT_SOCKETDATA, self);
  SET(self->multi, CURLMOPT_TIMERFUNCTION, on_timer_set);
  SET(self->multi, CURLMOPT_TIMERDATA, self);
  SET(self->multi, CURLMOPT_MAXCONNECTS, (long)connections);
  /* Each transfer has a connection to itself: a stream that is paused would
   * hold up the others. */
  SET(self->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
  return 1;
}

static const luaL_Reg methods[] = {{"start", lunado__transfer_start},
                                   {"close", client_close},
                                   {"closed", client_closed},
                                   {NULL, NULL}};

void lunado__client_open(lua_State *L) {
  if (luaL_newmetatable(L, LUNADO_CURL_CLIENT)) {
    lua_pushcfunction(L, client_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
}
