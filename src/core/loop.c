/* SPDX-License-Identifier: MIT */
/*
 * loop.c - turns, slices and runs, and the handles that they use.
 *
 * Invariants:
 *
 * The idle handle is active while callbacks are ready, and while the first
 * deadline has passed or can be skipped to.  Its callback stops it when neither
 * is true any more.  The async handle is referenced exactly while kept_alive
 * is not 0.
 *
 * libuv computes its wait from its cached time.  The prepare handle is always
 * active and updates that time right before.  For owners that ask libuv for the
 * wait themselves, lunado__loop_leave updates it.
 *
 * Each callback from libuv is enclosed in lunado__loop_enter and
 * lunado__loop_leave, which hold a reference to the loop.  So any callback may
 * close and release the loop.  Each open handle holds a reference too, and so
 * does an open uv_loop_t of the loop's own, because libuv still uses their
 * storage.
 */
#include "core/loop.h"

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/handle.h"
#include "core/jump.h"
#include "core/ownuv.h"
#include "core/poll.h"
#include "core/process.h"
#include "core/stream.h"

#define NS_PER_SECOND 1000000000ull
#define SLICE_NS 1000000ull /* the default */
#define LOOK_NS 50000ull
/* Steps between two looks at the clock, at most.  When cheap steps become
 * expensive, the slice is overrun by at most this many steps. */
#define STRIDE_MAX 32u

/* --- time ---------------------------------------------------------------- */

double lunado_loop_time(lunado_loop *loop) {
  if (loop->clock != NULL) return loop->clock->now(loop->clock);
  return (double)uv_hrtime() / (double)NS_PER_SECOND;
}

void lunado__loop_begin_slice(lunado_loop *loop) {
  loop->looked = uv_hrtime();
  loop->slice_end = loop->looked + loop->slice;
  loop->stride = 1;
  loop->steps = 0;
}

void lunado_loop_set_slice(lunado_loop *loop, uint64_t ns) { loop->slice = ns; }

bool lunado__loop_look(lunado_loop *loop) {
  uint64_t now = uv_hrtime();
  uint64_t elapsed = now - loop->looked;
  if (elapsed < LOOK_NS / 2 && loop->stride < STRIDE_MAX) loop->stride *= 2;
  while (elapsed > LOOK_NS && loop->stride > 1) {
    loop->stride /= 2;
    elapsed /= 2;
  }
  loop->looked = now;
  if (now >= loop->slice_end)
    return true; /* loop->steps is 0, so the next call looks again */
  loop->steps = loop->stride;
  return false;
}

/* --- turns --------------------------------------------------------------- */

void lunado__loop_enter(lunado_loop *loop) {
  lunado_loop_ref(loop);
  loop->depth++;
  loop->inactive = false;
}

static void tell_if_unused(lunado_loop *loop) {
  lunado_unused_cb unused = loop->unused;
  if (!loop->closed || unused == NULL || lunado_loop_running(loop)) return;
  loop->unused = NULL;
  unused(loop);
}

void lunado__loop_exit(lunado_loop *loop) {
  loop->depth--;
  tell_if_unused(loop);
  lunado_loop_unref(loop);
}

void lunado__loop_leave(lunado_loop *loop) {
  if (loop->depth == 1 && !loop->closed) uv_update_time(loop->uv);
  lunado__loop_exit(loop);
}

