/* SPDX-License-Identifier: MIT */
/* descriptors.h - the descriptors of the process: those that programs do not
 * inherit, and the standard ones. */
#ifndef LUNADO_CORE_DESCRIPTORS_H
#define LUNADO_CORE_DESCRIPTORS_H

#include <stdbool.h>

/* Marks all open descriptors of the process from `first` on: they are closed in
 * each program that this process starts from now on, unless the starter hands
 * one on expressly.  libuv marks the descriptors that it opens; those of Lua's
 * io.open and of other libraries often are not marked.  On Windows, where a
 * program inherits only what was made inheritable, this does nothing. */
void lunado_cloexec_from(int first);

/* Marks one descriptor; false: it is closed. */
bool lunado_cloexec(int fd);

/* Returns a marked descriptor of the same file, or an error of libuv's. */
int lunado_dup_cloexec(int fd);

/* Opens /dev/null in the place of each standard descriptor, 0 to 2, that is
 * closed.  Otherwise libuv would use its number for itself, and would end the
 * process when it closes that.  On Windows it does not, and this does nothing.
 * To be called before a uv_loop_t is made. */
void lunado_fill_standard_descriptors(void);

#endif
