/* SPDX-License-Identifier: MIT */
/*
 * loan.h - strings of a worker's state that the home thread copies.
 *
 * The results of a job may have long strings, which a worker lends.  It anchors
 * them until the home thread, which has copied them, gives the loan back.  A
 * worker must not close its state before it has got all loans back.
 */
#ifndef LUNADO_BINDING_THREAD_LOAN_H
#define LUNADO_BINDING_THREAD_LOAN_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lunado__loan lunado__loan;
typedef struct lunado__lender lunado__lender;

/* --- on the worker's thread ----------------------------------------------- */

/* Returns a new lender, or NULL if memory is short. */
lunado__lender *lunado__loan_lender(void);

/* Makes a loan of the strings that the parcel of the userdata at idx has
 * borrowed, and anchors them.  Returns NULL if it has borrowed none.
 * [-0, +0, m] */
lunado__loan *lunado__loan_new(lua_State *L, lunado__lender *lender, int idx);

/* Forgets the loans that are back.  [-0, +0, -] */
void lunado__loan_collect(lua_State *L, lunado__lender *lender);

/* Returns how many kilobytes are lent. */
int lunado__loan_kilobytes(const lunado__lender *lender);

/* Waits until all loans are back, and frees the lender. */
void lunado__loan_close(lunado__lender *lender);

/* --- on the home thread --------------------------------------------------- */

/* Gives the loan back.  Returns true if so much has been given back that the
 * worker should call lunado__loan_collect even if it has no job. */
bool lunado__loan_give_back(lunado__loan *loan);

#endif