static void move_all(lunado_link *to, lunado_link *from) {
  if (lunado_list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  lunado_link_init(from);
}

static lunado_callback *take_first(lunado_link *list) {
  lunado_callback *callback =
      lunado_container_of(list->next, lunado_callback, link);
  lunado_link_remove(&callback->link);
  return callback;
}

/* True if no other callback is to begin on this pass. */
static bool must_stop(const lunado_loop *loop) {
  return loop->broken || lunado_loop_urged(loop);
}

/* Returns the remaining callbacks of the turn to the ready list, before those
 * that became ready meanwhile. */
static void defer_turn(lunado_loop *loop) {
  if (!lunado_list_empty(&loop->turn)) loop->turn_deferred = true;
  move_all(&loop->turn, &loop->ready);
  move_all(&loop->ready, &loop->turn);
}

static void run_turn(lunado_loop *loop) {
  loop->turn_deferred = false;
  move_all(&loop->turn, &loop->ready);
  while (!lunado_list_empty(&loop->turn) && !must_stop(loop)) {
    lunado_callback *callback = take_first(&loop->turn);
    if (loop->steps > 0) loop->steps--;
    callback->cb(loop, callback);
  }
  defer_turn(loop);
}

static void run_slice(lunado_loop *loop) {
  lunado__loop_begin_slice(loop);
  do {
    run_turn(loop);
  } while (!lunado_list_empty(&loop->ready) && !loop->stopped &&
           !loop->closed && !must_stop(loop) &&
           !lunado_loop_slice_expired(loop));
}

static bool can_skip(lunado_loop *loop, double now) {
  if (loop->clock == NULL || loop->clock->skip_to == NULL ||
      !lunado_list_empty(&loop->ready) || loop->heap.finite == 0)
    return false;
  return lunado_heap_entry_when(lunado_heap_min(&loop->heap)) > now;
}

/* True if the loop awaits an event from libuv or from another thread. */
static bool is_awaiting(const lunado_loop *loop) {
  return loop->uv->active_reqs.count > 0 ||
         loop->kept_alive > (loop->forever ? 1u : 0u);
}

/* Skips to the first deadline if nothing is awaited and nothing has happened on
 * the previous pass either: an event that was under way may have arrived on
 * that pass. */
static void skip_time(lunado_loop *loop, bool was_inactive) {
  loop->inactive = !is_awaiting(loop);
  if (!was_inactive || !loop->inactive) return;
  loop->inactive = false;
  loop->clock->skip_to(loop->clock,
                       lunado_heap_entry_when(lunado_heap_min(&loop->heap)));
  lunado__timers_run(loop, lunado_loop_time(loop));
}

/* Timers that become due during the slice run on the same pass.  If the run was
 * stopped, only the timers run that were due before the slice. */
static void run_pass(lunado_loop *loop, double now) {
  run_slice(loop);
  if (!loop->stopped) now = lunado_loop_time(loop);
  lunado__timers_run(loop, now);
}

void lunado__loop_deliver_urgent(lunado_loop *loop) {
  if (!loop->closed && lunado_loop_urged(loop)) lunado__mail_deliver(loop);
}

/* Before 1.44.2, UV_RUN_ONCE waits for an event although callbacks have run, if
 * the idle handle has stopped itself.  So it stops on the next pass. */
static bool stops_later(const lunado_loop *loop) {
  return UV_VERSION_HEX < 0x012c02 && !lunado_list_empty(&loop->ready);
}

static void on_idle(uv_idle_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, idle);
  double now = lunado_loop_time(loop);
  bool inactive = loop->inactive, later = stops_later(loop);
  lunado__loop_enter(loop);
  if (can_skip(loop, now))
    skip_time(loop, inactive);
  else
    run_pass(loop, now);
  lunado__loop_deliver_urgent(loop);
  if (!loop->closed && lunado_list_empty(&loop->ready) && !later) {
    (void)uv_idle_stop(&loop->idle);
    lunado__timers_arm(loop);
  }
  lunado__loop_leave(loop);
}

void lunado__loop_wake(lunado_loop *loop) {
  if (!loop->closed && !uv_is_closing((uv_handle_t *)&loop->idle))
    (void)uv_idle_start(&loop->idle, on_idle);
}

void lunado_callback_init(lunado_callback *callback, lunado_callback_fn cb) {
  lunado_link_init(&callback->link);
  callback->cb = cb;
}

void lunado_loop_ready(lunado_loop *loop, lunado_callback *callback) {
  if (loop->closed || !lunado_list_empty(&callback->link)) return;
  lunado_list_append(&loop->ready, &callback->link);
  lunado__loop_wake(loop);
}

