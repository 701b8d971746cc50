/* SPDX-License-Identifier: MIT */
/* descriptors.c - marking and filling descriptors of the process. */
#include "core/descriptors.h"

#include <errno.h>
#include <uv.h>

#ifdef _WIN32

#include <io.h>

void lunado_cloexec_from(int first) { (void)first; }

bool lunado_cloexec(int fd) { return _get_osfhandle(fd) != -1; }

int lunado_dup_cloexec(int fd) {
  int copy = _dup(fd);
  return copy < 0 ? uv_translate_sys_error(errno) : copy;
}

void lunado_fill_standard_descriptors(void) {}

#else

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

/* Where a system neither lists its descriptors nor limits their number. */
#define MOST 65536

/* By one call of the system's; false: it has no such call. */
static bool mark_range(int first) {
#if defined(__linux__) && defined(SYS_close_range)
  const unsigned cloexec = 1u << 2; /* CLOSE_RANGE_CLOEXEC */
  return syscall(SYS_close_range, (unsigned)first, ~0u, cloexec) == 0;
#else
  (void)first;
  return false;
#endif
}

bool lunado_cloexec(int fd) {
  int flags = fcntl(fd, F_GETFD);
  if (flags >= 0 && !(flags & FD_CLOEXEC))
    (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  return flags >= 0;
}

/* Those in the system's list; false: there is no list. */
static bool mark_listed(int first) {
  DIR *list = opendir("/dev/fd");
  const struct dirent *entry;
  if (list == NULL) return false;
  while ((entry = readdir(list)) != NULL) {
    char *end;
    long fd = strtol(entry->d_name, &end, 10);
    if (end != entry->d_name && *end == '\0' && fd >= first)
      (void)lunado_cloexec((int)fd);
  }
  (void)closedir(list);
  return true;
}

void lunado_cloexec_from(int first) {
  long most;
  if (mark_range(first) || mark_listed(first)) return;
  most = sysconf(_SC_OPEN_MAX);
  if (most < 0 || most > MOST) most = MOST;
  for (int fd = first; fd < most; fd++) (void)lunado_cloexec(fd);
}

int lunado_dup_cloexec(int fd) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy < 0 ? uv_translate_sys_error(errno) : copy;
}

/* A descriptor that is opened gets the lowest number that is free. */
void lunado_fill_standard_descriptors(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      (void)open("/dev/null", O_RDWR);
}

#endif
