/* SPDX-License-Identifier: MIT */
/* descriptors.h - the descriptors of the process: those that programs do not
 * inherit, and the standard ones. */
#ifndef LUNADO_CORE_DESCRIPTORS_H
#define LUNADO_CORE_DESCRIPTORS_H

/* Marks all open descriptors of the process from `first` on: they are closed in
 * each program that this process starts from now on, unless the starter hands
 * one on expressly.  libuv marks the descriptors that it opens; those of Lua's
 * io.open and of other libraries often are not marked. */
void lunado_cloexec_from(int first);

/* Opens /dev/null in the place of each standard descriptor, 0 to 2, that is
 * closed.  Otherwise libuv would use its number for itself, and would end the
 * process when it closes that.  To be called before a uv_loop_t is made. */
void lunado_fill_standard_descriptors(void);

#endif
