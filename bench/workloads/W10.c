/* SPDX-License-Identifier: MIT */
#define MEASURES_ITSELF
#include "../support/peer.h"

/* A write request with the bytes that could not be written at once. */
typedef struct {
  uv_write_t req;
  char bytes[];
} rest;

static void on_alloc(uv_handle_t *client, size_t size, uv_buf_t *buf) {
  static char shared[1 << 16];
  (void) client;
  (void) size;
  *buf = uv_buf_init(shared, sizeof shared);
}

static void on_write(uv_write_t *req, int status) {
  (void) status;
  free(req);
}

static void write_rest(uv_stream_t *client, const char *from, size_t n) {
  rest *r = malloc(sizeof *r + n);
  uv_buf_t buf = uv_buf_init(r->bytes, (unsigned) n);
  memcpy(r->bytes, from, n);
  uv_write(&r->req, client, &buf, 1, on_write);
}

static void on_read(uv_stream_t *client, ssize_t n, const uv_buf_t *buf) {
  if (n > 0) {
    uv_buf_t out = uv_buf_init(buf->base, (unsigned) n);
    int written = uv_try_write(client, &out, 1);
    if (written < 0)
      written = 0;
    if (written < n)
      write_rest(client, buf->base + written, (size_t) (n - written));
  } else if (n < 0) {
    uv_close((uv_handle_t *) client, (uv_close_cb) free);
  }
}

static void on_connection(uv_stream_t *server, int status) {
  uv_tcp_t *client = malloc(sizeof *client);
  (void) status;
  uv_tcp_init(server->loop, client);
  uv_accept(server, (uv_stream_t *) client);
  uv_read_start((uv_stream_t *) client, on_alloc, on_read);
}

static void run(long n) {
  uv_loop_t *loop = uv_default_loop();
  uv_tcp_t server;
  struct sockaddr_in address;
  int size = sizeof address;
  (void) n;
  uv_tcp_init(loop, &server);
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_bind(&server, (struct sockaddr *) &address, 0);
  uv_listen((uv_stream_t *) &server, 128, on_connection);
  uv_tcp_getsockname(&server, (struct sockaddr *) &address, &size);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  uv_run(loop, UV_RUN_DEFAULT);
}