void lunado_loop_ready_rest(lunado_loop *loop, lunado_callback *callback) {
  loop->turn_deferred = true;
  lunado_loop_ready(loop, callback);
}

void lunado_callback_cancel(lunado_callback *callback) {
  lunado_link_remove(&callback->link);
}

void lunado_loop_set_clock(lunado_loop *loop, lunado_clock *clock) {
  loop->clock = clock;
  loop->armed = INFINITY;
  lunado__timers_arm(loop);
}

/* --- driving ------------------------------------------------------------- */

static int drive_uv(lunado_loop *loop, uv_run_mode mode) {
  return uv_run(loop->uv, mode);
}

void lunado_loop_set_drive(lunado_loop *loop, lunado_drive_cb drive) {
  loop->drive = drive != NULL ? drive : drive_uv;
}

void lunado_loop_set_unused(lunado_loop *loop, lunado_unused_cb unused) {
  loop->unused = unused;
}

void lunado_loop_keep_alive(lunado_loop *loop) {
  if (loop->kept_alive++ == 0 && !loop->closed)
    uv_ref((uv_handle_t *)&loop->async);
}

void lunado_loop_release(lunado_loop *loop) {
  if (--loop->kept_alive == 0 && !loop->closed)
    uv_unref((uv_handle_t *)&loop->async);
}

/* --- life cycle ---------------------------------------------------------- */

/* Runs last before libuv polls.  While the idle handle is active, libuv does
 * not wait, so its time need not be updated. */
static void on_prepare(uv_prepare_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, prepare);
  lunado__watchers_prepare(loop);
  loop->polling = loop->check_open && !loop->lent;
  if (!uv_is_active((uv_handle_t *)&loop->idle)) uv_update_time(loop->uv);
}

static void on_async(uv_async_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, async);
  lunado__loop_enter(loop);
  lunado__mail_deliver(loop);
  lunado__loop_leave(loop);
}

void lunado_loop_ref(lunado_loop *loop) {
  atomic_fetch_add_explicit(&loop->refs, 1, memory_order_relaxed);
}

void lunado_loop_unref(lunado_loop *loop) {
  if (atomic_fetch_sub_explicit(&loop->refs, 1, memory_order_acq_rel) != 1)
    return;
  lunado__jump_fini(loop);
  lunado__mail_fini(loop);
  lunado_heap_fini(&loop->heap);
  lunado__ownuv_free(loop);
  lunado__free(loop->read_buffer);
  lunado__handle_unmark(loop);
  lunado__free(loop);
}

static void handle_closed(lunado_loop *loop, uv_handle_t *handle) {
  lunado__handle_closed(handle);
  loop->handles--;
  lunado_loop_unref(loop);
}

static void on_timer_closed(uv_handle_t *handle) {
  handle_closed(lunado_container_of((uv_timer_t *)handle, lunado_loop, timer),
                handle);
}

static void on_limit_closed(uv_handle_t *handle) {
  handle_closed(lunado_container_of((uv_timer_t *)handle, lunado_loop, limit),
                handle);
}

static void on_idle_closed(uv_handle_t *handle) {
  handle_closed(lunado_container_of((uv_idle_t *)handle, lunado_loop, idle),
                handle);
}

static void on_prepare_closed(uv_handle_t *handle) {
  handle_closed(
      lunado_container_of((uv_prepare_t *)handle, lunado_loop, prepare),
      handle);
}

static void on_async_closed(uv_handle_t *handle) {
  handle_closed(lunado_container_of((uv_async_t *)handle, lunado_loop, async),
                handle);
}

/* Every open handle holds a reference until its close callback. */
static void handle_opened(lunado_loop *loop) {
  loop->handles++;
  lunado_loop_ref(loop);
}

/* libuv runs the prepare handles in reverse order.  So this one, started first,
 * runs last, and the updated time includes the work of the others. */
static void open_prepare(lunado_loop *loop) {
  (void)uv_prepare_init(loop->uv, &loop->prepare);
  (void)uv_prepare_start(&loop->prepare, on_prepare);
  uv_unref((uv_handle_t *)&loop->prepare);
  handle_opened(loop);
}

