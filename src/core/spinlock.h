/* SPDX-License-Identifier: MIT */
/*
 * spinlock.h - locks for a few instructions, shared by the threads of the
 * process.
 *
 * A lock is an atomic_flag, initialized by ATOMIC_FLAG_INIT, so that it needs
 * no memory and no end, which a library that is unloaded would have to see.
 */
#ifndef LUNADO_CORE_SPINLOCK_H
#define LUNADO_CORE_SPINLOCK_H

#include <stdatomic.h>

/* Waits until no other thread has the lock, and takes it. */
static inline void lunado__spin_lock(atomic_flag *busy) {
  while (atomic_flag_test_and_set_explicit(busy, memory_order_acquire))
    continue;
}

static inline void lunado__spin_unlock(atomic_flag *busy) {
  atomic_flag_clear_explicit(busy, memory_order_release);
}

#endif
