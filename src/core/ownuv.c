/* SPDX-License-Identifier: MIT */
/*
 * ownuv.c - a uv_loop_t of a loop's own, and how it ends.
 *
 * libuv does not tell whether a uv_run is on the C stack, so this is inferred.
 * While a callback runs, its handle or request is still counted on the
 * uv_loop_t, with two exceptions:
 * - callbacks of requests that run while libuv polls, which is between the
 *   loop's prepare and check handles;
 * - close callbacks, which run only on a pass on which handles were closing
 *   when the check handle was called.
 *
 * Invariants: the check handle is open while the uv_loop_t is open and not
 * lent.  If the uv_loop_t is closed while a uv_run of it may be on the stack,
 * its storage is kept for a while, in the state of a stopped, empty uv_loop_t.
 */
#include "core/ownuv.h"

#include <stdlib.h>

#include "core/descriptors.h"
#include "core/handle.h"
#include "core/spinlock.h"

/* --- storage ------------------------------------------------------------- */

/* How many closed uv_loop_t keep their storage, because their uv_run may still
 * be on the stack.  The storage does not come from the host's allocator,
 * because it outlives the last of the host's states. */
#define RETIRED 8

static uv_loop_t *retired[RETIRED];
static unsigned next_retired;
static atomic_flag retiring = ATOMIC_FLAG_INIT;

static void retire(uv_loop_t *uv) {
  uv_loop_t *oldest;
  lunado__spin_lock(&retiring);
  oldest = retired[next_retired];
  retired[next_retired] = uv;
  next_retired = (next_retired + 1) % RETIRED;
  lunado__spin_unlock(&retiring);
  free(oldest);
}

/* When the module is unloaded or the process ends, no uv_run of a retired
 * uv_loop_t is on the stack any more. */
#ifdef __GNUC__
__attribute__((destructor)) static void free_retired(void) {
  for (unsigned i = 0; i < RETIRED; i++) retire(NULL);
}
#endif

void lunado__ownuv_free(lunado_loop *loop) {
  free(loop->own);
  loop->own = NULL;
}

int lunado__ownuv_open(lunado_loop *loop) {
  int rc;
  loop->own = calloc(1, sizeof *loop->own);
  if (loop->own == NULL) return UV_ENOMEM;
  lunado_fill_standard_descriptors();
  rc = uv_loop_init(loop->own);
  if (rc < 0)
    lunado__ownuv_free(loop);
  else
    loop->uv = loop->own;
  return rc;
}

/* So many passes close what is closing. */
enum { FEW_PASSES = 3 };

/* --- foreign handles and requests ----------------------------------------- */

typedef struct {
  unsigned ours, ours_closing; /* handles: lunado's */
  unsigned open, closing;      /* foreign ones */
} census;

static void count_handle(uv_handle_t *handle, void *arg) {
  census *self = arg;
  if (lunado__handle_is_ours(handle)) {
    self->ours++;
    self->ours_closing += uv_is_closing(handle) != 0;
  } else if (uv_is_closing(handle)) {
    self->closing++;
  } else {
    self->open++;
  }
}

static census count(lunado_loop *loop) {
  census result = {0};
  uv_walk(loop->own, count_handle, &result);
  return result;
}

/* True if no foreign handle or request will call back, except close
 * callbacks. */
static bool is_unused(lunado_loop *loop) {
  return count(loop).open == 0 && loop->own->active_reqs.count == 0;
}

/* True if uv_run, which has the handles in a list of its own while it calls
 * their close callbacks, is doing that: `closing` of lunado's are in that list
 * or in the uv_loop_t's.  (On Windows they may be in neither.) */
static bool is_amid_closing(const uv_loop_t *uv, unsigned closing) {
#ifdef _WIN32
  (void)uv;
  (void)closing;
  return false;
#else
  for (uv_handle_t *at = uv->closing_handles; at != NULL; at = at->next_closing)
    if (closing-- == 0) return false;
  return closing > 0;
#endif
}

/* True if other code may be using the uv_loop_t.  That includes a uv_walk in
 * progress: it has taken handles out of libuv's list, so that some of the
 * loop's handles are missing there. */
static bool is_in_use(lunado_loop *loop) {
  census now = count(loop);
  return loop->polling || now.open + now.closing > 0 ||
         now.ours < loop->handles ||
         is_amid_closing(loop->own, now.ours_closing) ||
         loop->own->active_reqs.count > loop->requests;
}

/* --- closing -------------------------------------------------------------- */

/* Closes the uv_loop_t; returns false while it is not empty.  `driven`: a
 * uv_run may be on the stack. */
