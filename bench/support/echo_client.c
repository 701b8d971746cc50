/* SPDX-License-Identifier: MIT */
/*
** Starts an echo server, talks to it, and prints the server's CPU time:
**   echo_client CONNECTIONS BYTES MESSAGES SERVER [ARGUMENT ...]
** The server prints its port as its first line.  Each connection sends a
** message, waits until the whole message has come back, and sends the next.
** One tenth of the messages is sent first and not counted, to warm up the
** server.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

typedef struct {
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_write_t write;
  size_t expected; /* bytes of the current message that are not back yet */
  int writing;     /* whether `write` is in use */
} connection;

static uv_loop_t *loop;
static uv_process_t server;
static int connections;
static size_t message_size;
static char *message;

static long to_send;   /* messages not sent yet, including the warm-up */
static long to_come;   /* messages that are not back yet */
static long counted;   /* messages that are timed */
static double cpu_from;

static void check(int status, const char *what) {
  if (status == 0)
    return;
  fprintf(stderr, "echo_client: %s: %s\n", what, uv_strerror(status));
  exit(EXIT_FAILURE);
}

/* Returns the CPU time of the server so far, of all its threads, in ns. */
static double server_cpu(void) {
  clockid_t id;
  struct timespec t;
  check(-clock_getcpuclockid(server.pid, &id), "server's clock");
  clock_gettime(id, &t);
  return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static long server_peak_kb(void) {
  char name[64], line[128];
  long kb = 0;
  snprintf(name, sizeof name, "/proc/%d/status", server.pid);
  FILE *file = fopen(name, "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    sscanf(line, "VmHWM: %ld", &kb);
  if (file != NULL)
    fclose(file);
  return kb;
}

static void finish(void) {
  printf("ns %.1f\n", (server_cpu() - cpu_from) / (double) counted);
  printf("peak_kb %ld\n", server_peak_kb());
  uv_process_kill(&server, SIGKILL);
  uv_stop(loop);
}

static void on_write(uv_write_t *req, int status);

/* Sends the next message, once the last one has been written and has come back.
** Its echo may be complete before libuv reports that it was written. */
static void send_message(connection *c) {
  uv_buf_t buf = uv_buf_init(message, (unsigned) message_size);
  if (to_send == 0 || c->writing || c->expected > 0)
    return;
  to_send--;
  c->expected = message_size;
  c->writing = 1;
  c->write.data = c;
  check(uv_write(&c->write, (uv_stream_t *) &c->tcp, &buf, 1, on_write),
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
  (void) tcp;
  (void) size;
  *buf = uv_buf_init(shared, sizeof shared);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  connection *c = (connection *) stream;
  (void) buf;
  check(n < 0 ? (int) n : 0, "read");
  c->expected -= (size_t) n;
  if (c->expected > 0 || n == 0)
    return;
  if (--to_come == counted)
    cpu_from = server_cpu();
  if (to_come == 0)
    finish();
  else
    send_message(c);
}

static void on_connect(uv_connect_t *req, int status) {
  connection *c = req->data;
  check(status, "connect");
  uv_tcp_nodelay(&c->tcp, 1);
  check(uv_read_start((uv_stream_t *) &c->tcp, on_alloc, on_read), "read");
  send_message(c);
}

static void connect_all(int port) {
  struct sockaddr_in address;
  uv_ip4_addr("127.0.0.1", port, &address);
  for (int i = 0; i < connections; i++) {
    connection *c = calloc(1, sizeof *c);
    c->connect.data = c;
    uv_tcp_init(loop, &c->tcp);
    check(uv_tcp_connect(&c->connect, &c->tcp,
            (const struct sockaddr *) &address, on_connect), "connect");
  }
}

/* Reads the port, in one read: the server writes it as one line. */
static void on_port(uv_stream_t *out, ssize_t n, const uv_buf_t *buf) {
  check(n < 0 ? (int) n : 0, "server's port");
  if (n == 0)
    return;
  uv_read_stop(out);
  buf->base[n] = '\0';
  connect_all(atoi(buf->base));
}

static void on_port_alloc(uv_handle_t *out, size_t size, uv_buf_t *buf) {
  static char line[64];
  (void) out;
  (void) size;
  *buf = uv_buf_init(line, sizeof line - 1);
}

static void start_server(char **command) {
  static uv_pipe_t out;
  uv_stdio_container_t stdio[3] = {
    { .flags = UV_IGNORE },
    { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
      .data.stream = (uv_stream_t *) &out },
    { .flags = UV_INHERIT_FD, .data.fd = 2 },
  };
  uv_process_options_t options = {
    .file = command[0], .args = command, .stdio = stdio, .stdio_count = 3,
  };
  uv_pipe_init(loop, &out, 0);
  check(uv_spawn(loop, &server, &options), command[0]);
  check(uv_read_start((uv_stream_t *) &out, on_port_alloc, on_port), "pipe");
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: echo_client CONNECTIONS BYTES MESSAGES SERVER\n");
    return EXIT_FAILURE;
  }
  loop = uv_default_loop();
  connections = atoi(argv[1]);
  message_size = (size_t) atol(argv[2]);
  counted = atol(argv[3]);
  to_send = to_come = counted + (counted + 9) / 10;
  message = calloc(1, message_size);
  start_server(argv + 4);
  uv_run(loop, UV_RUN_DEFAULT);
  return EXIT_SUCCESS;
}