static int open_handles(lunado_loop *loop) {
  int rc = uv_async_init(loop->uv, &loop->async, on_async);
  if (rc < 0) return rc;
  handle_opened(loop);
  uv_unref((uv_handle_t *)&loop->async);
  (void)uv_timer_init(loop->uv, &loop->timer);
  handle_opened(loop);
  (void)uv_idle_init(loop->uv, &loop->idle);
  handle_opened(loop);
  open_prepare(loop);
  return 0;
}

static int open_uv(lunado_loop *loop, uv_loop_t *uv) {
  int rc;
  if (uv != NULL) {
    loop->uv = uv;
    return open_handles(loop);
  }
  rc = lunado__ownuv_open(loop);
  if (rc < 0) return rc;
  rc = open_handles(loop);
  if (rc < 0) {
    (void)uv_loop_close(loop->own);
    lunado__ownuv_free(loop);
    return rc;
  }
  lunado__ownuv_open_check(loop);
  loop->owns_uv = true;
  lunado_loop_ref(loop);
  return 0;
}

int lunado_loop_new(lunado_loop **result, uv_loop_t *uv) {
  lunado_loop *loop = lunado__alloc(sizeof *loop);
  int rc;
  *result = NULL;
  if (loop == NULL) return UV_ENOMEM;
  if (lunado__handle_reserve() < 0) {
    lunado__free(loop);
    return UV_ENOMEM;
  }
  lunado_link_init(&loop->ready);
  lunado_link_init(&loop->turn);
  lunado_link_init(&loop->watchers);
  lunado_link_init(&loop->streams);
  lunado_link_init(&loop->processes);
  lunado_link_init(&loop->works);
  lunado_link_init(&loop->kin);
  lunado_link_init(&loop->fresh);
  lunado_link_init(&loop->checked);
  lunado_link_init(&loop->refused);
  lunado_callback_init(&loop->refusal, lunado__watchers_tell);
  lunado_heap_init(&loop->heap);
  atomic_init(&loop->refs, 1);
  loop->armed = INFINITY;
  loop->due = loop->overdue = -INFINITY;
  atomic_init(&loop->urged, false);
  loop->slice = SLICE_NS;
  loop->drive = drive_uv;
  rc = open_uv(loop, uv);
  if (rc < 0) {
    lunado__handle_unreserve();
    lunado__free(loop);
    return rc;
  }
  lunado__handle_mark(loop);
  *result = loop;
  return 0;
}

static void close_handles(lunado_loop *loop) {
  lunado__handle_close(&loop->timer, on_timer_closed);
  lunado__handle_close(&loop->idle, on_idle_closed);
  lunado__handle_close(&loop->prepare, on_prepare_closed);
  lunado__handle_close(&loop->async, on_async_closed);
  if (loop->has_limit) lunado__handle_close(&loop->limit, on_limit_closed);
}

static void let_tasks_go(lunado_loop *loop) {
  move_all(&loop->turn, &loop->ready);
  while (!lunado_list_empty(&loop->turn)) (void)take_first(&loop->turn);
}

static void let_timers_go(lunado_loop *loop) {
  while (lunado_heap_min(&loop->heap) != NULL)
    (void)lunado_heap_pop(&loop->heap);
}

static void close_parts(lunado_loop *loop) {
  bool taken = lunado_loop_taken(loop);
  if (loop->running) uv_stop(loop->uv);
  loop->closed = true;
  let_tasks_go(loop);
  let_timers_go(loop);
  if (!taken)
    lunado__jump_let_go(loop);
  else if (loop->shown != NULL)
    lunado_loop_ref(loop); /* libuv may still use `shown`, so it is not freed */
  lunado__watchers_close(loop);
  lunado__streams_close(loop);
  lunado__processes_close(loop);
  lunado__loopid_close(loop);
  lunado__mail_close(loop);
  close_handles(loop);
}

