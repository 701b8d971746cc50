/* SPDX-License-Identifier: MIT */
/*
 * client.h - a client: libcurl's multi handle, driven by a loop.
 *
 * A client is a userdata and a guest of the loop that was current when it was
 * made.  libcurl says by callbacks which sockets and which deadline it waits
 * for; each of them has a handle on the loop.
 *
 * libcurl must not be called from its callbacks, and any Lua code may call
 * anything.  So these callbacks run no Lua and allocate nothing of Lua's: they
 * note in the transfer what has happened, and when libcurl has returned, the
 * client calls its function on_events for each transfer with news.
 *
 * Who holds whom: while transfers run, the registry holds the client; the
 * client holds the transfers that run; a transfer holds its owner, a Lua
 * value.  So a transfer that the program forgot goes on to its end.
 */
#ifndef LUNADO_CURL_CLIENT_H
#define LUNADO_CURL_CLIENT_H

#include <curl/curl.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <uv.h>

#include "curl/bytes.h"
#include "lunado.h"

#define LUNADO_CURL_CLIENT "lunado.curl.Client"

typedef struct lunado_curl_transfer lunado_curl_transfer;
typedef struct lunado_curl_socket lunado_curl_socket;
typedef struct lunado_curl_timer lunado_curl_timer;

/* How many chains of sockets a client has. */
enum { LUNADO_CURL_CHAINS = 251 };

/* How much a client keeps for later transfers. */
enum { LUNADO_CURL_SPARE = 32 };

/* What a transfer has had and a later one can use. */
typedef struct {
  CURL *easy;             /* without any options */
  lunado_curl_bytes head; /* without any bytes, but with storage */
  lunado_curl_bytes body;
} lunado_curl_spare;

typedef struct {
  CURLM *multi;                /* NULL: the client is closed */
  lunado_guest *guest;         /* NULL: the client is closed */
  lunado_curl_timer *timer;    /* libcurl's deadline */
  lunado_curl_timer *retry;    /* tells events again after lack of memory */
  lunado_curl_transfer *ready; /* list: transfers with events, in order */
  lunado_curl_transfer **last; /* where the list ends */
  unsigned running;            /* transfers that are not stopped */
  bool telling;                /* on_events is being called */
  bool failing;                /* a socket cannot be watched */
  bool timer_set;              /* libcurl has set its deadline meanwhile */
  lunado_curl_socket *sockets[LUNADO_CURL_CHAINS]; /* by their numbers */
  unsigned spares;                                 /* used entries of `spare` */
  lunado_curl_spare spare[LUNADO_CURL_SPARE];
} lunado_curl_client;

/* User values of a client. */
enum {
  LUNADO_CURL_ON_EVENTS = 1, /* the function that is told of events */
  LUNADO_CURL_TRANSFERS,     /* table: address → transfer that runs */
  LUNADO_CURL_CLIENT_VALUES = LUNADO_CURL_TRANSFERS
};

/* Makes the class.  [-0, +0, m] */
void lunado__client_open(lua_State *L);

/* client(on_events, connections) → a client.  on_events(owner, transfer,
 * failed) is called for each transfer that has news; `failed` is true if an
 * earlier call for this news ran out of memory.  At most `connections` are kept
 * for later transfers. */
int lunado__client_new(lua_State *L);

/* Argument `arg` as a client; raises unless it is open.  [-0, +0, v] */
lunado_curl_client *lunado__client_check(lua_State *L, int arg);

/* Holds the transfer on top, of the client at idx, while it runs.  Raises, and
 * changes nothing, without memory.  [-0, +0, m] */
void lunado__client_hold(lua_State *L, int idx, lunado_curl_transfer *transfer);

/* Undoes lunado__client_hold.  L has room for eight values.  [-0, +0, -] */
void lunado__client_release(lua_State *L, lunado_curl_client *self,
                            lunado_curl_transfer *transfer);

/* Gives the transfer an easy handle without options but those about sockets,
 * NULL without memory, and buffers for the answer.  lunado__client_take_back
 * ends that. */
void lunado__client_equip(lunado_curl_client *self,
                          lunado_curl_transfer *transfer);
void lunado__client_take_back(lunado_curl_client *self,
                              lunado_curl_transfer *transfer);

/* Puts the transfer into the list of those with news. */
void lunado__client_ready(lunado_curl_client *self,
                          lunado_curl_transfer *transfer);

/* Removes the transfer from that list. */
void lunado__client_unready(lunado_curl_client *self,
                            lunado_curl_transfer *transfer);

/* libcurl has returned to a callback of libuv's: notes which transfers have
 * ended, and tells all that has happened.  The client may be closed and
 * collected afterwards. */
void lunado__client_after(lunado_curl_client *self);

/* Ensures that news which is not told now, because Lua runs, is told on a later
 * pass of the loop. */
void lunado__client_tell_later(lunado_curl_client *self);

#endif
