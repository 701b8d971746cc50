/* SPDX-License-Identifier: MIT */
/*
 * epoll.c - a host whose loop is not libuv's: lunado's loop as one descriptor
 * among others in epoll.  Linux; the BSDs' kqueue can be used in the same way.
 *
 *   epoll
 */
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lunado.h>

static const char script[] = "local lunado = require 'lunado'\n"
                             "for i = 1, 3 do\n"
                             "  coroutine.yield(lunado.sleep(0.005))\n"
                             "  print('script', i)\n"
                             "end\n";

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* The host's own source of events. */
static int open_timer(void) {
  struct itimerspec every = {{0, 4000000}, {0, 4000000}};
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  (void)timerfd_settime(fd, 0, &every, NULL);
  return fd;
}

/* Runs lunado's loop whenever its descriptor is ready or its timeout has
 * passed, as long as the loop has something to wait for. */
static void run(uv_loop_t *loop, int epoll, int timer) {
  int ticks = 0;
  while (uv_run(loop, UV_RUN_NOWAIT) != 0) {
    struct epoll_event event = {.data.fd = -1};
    int timeout;
    uv_update_time(loop); /* libuv counts the wait from its cached time */
    timeout = uv_backend_timeout(loop);
    if (epoll_wait(epoll, &event, 1, timeout) == 1 && event.data.fd == timer) {
      uint64_t times;
      if (read(timer, &times, sizeof times) > 0) ticks += (int)times;
    }
  }
  printf("the host's timer went on: %s\n", ticks > 0 ? "yes" : "no");
}

int main(void) {
  lua_State *L = luaL_newstate();
  int epoll = epoll_create1(0), timer = open_timer(), failed;
  if (L == NULL || epoll < 0 || timer < 0) return 1;
  luaL_openlibs(L);
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  watch(epoll, timer);
  watch(epoll, uv_backend_fd(lunado_getloop(L)));

  failed = luaL_loadstring(L, script);
  if (!failed) {
    lunado_spawn(L, 0);
    run(lunado_getloop(L), epoll, timer);
    failed = lunado_result(L, -1) < 0;
  }
  if (failed) fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));

  lua_close(L);
  close(timer);
  close(epoll);
  return failed;
}