void lunado_loop_close(lunado_loop *loop) {
  lunado_loop_ref(loop);
  if (!loop->closed) {
    lunado__loop_enter(loop); /* a message may close the loop again */
    close_parts(loop);
    lunado__loop_leave(loop);
  }
  lunado__ownuv_close(loop);
  lunado_loop_unref(loop);
}

/* --- running ------------------------------------------------------------- */

/* If uv_run returns while something is still alive, uv_stop ended it; that
 * counts as lunado_loop_stop. */
static int run_until_stopped(lunado_loop *loop) {
  if (loop->stopped) {
    (void)loop->drive(loop, UV_RUN_NOWAIT);
    return LUNADO_RUN_STOPPED;
  }
  if (loop->drive(loop, UV_RUN_DEFAULT) != 0) return LUNADO_RUN_STOPPED;
  return loop->stopped || loop->closed ? LUNADO_RUN_STOPPED : LUNADO_RUN_EMPTY;
}

/* Completes the turn of a stopped run without another uv_run, which could
 * report events of a later turn.  A stop during this must not end the next
 * uv_run, so libuv's stop flag is cleared at the end. */
static void complete_turn(lunado_loop *loop) {
  if (loop->closed || loop->broken || !loop->stopped) return;
  lunado__loop_enter(loop);
  if (loop->turn_deferred) run_turn(loop);
  if (!loop->closed && loop->overdue > -INFINITY)
    lunado__timers_run(loop, loop->overdue);
  lunado__loop_leave(loop);
  loop->uv->stop_flag = 0;
}

int lunado_loop_run(lunado_loop *loop, bool forever) {
  int rc;
  if (loop->closed || lunado_loop_taken(loop)) return UV_ECANCELED;
  if (lunado_loop_running(loop)) return UV_EALREADY;
  lunado_loop_ref(loop);
  loop->running = true;
  loop->polling = false;
  loop->forever = forever;
  if (forever) lunado_loop_keep_alive(loop);
  rc = run_until_stopped(loop);
  complete_turn(loop);
  if (forever) lunado_loop_release(loop);
  loop->forever = false;
  loop->running = loop->stopped = loop->broken = false;
  lunado_loop_calm(loop);
  tell_if_unused(loop);
  lunado__ownuv_close(loop);
  lunado__ownuv_finish(loop);
  lunado_loop_unref(loop);
  return rc;
}

void lunado_loop_stop(lunado_loop *loop) {
  loop->stopped = true;
  if (loop->running && !loop->closed) uv_stop(loop->uv);
}

void lunado_loop_break(lunado_loop *loop) {
  loop->broken = true;
  lunado_loop_stop(loop);
}

/* If uv_stop was called while no uv_run was active, the next uv_run only clears
 * the stop flag. */
void lunado_loop_clear_stop(lunado_loop *loop) {
  if (loop->closed || lunado_loop_running(loop)) return;
  loop->stopped = loop->broken = false;
  if (loop->uv->stop_flag != 0) (void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

static void on_limit(uv_timer_t *handle) {
  lunado_loop *loop = lunado_container_of(handle, lunado_loop, limit);
  lunado__loop_enter(loop);
  loop->limited = true;
  lunado_loop_stop(loop);
  lunado__loop_leave(loop);
}

static void open_limit(lunado_loop *loop) {
  loop->has_limit = true;
  (void)uv_timer_init(loop->uv, &loop->limit);
  uv_unref((uv_handle_t *)&loop->limit);
  handle_opened(loop);
}

/* libuv counts from its cached time, which may be old outside a run. */
void lunado_loop_set_limit(lunado_loop *loop, uint64_t ms) {
  loop->limited = false;
  if (loop->closed || lunado_loop_taken(loop)) return;
  if (!loop->has_limit) open_limit(loop);
  uv_update_time(loop->uv);
  if (ms > 0)
    (void)uv_timer_start(&loop->limit, on_limit, ms, 0);
  else
    (void)uv_timer_stop(&loop->limit);
}
