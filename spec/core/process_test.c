/* SPDX-License-Identifier: MIT */
/* process_test.c - programs: their ends, loops that close before, descriptors.
 */
#define _XOPEN_SOURCE 700 /* kill, mkfifo */

#include "core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/descriptors.h"
#include "support.h"

static lunado_process *process;
static unsigned ended; /* calls of on_ended */

static void on_ended(lunado_process *self) {
  assert_ptr_equal(self, process);
  ended++;
}

static int spawn_with(lunado_loop *loop, const char *file, const char *command,
                      int fd) {
  char *args[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
  uv_stdio_container_t stdio[3];
  uv_process_options_t options;
  memset(&options, 0, sizeof options);
  memset(stdio, 0, sizeof stdio);
  stdio[1].flags = fd >= 0 ? UV_INHERIT_FD : UV_IGNORE;
  stdio[1].data.fd = fd;
  options.file = file;
  options.args = args;
  options.stdio = stdio;
  options.stdio_count = 3;
  ended = 0;
  return lunado_process_spawn(&process, loop, &options, on_ended);
}

static void spawn(lunado_loop *loop, const char *command) {
  assert_int_equal(spawn_with(loop, "sh", command, -1), 0);
  assert_true(process->pid > 0);
}

static bool has_ended(int64_t *status) {
  return lunado_process_status(process, status);
}

/* Runs the loop until the program has ended; returns its status. */
static int64_t run_to_end(lunado_loop *loop) {
  int64_t status;
  lunado_process_keep_alive(process, true);
  while (!has_ended(&status)) (void)uv_run(loop->uv, UV_RUN_ONCE);
  assert_int_equal(ended, 1);
  return status;
}

/* True while the system has a process of that id, a zombie included. */
static bool exists(int pid) { return kill(pid, 0) == 0 || errno != ESRCH; }

static void release(void) {
  lunado_process_release(process);
  process = NULL;
}

/* --- ends ----------------------------------------------------------------- */

static void ends_with_its_status(void **state) {
  lunado_loop *loop = *state;
  int pid;
  spawn(loop, "exit 7");
  pid = process->pid;
  lunado__check(loop);
  assert_int_equal(run_to_end(loop), 7);
  assert_false(exists(pid));
  release();
}

static void ends_by_a_signal(void **state) {
  lunado_loop *loop = *state;
  spawn(loop, "exec sleep 60");
  assert_int_equal(lunado_process_kill(process, SIGTERM), 0);
  assert_int_equal(run_to_end(loop), -SIGTERM);
  assert_int_equal(lunado_process_kill(process, SIGTERM), UV_ESRCH);
  release();
}

static void cannot_be_started(void **state) {
  assert_int_equal(spawn_with(*state, "/no/such/program", "", -1), UV_ENOENT);
  assert_null(process);
  lunado__check(*state);
}

static void keeps_a_run_alive_if_asked_to(void **state) {
  lunado_loop *loop = *state;
  spawn(loop, "exec sleep 60");
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(ended, 0);
  assert_int_equal(lunado_process_kill(process, SIGKILL), 0);
  lunado_process_keep_alive(process, true);
  assert_int_equal(lunado_loop_run(loop, false), LUNADO_RUN_EMPTY);
  assert_int_equal(ended, 1);
  release();
}

static void is_reaped_after_its_owner(void **state) {
  lunado_loop *loop = *state;
  int pid;
  spawn(loop, "exec sleep 60");
  pid = process->pid;
  lunado_process_keep_alive(process, true);
  release();
  assert_int_equal(kill(pid, SIGKILL), 0);
  while (exists(pid)) (void)uv_run(loop->uv, UV_RUN_ONCE);
  assert_int_equal(ended, 0);
}

static void is_waited_for_on_the_spot(void **state) {
  lunado_loop *loop = *state;
  int64_t status;
  int pid;
  spawn(loop, "exec sleep 60");
  pid = process->pid;
  assert_int_equal(lunado_process_kill(process, SIGKILL), 0);
  lunado_process_reap(process);
  assert_false(exists(pid));
  assert_int_equal(ended, 1);
  assert_true(has_ended(&status));
  assert_int_equal(status, -SIGKILL);
  lunado_process_reap(process);
  assert_int_equal(ended, 1);
  release();
}

static void other_code_may_reap_it(void **state) {
  int reaped, pid;
  int64_t status;
  spawn(*state, "exit 3");
  pid = process->pid;
  while (waitpid(pid, &reaped, 0) < 0) assert_int_equal(errno, EINTR);
  lunado_process_reap(process);
  assert_true(has_ended(&status));
  assert_int_equal(status, LUNADO_PROCESS_UNKNOWN);
  release();
}

/* --- loops that close ----------------------------------------------------- */

static void lasts_longer_than_its_loop(void **state) {
  lunado_loop *loop = *state;
  int64_t status;
  int pid;
  spawn(loop, "exec sleep 60");
  pid = process->pid;
  lunado_loop_close(loop);
  lunado__check(loop);
  assert_false(has_ended(&status));
  assert_int_equal(lunado_process_kill(process, SIGKILL), 0);
  while (!has_ended(&status)) (void)usleep(1000);
  assert_int_equal(status, -SIGKILL);
  assert_int_equal(ended, 0);
  assert_false(exists(pid));
  release();
}

static void is_waited_for_after_its_loop(void **state) {
  int64_t status;
  spawn(*state, "exec sleep 60");
  lunado_loop_close(*state);
  assert_int_equal(lunado_process_kill(process, SIGKILL), 0);
  lunado_process_reap(process);
  assert_true(has_ended(&status));
  assert_int_equal(status, -SIGKILL);
  release();
}

/* An orphan that nobody asks for is reaped when another program is started. */
static void is_reaped_by_the_next(void **state) {
  lunado_loop *other;
  int pid;
  spawn(*state, "exec sleep 60");
  pid = process->pid;
  release();
  lunado_loop_close(*state);
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(lunado_loop_new(&other, NULL), 0);
  while (exists(pid)) {
    spawn(other, "exit 0");
    (void)run_to_end(other);
    release();
  }
  lunado_loop_close(other);
  lunado_loop_unref(other);
}

static void cannot_be_started_on_a_closed_loop(void **state) {
  lunado_loop_close(*state);
  assert_int_equal(spawn_with(*state, "sh", "", -1), UV_ECANCELED);
  assert_null(process);
}

/* --- descriptors ---------------------------------------------------------- */

/* What the program writes to its stdout, a pipe. */
static size_t output_of(lunado_loop *loop, const char *command, char *text,
                        size_t size) {
  int fds[2];
  ssize_t n;
  size_t all = 0;
  assert_int_equal(pipe(fds), 0);
  assert_int_equal(spawn_with(loop, "sh", command, fds[1]), 0);
  (void)close(fds[1]);
  while ((n = read(fds[0], text + all, size - 1 - all)) > 0) all += (size_t)n;
  assert_int_equal(n, 0);
  (void)close(fds[0]);
  text[all] = '\0';
  assert_int_equal(run_to_end(loop), 0);
  release();
  return all;
}

static void inherits_nothing_else(void **state) {
  char text[100], command[200];
  int fd = open("/dev/null", O_RDONLY), high = fcntl(fd, F_DUPFD, 200);
  assert_true(fd >= 3 && high >= 200);
  (void)snprintf(command, sizeof command,
                 "for fd in %d %d; do (: <&$fd) 2>/dev/null && echo $fd; done; "
                 "echo end",
                 fd, high);
  (void)output_of(*state, command, text, sizeof text);
  assert_string_equal(text, "end\n");
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  (void)close(fd);
  (void)close(high);
}

static void marks_descriptors_from_one_on(void **state) {
  int fd = open("/dev/null", O_RDONLY), later = fcntl(fd, F_DUPFD, fd + 1);
  (void)state;
  lunado_cloexec_from(later);
  assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  assert_true(fcntl(later, F_GETFD) & FD_CLOEXEC);
  (void)close(fd);
  (void)close(later);
}

/* --- memory --------------------------------------------------------------- */

static void failing_allocations(void **state) {
  int rc = UV_ENOMEM;
  for (unsigned n = 1; rc == UV_ENOMEM; n++) {
    memory_fail_at(n);
    rc = spawn_with(*state, "sh", "exit 0", -1);
    memory_fail_at(0);
    lunado__check(*state);
    assert_true(rc == 0 || process == NULL);
    assert_true(n < 20);
  }
  assert_int_equal(rc, 0);
  assert_int_equal(run_to_end(*state), 0);
  release();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      on_both(ends_with_its_status),
      on_both(ends_by_a_signal),
      on_both(cannot_be_started),
      on_own(keeps_a_run_alive_if_asked_to),
      on_both(is_reaped_after_its_owner),
      on_both(is_waited_for_on_the_spot),
      on_both(other_code_may_reap_it),
      on_both(lasts_longer_than_its_loop),
      on_both(is_waited_for_after_its_loop),
      on_both(is_reaped_by_the_next),
      on_both(cannot_be_started_on_a_closed_loop),
      on_both(inherits_nothing_else),
      on_own(marks_descriptors_from_one_on),
      on_both(failing_allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
