/* SPDX-License-Identifier: MIT */
/* cloexec.h - descriptors that programs which are started do not inherit. */
#ifndef LUNADO_CORE_CLOEXEC_H
#define LUNADO_CORE_CLOEXEC_H

/* Marks all open descriptors of the process from `first` on: they are closed in
 * each program that this process starts from now on, unless the starter hands
 * one on expressly.  libuv marks the descriptors that it opens; those of Lua's
 * io.open and of other libraries often are not marked. */
void lunado_cloexec_from(int first);

#endif
