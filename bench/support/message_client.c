/* SPDX-License-Identifier: MIT */
/*
** Starts a server, exchanges messages with it, and prints its CPU time for one:
**   message_client CONNECTIONS BYTES|http MESSAGES SERVER [ARGUMENT ...]
** Each connection sends a message, waits until the whole answer has come, and
** sends the next.  The answer is an echo of so many bytes, or, with `http`,
*what
** a server answers to GET.  One tenth of the messages is sent first and not
** counted, to warm up the server.
*/
#include "client.h"

typedef struct {
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_write_t write;
  size_t expected; /* bytes of the current answer that have not come yet */
  int writing;     /* whether `write` is in use */
} connection;

static int connections;
static int http;
static size_t message_size;
static char *message;

static long to_send; /* messages not sent yet, including the warm-up */
static long to_come; /* messages that are not answered yet */
static long counted; /* messages that are timed */
static double cpu_from;

static void on_write(uv_write_t *req, int status);

/* Sends the next message, once the last one has been written and answered.  Its
** answer may be complete before libuv reports that it was written. */
static void send_message(connection *c) {
  uv_buf_t buf = uv_buf_init(message, (unsigned)message_size);
  if (to_send == 0 || c->writing || c->expected > 0) return;
  to_send--;
  c->expected = message_size;
  c->writing = 1;
  c->write.data = c;
  check(uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, on_write),
        "write");
}

static void on_write(uv_write_t *req, int status) {
  connection *c = req->data;
  check(status, "write");
  c->writing = 0;
  send_message(c);
}

static void on_alloc(uv_handle_t *tcp, size_t size, uv_buf_t *buf) {
  static char shared[1 << 18];
  (void)tcp;
  (void)size;
  *buf = uv_buf_init(shared, sizeof shared);
}

/* Returns how many bytes of the answer are missing after these n.  Servers
** differ in the headers that they send; the body of the HTTP answer ends in the
** only `!` of it. */
static size_t missing(connection *c, const char *bytes, size_t n) {
  if (http) return n > 0 && bytes[n - 1] == '!' ? 0 : c->expected;
  return c->expected - n;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  connection *c = (connection *)stream;
  check(n < 0 ? (int)n : 0, "read");
  c->expected = missing(c, buf->base, (size_t)n);
  if (c->expected > 0 || n == 0) return;
  if (--to_come == counted) cpu_from = server_cpu();
  if (to_come == 0)
    finish((server_cpu() - cpu_from) / (double)counted);
  else
    send_message(c);
}

static void on_connect(uv_connect_t *req, int status) {
  connection *c = req->data;
  check(status, "connect");
  uv_tcp_nodelay(&c->tcp, 1);
  check(uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read), "read");
  send_message(c);
}

static void connect_to(const struct sockaddr *address) {
  for (int i = 0; i < connections; i++) {
    connection *c = calloc(1, sizeof *c);
    c->connect.data = c;
    uv_tcp_init(loop, &c->tcp);
    check(uv_tcp_connect(&c->connect, &c->tcp, address, on_connect), "connect");
  }
}

static void make_message(const char *what) {
  static char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
                          "User-Agent: bench\r\nAccept: */*\r\n\r\n";
  http = strcmp(what, "http") == 0;
  message_size = http ? sizeof request - 1 : (size_t)atol(what);
  message = http ? request : calloc(1, message_size);
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: message_client CONNECTIONS BYTES|http MESSAGES "
                    "SERVER\n");
    return EXIT_FAILURE;
  }
  connections = atoi(argv[1]);
  make_message(argv[2]);
  counted = atol(argv[3]);
  to_send = to_come = counted + (counted + 9) / 10;
  run_with(argv + 4);
  return EXIT_SUCCESS;
}
