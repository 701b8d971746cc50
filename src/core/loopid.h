/* SPDX-License-Identifier: MIT */
/*
 * loopid.h - the name of a loop, which may be used when the loop is gone.
 *
 * Other threads and signal handlers hold ids instead of pointers.  A reader
 * that comes too late gets NULL, so that a loop may be freed without waiting
 * for late readers.
 *
 * An id is a number other than 0.  It is used again after some two to the power
 * of LUNADO_LOOPID_BITS other loops have had one.
 */
#ifndef LUNADO_CORE_LOOPID_H
#define LUNADO_CORE_LOOPID_H

#include <stdint.h>

/* Half of the bits of a pointer, so that an id and a number that the loop gives
 * out fit into one pointer together. */
#if UINTPTR_MAX > 0xffffffffu
#define LUNADO_LOOPID_BITS 32
#define LUNADO_LOOPID_PLACE_BITS 12
#else
#define LUNADO_LOOPID_BITS 16
#define LUNADO_LOOPID_PLACE_BITS 8
#endif

/* How many open loops of the process may have an id at once. */
#define LUNADO_ADDRESSES (1u << LUNADO_LOOPID_PLACE_BITS)

typedef uint32_t lunado_loopid;
typedef struct lunado_loop lunado_loop;

/* Puts the loop's address, made on first use, into *address; on the loop's
 * thread.
 * Returns 0; UV_ENFILE when LUNADO_ADDRESSES are in use; UV_ECANCELED when
 * the loop is closed; then *address is 0. */
int lunado_loop_id(lunado_loop *loop, lunado_loopid *address);

/* The open loop at the id, which cannot close until it is left; NULL
 * when it has closed, and then there is nothing to leave.  For as long as it
 * takes to send a message: who closes the loop waits actively.  From any
 * thread or signal handler. */
lunado_loop *lunado_loopid_enter(lunado_loopid address);

/* Leaves the loop that lunado_loopid_enter gave. */
void lunado_loopid_leave(lunado_loopid address);

/* --- for the loop -------------------------------------------------------- */

/* No reader enters from now on; returns when all readers have left. */
void lunado__address_close(lunado_loop *loop);

#endif
