/* SPDX-License-Identifier: MIT */
#define MEASURES_ITSELF
#include "../support/peer.h"

enum { seconds = 2 };

static void on_wake(uv_timer_t *timer) {
  uv_close((uv_handle_t *) timer, (uv_close_cb) free);
}

static void run(long n) {
  uv_loop_t *loop = uv_default_loop();
  long before = status_kb("VmRSS");
  double from = (double) uv_hrtime(), cpu = cpu_ns();
  for (long i = 0; i < n; i++) {
    uv_timer_t *timer = malloc(sizeof *timer);
    uv_timer_init(loop, timer);
    uv_timer_start(timer, on_wake, seconds * 1000, 0);
  }
  found("start_ns", (cpu_ns() - cpu) / (double) n);
  found("bytes", (double) (status_kb("VmRSS") - before) * 1024 / (double) n);
  uv_run(loop, UV_RUN_DEFAULT);
  found("cpu_ns", (cpu_ns() - cpu) / (double) n);
  found("beyond_s", ((double) uv_hrtime() - from) / 1e9 - seconds);
}