static bool close_own(lunado_loop *loop, bool driven) {
  uv_loop_t before = *loop->own;
  if (uv_loop_close(loop->own) != 0) return false;
  loop->owns_uv = false;
  if (driven) {
    *loop->own = before; /* the uv_run on the stack finds nothing left */
    loop->own->stop_flag = 1;
    retire(loop->own);
    loop->own = NULL;
  }
  lunado_loop_unref(loop);
  return true;
}

static void on_check_closed(uv_handle_t *handle);

static void close_check(lunado_loop *loop) {
  if (!loop->check_open || loop->check_closing) return;
  loop->check_closing = true;
  lunado__handle_close(&loop->check, on_check_closed);
}

static void on_check(uv_check_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, check);
  loop->polling = false;
#ifdef _WIN32
  uv_unref((uv_handle_t *)handle); /* close_check_again */
  loop->closing_handles = handle->loop->endgame_handles != NULL;
#else
  loop->closing_handles = handle->loop->closing_handles != NULL;
#endif
  if (loop->close_later && is_unused(loop)) close_check(loop);
}

static void open_check(lunado_loop *loop) {
  loop->check_open = true;
  (void)uv_check_init(loop->uv, &loop->check);
  (void)uv_check_start(&loop->check, on_check);
  uv_unref((uv_handle_t *)&loop->check);
}

/* While other close callbacks are still to come, the uv_loop_t needs another
 * pass, and uv_run makes one only if some handle is closing.  So the check
 * handle, which is open again, is closed again. */
static void close_check_again(lunado_loop *loop) {
#ifdef _WIN32
  /* A handle that is closed in a close callback has its own callback called
   * without a pass in between, for ever.  So the pass comes first: the handle
   * keeps uv_run going, on_check closes it, and an empty package ends the wait
   * for events. */
  uv_ref((uv_handle_t *)&loop->check);
  (void)PostQueuedCompletionStatus(loop->own->iocp, 0, 0, NULL);
#else
  close_check(loop);
#endif
}

static void on_check_closed(uv_handle_t *handle) {
  lunado_loop *loop =
      lunado_container_of((uv_check_t *)handle, lunado_loop, check);
  lunado__handle_closed(handle);
  loop->handles--;
  loop->check_open = loop->check_closing = false;
  if (loop->close_later && !close_own(loop, true)) {
    loop->handles++;
    open_check(loop);
    if (is_unused(loop)) close_check_again(loop);
    return;
  }
  lunado_loop_unref(loop);
}

void lunado__ownuv_open_check(lunado_loop *loop) {
  loop->handles++;
  lunado_loop_ref(loop);
  open_check(loop);
}

/* Finishes the requests of a library that the uv_loop_t was lent to, and the
 * closing of its handles. */
static void drain(lunado_loop *loop) {
  loop->was_lent = false;
  while (loop->own->active_reqs.count > 0 || count(loop).closing > 0)
    (void)uv_run(loop->own, UV_RUN_ONCE);
}

/* From libuv 1.45 on, timers run at the end of a pass, so a foreign timer that
 * was closed in its callback may still be closing when a run ends. */
void lunado__ownuv_finish(lunado_loop *loop) {
  for (int i = 0; i < FEW_PASSES && loop->close_later && loop->owns_uv &&
                  loop->depth == 0 && is_unused(loop);
       i++)
    (void)uv_run(loop->own, UV_RUN_NOWAIT);
}

void lunado__ownuv_close(lunado_loop *loop) {
  bool driven = loop->closing_handles;
  if (!loop->owns_uv || loop->lent || !loop->closed) return;
  if (loop->was_lent && !lunado_loop_running(loop)) drain(loop);
  if (loop->running) return;
  if (uv_is_closing((uv_handle_t *)&loop->check)) close_check(loop);
  loop->close_later = loop->depth > 0 || is_in_use(loop);
  if (loop->close_later) {
    if (!loop->check_open) lunado__ownuv_open_check(loop);
    return;
  }
  close_check(loop);
  while (!close_own(loop, driven)) (void)uv_run(loop->own, UV_RUN_ONCE);
}

bool lunado_loop_lend_uv(lunado_loop *loop) {
  if (!loop->owns_uv || loop->lent) return false;
  loop->lent = loop->was_lent = true;
  close_check(loop); /* a lent uv_loop_t is treated like a borrowed one */
  return true;
}

void lunado_loop_reclaim_uv(lunado_loop *loop, bool open) {
  loop->lent = false;
  if (open) {
    lunado__ownuv_close(loop);
  } else {
    loop->owns_uv = false;
    lunado_loop_unref(loop);
  }
}
