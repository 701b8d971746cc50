/* SPDX-License-Identifier: MIT */
/*
 * loopid.h - the id of a loop, which may be used even after the loop is freed.
 *
 * Other threads and signal handlers hold ids instead of pointers.  A reader
 * that enters after the loop has closed gets NULL, so a loop may be freed while
 * other threads still hold its id.
 *
 * An id is a number other than 0.  An id is reused only after about
 * 2^LUNADO_LOOPID_BITS other loops have had an id.
 */
#ifndef LUNADO_CORE_LOOPID_H
#define LUNADO_CORE_LOOPID_H

#include <stdint.h>

/* Half of the bits of a pointer, so that one pointer can hold an id and a
 * number that the loop assigns. */
#if UINTPTR_MAX > 0xffffffffu
#define LUNADO_LOOPID_BITS 32
#define LUNADO_LOOPID_SLOT_BITS 12
#else
#define LUNADO_LOOPID_BITS 16
#define LUNADO_LOOPID_SLOT_BITS 8
#endif

/* How many open loops of the process can have an id at the same time. */
#define LUNADO_LOOPID_MAX (1u << LUNADO_LOOPID_SLOT_BITS)

typedef uint32_t lunado_loopid;
typedef struct lunado_loop lunado_loop;

/* Stores the id of the loop in *id; the first call assigns the id.  Must be
 * called on the loop's thread.
 * Returns 0, UV_ENFILE if LUNADO_LOOPID_MAX ids are in use, or UV_ECANCELED if
 * the loop is closed; *id is 0 after an error. */
int lunado_loopid_get(lunado_loop *loop, lunado_loopid *id);

/* Returns the open loop with this id, which cannot close until the caller calls
 * lunado_loopid_leave.  Returns NULL if the loop has closed;
 * lunado_loopid_leave must then not be called.  The caller should leave as soon
 * as it has sent a message, because the closing thread waits in a busy loop.
 * May be called from any thread or signal handler. */
lunado_loop *lunado_loopid_enter(lunado_loopid id);

/* Leaves the loop that lunado_loopid_enter returned. */
void lunado_loopid_leave(lunado_loopid id);

/* --- for the loop -------------------------------------------------------- */

/* Releases the id, so that no reader enters from now on, and returns when all
 * readers have left. */
void lunado__loopid_close(lunado_loop *loop);

#endif
