/* SPDX-License-Identifier: MIT */
/* system.c - processors, sockets and programs on POSIX and on Windows. */
#include "core/system.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#ifdef __linux__
#include <sched.h>
#endif

/* libuv 1.44 has a function for this. */
#if UV_VERSION_HEX >= 0x012c00

unsigned lunado_system_processors(void) { return uv_available_parallelism(); }

#else

unsigned lunado_system_processors(void) {
  uv_cpu_info_t *all;
  int count = 0;
#ifdef __linux__
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) == 0)
    return (unsigned)CPU_COUNT(&usable);
#endif
  if (uv_cpu_info(&all, &count) == 0) uv_free_cpu_info(all, count);
  return count > 0 ? (unsigned)count : 1;
}

#endif

/* How often, and how many bytes each time, input is dropped. */
enum { DROPS = 16, DROP = 4096 };

#ifdef _WIN32

void lunado_system_drop_input(const uv_stream_t *handle) {
  char room[DROP];
  uv_os_fd_t fd;
  u_long left;
  if (handle->type != UV_TCP || uv_fileno((const uv_handle_t *)handle, &fd) < 0)
    return;
  for (int i = 0; i < DROPS; i++)
    if (ioctlsocket((SOCKET)fd, FIONREAD, &left) != 0 || left == 0 ||
        recv((SOCKET)fd, room, sizeof room, 0) <= 0)
      return;
}

void lunado_system_close_socket(uv_os_sock_t fd) { (void)closesocket(fd); }

int lunado_system_reset_at_close(const uv_tcp_t *handle) {
  struct linger none = {.l_onoff = 1, .l_linger = 0};
  uv_os_fd_t fd;
  int rc = uv_fileno((const uv_handle_t *)handle, &fd);
  if (rc < 0) return rc;
  rc = setsockopt((SOCKET)fd, SOL_SOCKET, SO_LINGER, (const char *)&none,
                  sizeof none);
  return rc != 0 ? uv_translate_sys_error(WSAGetLastError()) : 0;
}

bool lunado_system_writes_at_once(const uv_stream_t *handle) {
  return handle->type != UV_NAMED_PIPE;
}

bool lunado_system_is_socket(const uv_pipe_t *handle) {
  (void)handle;
  return false;
}

size_t lunado_system_longest_path(void) { return 256; }

void lunado_system_remove_socket(const char *path) { (void)path; }

int lunado_system_set_mode(const char *path, unsigned mode) {
  (void)path, (void)mode;
  return 0;
}

int lunado_system_socket_path(const uv_pipe_t *handle, bool peer, char *path,
                              size_t *size) {
  return peer ? uv_pipe_getpeername(handle, path, size)
              : uv_pipe_getsockname(handle, path, size);
}

bool lunado_system_has_socket_descriptors(void) { return false; }

int lunado_system_socketpair(uv_file fds[2]) {
  (void)fds;
  return UV_ENOTSUP;
}

int lunado_system_reap(int pid, bool wait, int64_t *status) {
  DWORD access = SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, code = 0;
  HANDLE program = OpenProcess(access, FALSE, (DWORD)pid);
  bool ended;
  if (program == NULL) return uv_translate_sys_error((int)GetLastError());
  ended = WaitForSingleObject(program, wait ? INFINITE : 0) == WAIT_OBJECT_0 &&
          GetExitCodeProcess(program, &code);
  (void)CloseHandle(program);
  *status = code;
  return ended;
}

void *lunado_system_hold_id(int pid) {
  return OpenProcess(SYNCHRONIZE, FALSE, (DWORD)pid);
}

void lunado_system_release_id(void *held) {
  if (held != NULL) (void)CloseHandle(held);
}

int64_t lunado_system_status(int64_t status, int signum) {
  return signum != 0 && status == 1 ? -signum : status;
}

#else

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void lunado_system_drop_input(const uv_stream_t *handle) {
  char room[DROP];
  uv_os_fd_t fd;
  if (uv_fileno((const uv_handle_t *)handle, &fd) < 0) return;
  for (int i = 0; i < DROPS; i++)
    if (recv(fd, room, sizeof room, MSG_DONTWAIT) <= 0) return;
}

void lunado_system_close_socket(uv_os_sock_t fd) { (void)close(fd); }

int lunado_system_reset_at_close(const uv_tcp_t *handle) {
  struct linger none = {.l_onoff = 1, .l_linger = 0};
  uv_os_fd_t fd;
  int rc = uv_fileno((const uv_handle_t *)handle, &fd);
  if (rc < 0) return rc;
  rc = setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  return rc < 0 ? uv_translate_sys_error(errno) : 0;
}

bool lunado_system_writes_at_once(const uv_stream_t *handle) {
  (void)handle;
  return true;
}

bool lunado_system_is_socket(const uv_pipe_t *handle) {
  struct stat status;
  uv_os_fd_t fd;
  return uv_fileno((const uv_handle_t *)handle, &fd) == 0 &&
         fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

size_t lunado_system_longest_path(void) {
  return sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
}

void lunado_system_remove_socket(const char *path) {
  struct stat status;
  if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) (void)unlink(path);
}

int lunado_system_set_mode(const char *path, unsigned mode) {
  return chmod(path, (mode_t)mode) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* uv_pipe_getsockname reads what the system has not written where a socket has
 * no name. */
int lunado_system_socket_path(const uv_pipe_t *handle, bool peer, char *path,
                              size_t *size) {
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  uv_os_fd_t fd;
  int rc = uv_fileno((const uv_handle_t *)handle, &fd);
  if (rc < 0) return rc;
  memset(&address, 0, sizeof address);
  rc = peer ? getpeername(fd, (struct sockaddr *)&address, &length)
            : getsockname(fd, (struct sockaddr *)&address, &length);
  if (rc < 0) return uv_translate_sys_error(errno);
  length -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
  if (address.sun_path[0] != '\0')
    length = (socklen_t)strnlen(address.sun_path, sizeof address.sun_path);
  if (length > *size) return UV_ENOBUFS;
  memcpy(path, address.sun_path, length);
  *size = length;
  return 0;
}

bool lunado_system_has_socket_descriptors(void) { return true; }

int lunado_system_socketpair(uv_file fds[2]) {
  return uv_socketpair(SOCK_STREAM, 0, fds, 0, 0);
}

int lunado_system_reap(int pid, bool wait, int64_t *status) {
  int result, rc;
  do {
    rc = waitpid(pid, &result, wait ? 0 : WNOHANG);
  } while (rc < 0 && errno == EINTR);
  if (rc < 0) return uv_translate_sys_error(errno);
  if (rc == 0) return 0;
  *status = WIFSIGNALED(result) ? -WTERMSIG(result) : WEXITSTATUS(result);
  return 1;
}

void *lunado_system_hold_id(int pid) {
  (void)pid;
  return NULL;
}

void lunado_system_release_id(void *held) { (void)held; }

int64_t lunado_system_status(int64_t status, int signum) {
  (void)signum;
  return status;
}

#endif
