/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - a transfer: one request and its answer.
 *
 * Invariants: a running transfer is held by its client, and is in the multi
 * handle until libcurl has finished it or it is stopped.  Only stop() takes
 * it out.
 */
#include "curl/transfer.h"

#include <string.h>

#include "curl/head.h"
#include "curl/options.h"

/* How many bytes of a body that is given in pieces wait to be taken, before
 * libcurl is told to pause. */
enum { AHEAD = 262144 };

/* --- libcurl's callbacks -------------------------------------------------- */

static void note(lunado_curl_transfer *self, unsigned events) {
  self->events |= events;
  lunado__client_ready(self->client, self);
}

/* Makes libcurl end the transfer. */
static size_t refuse(lunado_curl_transfer *self, const char *why) {
  self->refusal = why;
  return 0;
}

static bool begins_with(const char *line, size_t n, const char *word) {
  return n >= strlen(word) && curl_strnequal(line, word, strlen(word));
}

/* A new answer begins, after a redirect, a demand for credentials, or "100
 * Continue": the lines of the one before are dropped. */
static void begin_answer(lunado_curl_transfer *self, int code) {
  lunado__bytes_clear(&self->head);
  self->head_size = 0;
  self->code = code;
  self->begun = self->has_status = true;
  self->complete = self->located = self->dropping = false;
}

static bool is_redirect(int code) {
  return code == 301 || code == 302 || code == 303 || code == 307 ||
         code == 308;
}

/* The blank line of an answer has come.  If another answer may follow, its
 * lines are not told before it is known to be the last one. */
static void end_head(lunado_curl_transfer *self) {
  self->complete = self->code >= 200 || self->code == 101;
  if (!self->complete) self->begun = false;
  if (!self->complete) return;
  self->dropping = self->follows && self->located && is_redirect(self->code);
  if (self->dropping) return;
  if (self->authenticates && (self->code == 401 || self->code == 407)) {
    self->begun = false;
    return;
  }
  note(self, LUNADO_CURL_HEAD);
}

size_t lunado__transfer_on_header(char *data, size_t size, size_t n, void *ud) {
  lunado_curl_transfer *self = ud;
  n *= size;
  if (!self->begun && begins_with(data, n, "HTTP/"))
    begin_answer(self, lunado__head_code(data, n));
  self->head_size += n;
  if (self->head_size > self->max_head)
    return refuse(self, "the headers are larger than max_header_size");
  if (!lunado__bytes_add(&self->head, data, n))
    return refuse(self, "not enough memory");
  if (begins_with(data, n, "Location:")) self->located = true;
  if (!self->complete && n > 0 && (data[0] == '\r' || data[0] == '\n'))
    end_head(self);
  return n;
}

