/* SPDX-License-Identifier: MIT */
#include "../support/peer.h"

static long left;

static void on_idle(uv_idle_t *idle) {
  if (--left == 0)
    uv_idle_stop(idle);
}

static void run(long n) {
  static uv_idle_t idle;
  uv_loop_t *loop = uv_default_loop();
  if (idle.loop == NULL)
    uv_idle_init(loop, &idle);
  left = n;
  uv_idle_start(&idle, on_idle);
  uv_run(loop, UV_RUN_DEFAULT);
}
