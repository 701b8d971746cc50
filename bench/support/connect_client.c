/* SPDX-License-Identifier: MIT */
/*
** Starts a server, and opens connections to it without sending anything:
**   connect_client CONNECTIONS close COUNT SERVER [ARGUMENT ...]
** opens COUNT connections, so many at a time, each of which the server closes,
** and prints the server's CPU time for one.  One tenth more is opened first and
** not counted, to warm up the server.
**   connect_client CONNECTIONS keep COUNT SERVER [ARGUMENT ...]
** opens COUNT connections, so many at a time, and keeps them open until the
** server, which prints its figures itself, ends.
*/
#include "client.h"
#include <sys/resource.h>

typedef struct {
  uv_tcp_t tcp;
  uv_connect_t connect;
} connection;

static int keep;
static long to_open;  /* connections not opened yet, including the warm-up */
static long to_close; /* connections that are not closed yet */
static long counted;  /* connections that are timed */
static double cpu_from;
static long at_a_time;
static struct sockaddr_in server_address;

static void open_next(void);

static void on_close(uv_handle_t *tcp) {
  free(tcp); /* the connection, which begins with it */
  if (--to_close == counted) cpu_from = server_cpu();
  if (to_close == 0)
    finish((server_cpu() - cpu_from) / (double)counted);
  else
    open_next();
}

static void on_alloc(uv_handle_t *tcp, size_t size, uv_buf_t *buf) {
  static char shared[64];
  (void)tcp;
  (void)size;
  *buf = uv_buf_init(shared, sizeof shared);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  if (n < 0) uv_close((uv_handle_t *)tcp, on_close);
}

static void on_connect(uv_connect_t *req, int status) {
  check(status, "connect");
  if (keep)
    open_next();
  else
    check(uv_read_start(req->handle, on_alloc, on_read), "read");
}

static void open_next(void) {
  connection *c;
  if (to_open == 0) return;
  to_open--;
  c = calloc(1, sizeof *c);
  uv_tcp_init(loop, &c->tcp);
  check(uv_tcp_connect(&c->connect, &c->tcp,
                       (const struct sockaddr *)&server_address, on_connect),
        "connect");
}

static void connect_to(const struct sockaddr *address) {
  memcpy(&server_address, address, sizeof server_address);
  for (long i = 0; i < at_a_time; i++) open_next();
}

/* Raises the limit of descriptors, which the server inherits. */
static void allow_descriptors(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: connect_client CONNECTIONS close|keep COUNT "
                    "SERVER\n");
    return EXIT_FAILURE;
  }
  at_a_time = atol(argv[1]);
  keep = strcmp(argv[2], "keep") == 0;
  counted = atol(argv[3]);
  to_open = to_close = counted + (keep ? 0 : (counted + 9) / 10);
  allow_descriptors();
  run_with(argv + 4);
  return EXIT_SUCCESS;
}
