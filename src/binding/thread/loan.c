/* SPDX-License-Identifier: MIT */
/*
 * loan.c - strings of a worker's state that the home thread copies.
 *
 * A loan is a userdata of the worker's state, which the registry holds under
 * the loan's address until the loan is back.  Its user value 1 is the list of
 * the strings.  The home thread reads and writes only the fields of the loan.
 *
 * The worker and each loan that is out have a reference to the lender.  So
 * whoever gives the last loan back may still use the mutex while the worker
 * ends.
 */
#include "binding/thread/loan.h"

#include <uv.h>

#include "binding/thread/parcel.h"
#include "core/alloc.h"

/* The worker is woken for this many bytes. */
#define LUNADO_WAKING ((size_t)8 * 1024 * 1024)

struct lunado__loan {
  lunado__loan *next;     /* in lender->back */
  lunado__lender *lender; /* a reference until it is given back */
  size_t bytes;           /* of the strings */
};

struct lunado__lender {
  size_t bytes;       /* the worker's: lent and not yet collected */
  uv_mutex_t mutex;   /* guards the following fields */
  uv_cond_t returned; /* a loan was given back */
  lunado__loan *back; /* given back and not yet collected */
  size_t back_bytes;  /* of these */
  size_t refs;        /* the worker, and the loans that are out */
};

lunado__lender *lunado__loan_lender(void) {
  lunado__lender *self = lunado__alloc(sizeof *self);
  if (self == NULL) return NULL;
  self->refs = 1;
  if (uv_mutex_init(&self->mutex) == 0) {
    if (uv_cond_init(&self->returned) == 0) return self;
    uv_mutex_destroy(&self->mutex);
  }
  lunado__free(self);
  return NULL;
}

/* Releases the mutex and one reference. */
static void unlock_and_release(lunado__lender *self) {
  bool last = --self->refs == 0;
  uv_mutex_unlock(&self->mutex);
  if (!last) return;
  uv_cond_destroy(&self->returned);
  uv_mutex_destroy(&self->mutex);
  lunado__free(self);
}

lunado__loan *lunado__loan_new(lua_State *L, lunado__lender *lender, int idx) {
  size_t bytes = lunado__parcel_at(L, idx)->lent;
  lunado__loan *loan;
  if (bytes == 0) return NULL;
  idx = lua_absindex(L, idx);
  loan = lua_newuserdatauv(L, sizeof *loan, 1);
  lunado__parcel_push_lent(L, idx);
  lua_setiuservalue(L, -2, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, loan);
  loan->lender = lender;
  loan->bytes = bytes;
  lender->bytes += bytes;
  uv_mutex_lock(&lender->mutex);
  lender->refs++;
  uv_mutex_unlock(&lender->mutex);
  return loan;
}

void lunado__loan_collect(lua_State *L, lunado__lender *lender) {
  lunado__loan *loan;
  if (lender->bytes == 0) return;
  uv_mutex_lock(&lender->mutex);
  loan = lender->back;
  lender->back = NULL;
  lender->back_bytes = 0;
  uv_mutex_unlock(&lender->mutex);
  while (loan != NULL) {
    lunado__loan *next = loan->next;
    lender->bytes -= loan->bytes;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, loan);
    loan = next;
  }
}

int lunado__loan_kilobytes(const lunado__lender *lender) {
  return (int)(lender->bytes / 1024);
}

void lunado__loan_close(lunado__lender *lender) {
  uv_mutex_lock(&lender->mutex);
  while (lender->refs > 1) uv_cond_wait(&lender->returned, &lender->mutex);
  unlock_and_release(lender);
}

bool lunado__loan_give_back(lunado__loan *loan) {
  lunado__lender *lender = loan->lender;
  bool wake;
  uv_mutex_lock(&lender->mutex);
  wake = lender->back_bytes < LUNADO_WAKING;
  loan->next = lender->back;
  lender->back = loan;
  lender->back_bytes += loan->bytes;
  wake = wake && lender->back_bytes >= LUNADO_WAKING;
  uv_cond_signal(&lender->returned);
  unlock_and_release(lender);
  return wake;
}
