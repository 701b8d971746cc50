/* SPDX-License-Identifier: MIT */
/* system.h - sockets, buffers and programs, where Windows and POSIX or
 * versions of libuv differ. */
#ifndef LUNADO_CORE_SYSTEM_H
#define LUNADO_CORE_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* The type of uv_buf_t's `len`, which holds less than a size_t on Windows. */
#ifdef _WIN32
typedef ULONG lunado_buf_size;
#else
typedef size_t lunado_buf_size;
#endif

/* Returns the number of processors that this process may use, at least 1. */
unsigned lunado_system_processors(void);

/* Closes a socket, or on POSIX any descriptor. */
void lunado_system_close_socket(uv_os_sock_t fd);

/* Makes the next close of the handle's socket reset the connection.  Returns 0
 * or an error of libuv's. */
int lunado_system_reset_at_close(const uv_tcp_t *handle);

/* Drops the bytes that have arrived at a socket and were not read, if there are
 * no more than 64 KiB.  A socket that is closed with such bytes resets its
 * connection, and the peer may not get what was sent last. */
void lunado_system_drop_input(const uv_stream_t *handle);

/* False for a named pipe of Windows: libuv's uv_try_write does nothing there,
 * but what uv_write gives the pipe arrives, although the pipe is closed. */
bool lunado_system_writes_at_once(const uv_stream_t *handle);

/* True if the pipe is a socket, whose directions end one by one; false if it is
 * a pipe of the system, also a named one of Windows. */
bool lunado_system_is_socket(const uv_pipe_t *handle);

/* The longest path of a local socket, or on Windows of a named pipe.  libuv may
 * truncate a longer one. */
size_t lunado_system_longest_path(void);

/* Removes the local socket at the path; leaves any other file.  A named pipe
 * needs no removal. */
void lunado_system_remove_socket(const char *path);

/* Sets the permissions of the local socket at the path, and returns 0 or an
 * error of libuv's.  A named pipe has no such permissions. */
int lunado_system_set_mode(const char *path, unsigned mode);

/* Writes the path of a local socket, or that of its peer, to `path`, which has
 * room for *size bytes, and its length to *size.  The path is empty if the
 * socket has no name.  Returns 0 or an error of libuv's. */
int lunado_system_socket_path(const uv_pipe_t *handle, bool peer, char *path,
                              size_t *size);

/* True if a socket is a descriptor, which a program can get: not on Windows. */
bool lunado_system_has_socket_descriptors(void);

/* Opens two sockets that are connected with each other, and that programs do
 * not inherit.  Returns 0 or an error of libuv's: UV_ENOTSUP where a socket is
 * no descriptor. */
int lunado_system_socketpair(uv_file fds[2]);

/* Takes the status of a program that this process has started, and that libuv
 * no longer watches; with `wait` waits for the program's end.  Returns 1 and
 * sets *status to that of its exit, or to the negative number of a signal; 0 if
 * the program still runs; or an error of libuv's. */
int lunado_system_reap(int pid, bool wait, int64_t *status);

/* Ensures that the id of a program, which has not been reaped, belongs to no
 * other one until lunado_system_release_id gets the result.  On POSIX the id is
 * its own until it is reaped; this does nothing and returns NULL, as it does
 * when Windows has no memory. */
void *lunado_system_hold_id(int pid);
void lunado_system_release_id(void *held);

/* Returns the status of a program that has ended with `status`, after this
 * process has sent it a signal (0: none).  The system says itself that a signal
 * has ended a program, except for Windows: there the signal ends it with 1. */
int64_t lunado_system_status(int64_t status, int signum);

#endif
