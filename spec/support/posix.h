/* SPDX-License-Identifier: MIT */
/*
 * posix.h - what the tests in C use of POSIX.
 *
 * On Windows only sockets can be polled, so they stand for pipes, too; there are
 * no local sockets, for which TCP stands.
 */
#ifndef LUNADO_SPEC_SUPPORT_POSIX_H
#define LUNADO_SPEC_SUPPORT_POSIX_H

#ifndef _WIN32

#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#else

#include <fcntl.h>
#include <io.h>
#include <unistd.h>
#include <uv.h>

#define SIGPIPE SIGFPE /* is ignored, harmlessly */

struct sockaddr_un {
  unsigned short sun_family;
  char sun_path[108];
};

static inline int posix_pair(int fds[2]) {
  uv_os_sock_t ends[2];
  WSADATA data;
  int rc = WSAStartup(MAKEWORD(2, 2), &data) != 0 ? -1 : 0;
  if (rc == 0) rc = uv_socketpair(SOCK_STREAM, 0, ends, 0, 0);
  fds[0] = rc < 0 ? -1 : (int)ends[0];
  fds[1] = rc < 0 ? -1 : (int)ends[1];
  return rc < 0 ? -1 : 0;
}

static inline int posix_is_socket(int fd) {
  int type, size = sizeof type;
  return getsockopt((SOCKET)fd, SOL_SOCKET, SO_TYPE, (char *)&type, &size) == 0;
}

static inline ssize_t posix_read(int fd, void *data, size_t size) {
  return posix_is_socket(fd) ? recv((SOCKET)fd, data, (int)size, 0)
                             : read(fd, data, (unsigned)size);
}

static inline ssize_t posix_write(int fd, const void *data, size_t size) {
  return posix_is_socket(fd) ? send((SOCKET)fd, data, (int)size, 0)
                             : write(fd, data, (unsigned)size);
}

static inline int posix_close(int fd) {
  return posix_is_socket(fd) ? closesocket((SOCKET)fd) : close(fd);
}

/* Whether the descriptor is open, as the tests ask for. */
static inline int posix_fcntl(int fd) {
  return posix_is_socket(fd) || _get_osfhandle(fd) != -1 ? 0 : -1;
}

static inline ssize_t pread(int fd, void *data, size_t size, off_t at) {
  return lseek(fd, at, SEEK_SET) < 0 ? -1 : read(fd, data, (unsigned)size);
}

static inline ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return lseek(fd, at, SEEK_SET) < 0 ? -1 : write(fd, data, (unsigned)size);
}

#undef near /* macros of Windows' headers, and functions of its C library */
#undef far
#undef small
#define tell tell_
#define F_GETFD 1
#define fcntl(fd, what, ...) posix_fcntl(fd)
#define pipe(fds) posix_pair(fds)
#define socketpair(family, type, protocol, fds) posix_pair(fds)
#define read(fd, data, size) posix_read(fd, data, size)
#define write(fd, data, size) posix_write(fd, data, size)
#define close(fd) posix_close(fd)
#define alarm(seconds) ((void)(seconds))
#define setsockopt(fd, level, name, value, size) \
  (setsockopt)((SOCKET)(fd), level, name, (const char *)(value), size)

#endif

#endif
