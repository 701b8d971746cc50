/* SPDX-License-Identifier: MIT */
/* promise.h - Futures that other threads settle: lunado_newpromise and
 * lunado_promise_settle of lunado.h. */
#ifndef LUNADO_BINDING_PROMISE_H
#define LUNADO_BINDING_PROMISE_H

#include "binding/binding.h"

/* Frees the memory of the loop's promises; the loop is closed. */
void lunado__promises_free(lunado_ioloop *loop);

#endif
