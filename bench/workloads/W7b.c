/* SPDX-License-Identifier: MIT */
#include "../support/peer.h"

static void noop(uv_timer_t *timer) {
  (void) timer;
}

static uv_timer_t *later(uv_loop_t *loop) {
  uv_timer_t *timer = malloc(sizeof *timer);
  uv_timer_init(loop, timer);
  uv_timer_start(timer, noop, 100 * 1000, 0);
  return timer;
}

static void run(long n) {
  static uv_timer_t **pending;
  uv_loop_t *loop = uv_default_loop();
  if (pending == NULL) {
    pending = malloc((size_t) n * sizeof *pending);
    for (long i = 0; i < n; i++)
      pending[i] = later(loop);
  }
  for (long i = 0; i < n; i++) {
    uv_timer_stop(pending[i]);
    uv_close((uv_handle_t *) pending[i], (uv_close_cb) free);
    pending[i] = later(loop);
  }
  uv_run(loop, UV_RUN_NOWAIT);
}
