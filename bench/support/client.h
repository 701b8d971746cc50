/* SPDX-License-Identifier: MIT */
/*
** What the clients of the network workloads share: they start the server, learn
** its port from the first line that it prints, and read its CPU time.  What the
** server prints after that line is passed on.  The file that includes this
** header defines connect_to(address), which begins the work.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static uv_loop_t *loop;
static uv_process_t server;

static void connect_to(const struct sockaddr *address);

static inline void check(int status, const char *what) {
  if (status == 0) return;
  fprintf(stderr, "client: %s: %s\n", what, uv_strerror(status));
  exit(EXIT_FAILURE);
}

/* Returns the time that the server has spent in user mode, in ns, from samples
** of the system. */
static inline double server_user(void) {
  char name[64];
  unsigned long ticks = 0;
  snprintf(name, sizeof name, "/proc/%d/stat", server.pid);
  FILE *file = fopen(name, "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%*d (%*[^)]) %*c%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%lu",
             &ticks) != 1)
    ticks = 0;
  fclose(file);
  return (double)ticks * 1e9 / (double)sysconf(_SC_CLK_TCK);
}

/* Returns the CPU time of the server so far, of all its threads, in ns; with
** BENCH_USER in the environment, only that in user mode. */
static inline double server_cpu(void) {
  clockid_t id;
  struct timespec t;
  if (getenv("BENCH_USER") != NULL) return server_user();
  check(-clock_getcpuclockid(server.pid, &id), "server's clock");
  clock_gettime(id, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline long server_peak_kb(void) {
  char name[64], line[128];
  long kb = 0;
  snprintf(name, sizeof name, "/proc/%d/status", server.pid);
  FILE *file = fopen(name, "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL)
    sscanf(line, "VmHWM: %ld", &kb);
  if (file != NULL) fclose(file);
  return kb;
}

/* Prints the figures of a server that has spent `ns` for each operation, and
** ends it. */
static inline void finish(double ns) {
  printf("ns %.1f\n", ns);
  printf("peak_kb %ld\n", server_peak_kb());
  uv_process_kill(&server, SIGKILL);
  uv_stop(loop);
}

static void on_output(uv_stream_t *out, ssize_t n, const uv_buf_t *buf) {
  static int port;
  struct sockaddr_in address;
  (void)out;
  if (n < 0) {
    uv_stop(loop);
  } else if (n > 0 && port != 0) {
    fwrite(buf->base, 1, (size_t)n, stdout);
  } else if (n > 0) {
    buf->base[n] = '\0';
    port = atoi(buf->base);
    uv_ip4_addr("127.0.0.1", port, &address);
    connect_to((const struct sockaddr *)&address);
  }
}

static void on_output_alloc(uv_handle_t *out, size_t size, uv_buf_t *buf) {
  static char text[256];
  (void)out;
  (void)size;
  *buf = uv_buf_init(text, sizeof text - 1);
}

/* Starts the server, and runs the loop until finish() or the server's end. */
static inline void run_with(char **command) {
  static uv_pipe_t out;
  uv_stdio_container_t stdio[3] = {
      {.flags = UV_IGNORE},
      {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
       .data.stream = (uv_stream_t *)&out},
      {.flags = UV_INHERIT_FD, .data.fd = 2},
  };
  uv_process_options_t options = {
      .file = command[0],
      .args = command,
      .stdio = stdio,
      .stdio_count = 3,
  };
  loop = uv_default_loop();
  uv_pipe_init(loop, &out, 0);
  check(uv_spawn(loop, &server, &options), command[0]);
  check(uv_read_start((uv_stream_t *)&out, on_output_alloc, on_output), "pipe");
  uv_run(loop, UV_RUN_DEFAULT);
}
