/* SPDX-License-Identifier: MIT */
#include "../support/peer.h"

static uv_timer_t timer;
static uv_idle_t idle;
static long left;

static void on_timeout(uv_timer_t *handle) {
  (void) handle;
  abort();
}

static void on_idle(uv_idle_t *handle) {
  uv_timer_stop(&timer);
  if (--left == 0)
    uv_idle_stop(handle);
  else
    uv_timer_start(&timer, on_timeout, 1000, 0);
}

static void run(long n) {
  uv_loop_t *loop = uv_default_loop();
  if (idle.loop == NULL) {
    uv_timer_init(loop, &timer);
    uv_idle_init(loop, &idle);
  }
  left = n;
  uv_timer_start(&timer, on_timeout, 1000, 0);
  uv_idle_start(&idle, on_idle);
  uv_run(loop, UV_RUN_DEFAULT);
}
