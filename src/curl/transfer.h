/* SPDX-License-Identifier: MIT */
/*
 * transfer.h - a transfer: one request and its answer.
 *
 * A transfer is a userdata.  It runs from client:start until it is stopped, by
 * the Lua code or because its client closes.  libcurl's callbacks note what
 * happens in the transfer; transfer:take() gives that to Lua.
 */
#ifndef LUNADO_CURL_TRANSFER_H
#define LUNADO_CURL_TRANSFER_H

#include "curl/bytes.h"
#include "curl/client.h"

#define LUNADO_CURL_TRANSFER "lunado.curl.Transfer"

/* What a transfer has to tell. */
enum {
  LUNADO_CURL_HEAD = 1,    /* the lines of the last answer */
  LUNADO_CURL_DATA = 2,    /* a piece of the body */
  LUNADO_CURL_DRAINED = 4, /* libcurl has taken all that was sent */
  LUNADO_CURL_DONE = 8     /* the transfer has ended */
};

struct lunado_curl_transfer {
  lunado_curl_client *client; /* the owner holds its userdata; NULL: stopped */
  CURL *easy;                 /* NULL: stopped */
  struct curl_slist *headers; /* libcurl reads them while the transfer runs */
  lunado_curl_transfer *next; /* in client->ready */
  bool is_ready;              /* it is in client->ready */
  bool added;                 /* it is in the multi handle */
  bool failed;                /* telling its events ran out of memory */
  unsigned events;
  lunado_curl_bytes head; /* the header lines that have not been taken */
  lunado_curl_bytes body; /* what has come and was not taken */
  lunado_curl_bytes out;  /* what was sent and libcurl has not taken */
  curl_off_t max_body;    /* most bytes of the body; -1: no limit */
  size_t max_head;        /* most bytes of the header lines */
  curl_off_t received;    /* bytes of the body so far */
  size_t head_size;       /* bytes of the header lines of this answer */
  CURLcode result;        /* once it is done */
  const char *refusal;    /* why a callback ended the transfer; NULL: it did
                             not */
  int code;               /* of the answer whose head is coming or has come */
  bool follows;           /* a redirect will be followed: its body is dropped */
  bool authenticates;     /* an answer 401 or 407 may not be the last one */
  bool streams;           /* the body is given in pieces */
  bool uploads;           /* the body of the request is sent in pieces */
  bool begun;             /* no other line can be a status line, whatever it
                             looks like: an answer has begun, and is the last
                             one if its head has ended */
  bool has_status;        /* the first line of `head` is a status line */
  bool complete;          /* the head of this answer has ended */
  bool located;           /* this answer has a Location */
  bool dropping;          /* this answer will be followed */
  bool held;              /* Lua wants no more data for now */
  bool paused;            /* libcurl was told to wait with data for us */
  bool starving;          /* libcurl was told to wait for data from us */
  bool finished;          /* nothing more will be sent */
  char error[CURL_ERROR_SIZE]; /* libcurl's words; empty: it has none */
};

/* User value of a transfer: its owner, which also holds the request's body. */
enum { LUNADO_CURL_OWNER = 1 };

/* Makes the class.  [-0, +0, m] */
void lunado__transfer_open(lua_State *L);

/* client:start(owner, fields, lines, connect_timeout, timeout) → transfer. What
 * follows the owner is described in options.h. */
int lunado__transfer_start(lua_State *L);

/* Ends the transfer, if it runs.  Calls no Lua code.  L has room for eight
 * values.  [-0, +0, -] */
void lunado__transfer_stop(lua_State *L, lunado_curl_transfer *self);

/* Notes that libcurl has finished the transfer. */
void lunado__transfer_done(lunado_curl_transfer *self, CURLcode result);

/* libcurl's callbacks, for options.c. */
size_t lunado__transfer_on_header(char *data, size_t size, size_t n, void *ud);
size_t lunado__transfer_on_body(char *data, size_t size, size_t n, void *ud);
size_t lunado__transfer_on_send(char *data, size_t size, size_t n, void *ud);

#endif