size_t lunado__transfer_on_body(char *data, size_t size, size_t n, void *ud) {
  lunado_curl_transfer *self = ud;
  n *= size;
  if (!self->dropping && lunado__bytes_count(&self->head) > 0)
    note(self, LUNADO_CURL_HEAD);
  if (self->streams && !self->dropping &&
      (self->held || lunado__bytes_count(&self->body) >= AHEAD)) {
    self->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  self->received += (curl_off_t)n;
  if (self->max_body >= 0 && self->received > self->max_body)
    return refuse(self, "the body is larger than max_body_size");
  if (self->dropping) return n;
  if (!lunado__bytes_add(&self->body, data, n))
    return refuse(self, "not enough memory");
  if (self->streams) note(self, LUNADO_CURL_DATA);
  return n;
}

size_t lunado__transfer_on_send(char *data, size_t size, size_t n, void *ud) {
  lunado_curl_transfer *self = ud;
  size_t sent = lunado__bytes_read(&self->out, data, size * n);
  if (sent > 0) {
    if (lunado__bytes_count(&self->out) == 0) note(self, LUNADO_CURL_DRAINED);
    return sent;
  }
  if (self->finished) return 0;
  self->starving = true;
  return CURL_READFUNC_PAUSE;
}

void lunado__transfer_done(lunado_curl_transfer *self, CURLcode result) {
  if (self->events & LUNADO_CURL_DONE) return;
  self->result = result;
  note(self, LUNADO_CURL_DONE);
}

/* --- methods -------------------------------------------------------------- */

static lunado_curl_transfer *check_running(lua_State *L) {
  lunado_curl_transfer *self = luaL_checkudata(L, 1, LUNADO_CURL_TRANSFER);
  if (self->client == NULL) luaL_error(L, "the transfer has ended");
  return self;
}

/* Pushes the head, or nil if there is none. */
static void push_head(lua_State *L, const lunado_curl_transfer *self) {
  const lunado_curl_bytes *bytes = &self->head;
  if (lunado__bytes_count(bytes) > 0)
    lunado__head_push(L, bytes->data + bytes->begin, lunado__bytes_count(bytes),
                      self->has_status ? self->code : 0);
  else
    lua_pushnil(L);
}

/* Pushes the bytes, or nil if there are none. */
static void push_bytes(lua_State *L, const lunado_curl_bytes *bytes) {
  if (lunado__bytes_count(bytes) > 0)
    lua_pushlstring(L, bytes->data + bytes->begin, lunado__bytes_count(bytes));
  else
    lua_pushnil(L);
}

/* CURLE_TOO_LARGE, which libcurl has since 8.6. */
#define TOO_LARGE ((CURLcode)100)

/* True if the transfer has ended because libcurl would repeat the request; see
 * set_repeats in options.c. */
static bool is_repeat(const lunado_curl_transfer *self) {
  return self->result == CURLE_TOO_MANY_REDIRECTS && self->complete;
}

/* Says why the transfer has failed; NULL if it has not.  An answer is one only
 * if its head is complete, which libcurl does not demand. */
static const char *failure(const lunado_curl_transfer *self) {
  if (self->refusal != NULL) return self->refusal;
  if (self->result == CURLE_OK || is_repeat(self))
    return self->complete ? NULL
                          : "the connection was closed within the "
                            "headers";
  if (self->result == CURLE_OUT_OF_MEMORY && !self->complete)
    return "Out of memory, or a header line is too long";
  if (self->result == TOO_LARGE && !self->complete && *self->error == '\0')
    return "A header line is too long";
  return *self->error != '\0' ? self->error : curl_easy_strerror(self->result);
}

/* transfer:take() → head, data, drained, done, error, code, follows: what is
 * new since the last call.
 *   head     the lines of the last answer, or trailers, as head.h describes;
 *            nil: none
 *   data     the next piece of the body, or all of it when it is done; nil:
 *            none
 *   drained  whether libcurl has taken all that was sent
 *   done     whether the transfer has ended
 *   error    why it failed; nil: it did not
 *   code     libcurl's number of the error
 *   follows  whether the answer is a redirect that is to be followed */
static int transfer_take(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  unsigned events = self->events;
  bool done = (events & LUNADO_CURL_DONE) != 0;
  bool data = self->streams ? (events & LUNADO_CURL_DATA) != 0 : done;
  lua_settop(L, 1);
  if (events & (LUNADO_CURL_HEAD | LUNADO_CURL_DONE))
    push_head(L, self);
  else
    lua_pushnil(L);
  if (data)
    push_bytes(L, &self->body);
  else
    lua_pushnil(L);
  lua_pushboolean(L, (events & LUNADO_CURL_DRAINED) != 0);
  lua_pushboolean(L, done);
  lua_pushstring(L, done ? failure(self) : NULL);
  lua_pushinteger(L, (lua_Integer)self->result);
  lua_pushboolean(L, self->dropping);
  /* Finalizers may have run, but nothing that changes the transfer's news. */
  self->events = 0;
  if (!lua_isnil(L, 2)) {
    lunado__bytes_clear(&self->head);
    self->has_status = false;
  }
  if (!lua_isnil(L, 3)) lunado__bytes_clear(&self->body);
  return 7;
}

/* Lets libcurl go on with what need not wait. */
static void go_on(lunado_curl_transfer *self) {
  int mask = CURLPAUSE_CONT;
  if (!self->added || (self->events & LUNADO_CURL_DONE)) return;
  if (self->paused && self->held) mask |= CURLPAUSE_RECV;
  if (self->starving && lunado__bytes_count(&self->out) == 0 && !self->finished)
    mask |= CURLPAUSE_SEND;
  else
    self->starving = false;
  if (!self->held) self->paused = false;
  (void)curl_easy_pause(self->easy, mask); /* may call the callbacks */
  if (self->client->ready != NULL) lunado__client_tell_later(self->client);
}

/* transfer:hold(on): whether no data is to be given for now. */
static int transfer_hold(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  self->held = lua_toboolean(L, 2) != 0;
  if (!self->held && self->paused) go_on(self);
  return 0;
}

/* transfer:resume(): data was taken, so that more may come. */
static int transfer_resume(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  if (self->paused && !self->held) go_on(self);
  return 0;
}

/* transfer:send(data): adds a piece of the request's body. */
static int transfer_send(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  size_t n;
  const char *data = luaL_checklstring(L, 2, &n);
  if (self->finished) return luaL_error(L, "the body has ended");
  if (!lunado__bytes_add(&self->out, data, n))
    return luaL_error(L, "not enough memory");
  if (self->starving) go_on(self);
  return 0;
}

/* transfer:finish(): the request's body has ended. */
static int transfer_finish(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  self->finished = true;
  if (self->starving) go_on(self);
  return 0;
}

/* transfer:starve(): the owner had no memory to go on: tells it so later. */
static int transfer_starve(lua_State *L) {
  lunado_curl_transfer *self = luaL_checkudata(L, 1, LUNADO_CURL_TRANSFER);
  if (self->client == NULL) return 0;
  self->failed = true;
  lunado__client_ready(self->client, self);
  lunado__client_tell_later(self->client);
  return 0;
}

/* --- information ---------------------------------------------------------- */

static void set_time(lua_State *L, CURL *easy, CURLINFO info,
                     const char *name) {
  curl_off_t us = 0;
  (void)curl_easy_getinfo(easy, info, &us);
  lua_pushnumber(L, (lua_Number)us / 1e6);
  lua_setfield(L, -2, name);
}

static void push_text(lua_State *L, CURL *easy, CURLINFO info) {
  const char *value = NULL;
  (void)curl_easy_getinfo(easy, info, &value);
  lua_pushstring(L, value);
}

/* transfer:info() → the effective URL; the URL that the answer redirects to, or
 * nil; and a table of the times in seconds. */
static int transfer_info(lua_State *L) {
  lunado_curl_transfer *self = check_running(L);
  CURL *easy = self->easy;
  push_text(L, easy, CURLINFO_EFFECTIVE_URL);
  push_text(L, easy, CURLINFO_REDIRECT_URL);
  lua_createtable(L, 0, 7); /* with `queue` and `redirect` */
  set_time(L, easy, CURLINFO_NAMELOOKUP_TIME_T, "namelookup");
  set_time(L, easy, CURLINFO_CONNECT_TIME_T, "connect");
  set_time(L, easy, CURLINFO_PRETRANSFER_TIME_T, "pretransfer");
  set_time(L, easy, CURLINFO_STARTTRANSFER_TIME_T, "starttransfer");
  set_time(L, easy, CURLINFO_TOTAL_TIME_T, "total");
  return 3;
}

/* --- life cycle ----------------------------------------------------------- */

/* Gives up what is libcurl's and malloc's.  The easy handle must go before what
 * it reads. */
static void free_all(lunado_curl_transfer *self, lunado_curl_client *client) {
  lunado__client_take_back(client, self);
  curl_slist_free_all(self->headers);
  self->headers = NULL;
  lunado__bytes_fini(&self->out);
}

void lunado__transfer_stop(lua_State *L, lunado_curl_transfer *self) {
  lunado_curl_client *client = self->client;
  if (client == NULL) return;
  self->client = NULL;
  lunado__client_unready(client, self);
  if (self->added) {
    self->added = false;
    (void)curl_multi_remove_handle(client->multi, self->easy);
  }
  free_all(self, client);
  lunado__client_release(L, client, self);
}

/* transfer:stop(): ends the transfer; its connection is kept if the answer has
 * ended.  Stopping it again is harmless. */
static int transfer_stop(lua_State *L) {
  lua_settop(L, 1);
  lunado__transfer_stop(L, luaL_checkudata(L, 1, LUNADO_CURL_TRANSFER));
  return 0;
}

/* A transfer that is collected does not run, except one whose start has
 * failed. */
static int transfer__gc(lua_State *L) {
  lunado_curl_transfer *self = luaL_checkudata(L, 1, LUNADO_CURL_TRANSFER);
  if (self->client == NULL && self->easy != NULL) {
    curl_easy_cleanup(self->easy);
    self->easy = NULL;
    curl_slist_free_all(self->headers);
    lunado__bytes_fini(&self->head);
    lunado__bytes_fini(&self->body);
  }
  return 0;
}

int lunado__transfer_start(lua_State *L) {
  lunado_curl_client *client = lunado__client_check(L, 1);
  lunado_curl_transfer *self;
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_checktype(L, 4, LUA_TTABLE);
  lua_settop(L, 6);
  self = lua_newuserdatauv(L, sizeof *self, 1);
  *self = (lunado_curl_transfer){0};
  luaL_setmetatable(L, LUNADO_CURL_TRANSFER);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 7, LUNADO_CURL_OWNER);
  client = lunado__client_check(L, 1); /* a finalizer may have closed it */
  lunado__client_equip(client, self);
  if (self->easy == NULL) return luaL_error(L, "not enough memory");
  lunado__options_set(L, 3, self);
  client = lunado__client_check(L, 1);
  lunado__client_hold(L, 1, self);
  self->client = client;
  if (client->multi == NULL ||
      curl_multi_add_handle(client->multi, self->easy) != CURLM_OK) {
    lunado__transfer_stop(L, self);
    return luaL_error(L, "not enough memory");
  }
  self->added = true;
  return 1;
}

static const luaL_Reg methods[] = {{"take", transfer_take},
                                   {"hold", transfer_hold},
                                   {"resume", transfer_resume},
                                   {"send", transfer_send},
                                   {"finish", transfer_finish},
                                   {"info", transfer_info},
                                   {"stop", transfer_stop},
                                   {"starve", transfer_starve},
                                   {NULL, NULL}};

void lunado__transfer_open(lua_State *L) {
  if (luaL_newmetatable(L, LUNADO_CURL_TRANSFER)) {
    lua_pushcfunction(L, transfer__gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
}
