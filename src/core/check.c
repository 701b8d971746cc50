/* SPDX-License-Identifier: MIT */
/* check.c - the invariants of the core as code. */
#include "core/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/filter.h"
#include "core/handle.h"
#include "core/loop.h"
#include "core/poll.h"
#include "core/process.h"
#include "core/stream.h"
#include "core/write.h"

/* Does not use assert(), which NDEBUG would disable. */
static void invariant(bool holds, const char *sentence) {
  if (holds) return;
  fprintf(stderr, "lunado: not true: %s\n", sentence);
  abort();
}

static bool active(const void *handle) { return uv_is_active(handle) != 0; }

static bool referenced(const void *handle) { return uv_has_ref(handle) != 0; }

static bool closing(const void *handle) { return uv_is_closing(handle) != 0; }

/* --- futures ------------------------------------------------------------- */

void lunado__check_future(const lunado_future *future) {
  const lunado_waiter *waiter = future->waiters;
  invariant(future->state <= LUNADO_FAILED, "a future has one of the states");
  if (waiter == NULL) return;
  do {
    invariant(waiter->list == &future->waiters,
              "a waiter knows the list that it is in");
    invariant(waiter->future == future, "a waiter knows its future");
    invariant(waiter->next->prev == waiter && waiter->prev->next == waiter,
              "neighbours in a list know each other");
    invariant(waiter->cb != NULL, "a waiter has a callback");
    waiter = waiter->next;
  } while (waiter != future->waiters);
}

/* --- timers -------------------------------------------------------------- */

/* Checks the numbers: each is that of an entry, or free. */
static void check_numbers(const lunado_heap *heap) {
  uint32_t free = 0;
  for (uint32_t next = heap->free; next != 0; free++) {
    const lunado_heap_timer *place = &heap->timers[next - 1];
    invariant(next <= heap->numbers && free < heap->numbers &&
                  place->timer == NULL,
              "a free number has no timer");
    next = place->of.next;
  }
  invariant(heap->count + free == heap->numbers,
            "a number is that of an entry, or free");
}

/* Checks that the entry's timer and its place agree with it; returns whether
 * the entry has a timer. */
static bool check_entry(const lunado_heap *heap,
                        const lunado_heap_entry *entry) {
  const lunado_heap_timer *place = &heap->timers[entry->number];
  invariant(lunado_heap_entry_when(entry) <= INFINITY,
            "a deadline is a number");
  invariant(entry->number < heap->numbers, "an entry has a number in use");
  if (place->timer == NULL) return false;
  invariant(place->timer->number == entry->number + 1,
            "a timer knows its number in the heap");
  invariant(place->of.when == lunado_heap_entry_when(entry),
            "a timer's deadline is its entry's");
  return true;
}

void lunado__check_heap(const lunado_heap *heap) {
  const lunado_heap_entry *entries = heap->entries;
  uint32_t removed = 0, finite = 0;
  invariant(heap->count <= heap->capacity - heap->spent,
            "a heap has room for its entries");
  invariant(heap->sorted || heap->spent == 0,
            "places are spent only while entries are sorted");
  for (uint32_t i = 0; i < heap->count; i++) {
    invariant(i == 0 || !heap->sorted ||
                  !lunado__heap_earlier(&entries[i], &entries[i - 1]),
              "entries that are sorted are in order");
    invariant(i == 0 ||
                  !lunado__heap_earlier(&entries[i], &entries[(i - 1) / 4]),
              "an entry of the heap is not earlier than its parent");
    if (!check_entry(heap, &entries[i]))
      removed++;
    else if (lunado_heap_entry_when(&entries[i]) < INFINITY)
      finite++;
  }
  invariant(heap->removed == removed,
            "a heap counts the entries whose timers were taken out");
  invariant(removed <= heap->count / 2, "they are no more than the others");
  invariant(heap->finite == finite, "a heap counts the deadlines that come");
  check_numbers(heap);
}

/* Must not be called while timers run: the timer handle is armed again only
 * after them. */
static void check_armed(const lunado_loop *loop) {
  bool waiting = loop->heap.finite > 0;
  invariant(waiting || !active(&loop->timer) || !referenced(&loop->timer),
            "no timer handle keeps a loop alive that has no deadline");
  if (!waiting) return;
  invariant(referenced(&loop->timer),
            "the timer handle counts as alive while there is a deadline");
  invariant(active(&loop->idle) ||
                loop->armed <= lunado_heap_entry_when(&loop->heap.entries[0]),
            "the timer handle is armed no later than the first deadline");
  invariant(active(&loop->idle) || active(&loop->timer),
            "something comes back for the first deadline");
}

/* --- callbacks and watchers ----------------------------------------------- */

static void check_links(const lunado_link *list) {
  const lunado_link *link = list;
  do {
    invariant(link->next->prev == link && link->prev->next == link,
              "neighbours in a list know each other");
    link = link->next;
  } while (link != list);
}

static void check_tasks(const lunado_link *list) {
  check_links(list);
  for (lunado_link *link = list->next; link != list; link = link->next) {
    const lunado_callback *callback =
        lunado_container_of(link, lunado_callback, link);
    invariant(callback->cb != NULL, "a ready callback has a callback");
  }
}

static void check_watcher(const lunado_loop *loop,
                          const lunado_watcher *watcher) {
  invariant(watcher->loop == loop, "a watcher knows its loop");
  invariant(!closing(&watcher->poll), "a watcher in the list is open");
  invariant(active(&watcher->poll) == (watcher->events != LUNADO_NONE),
            "a watcher is active unless it is paused");
  invariant(watcher->poll.data == NULL, "no handle of the core has data");
}

static void check_active(const lunado_link *list) {
  check_links(list);
  for (lunado_link *link = list->next; link != list; link = link->next)
    invariant(lunado_container_of(link, lunado_watcher, turn)->events !=
                  LUNADO_NONE,
              "a watcher that is checked before libuv polls is active");
}

static void check_refused(const lunado_link *list) {
  check_links(list);
  for (lunado_link *link = list->next; link != list; link = link->next) {
    const lunado_watcher *watcher =
        lunado_container_of(link, lunado_watcher, turn);
    invariant(watcher->events == LUNADO_NONE && watcher->error < 0,
              "a watcher that was refused is paused, and knows why");
  }
}

static void check_fresh(const lunado_loop *loop) {
  check_active(&loop->fresh);
  check_active(&loop->checked);
  check_refused(&loop->refused);
  if (loop->closed) return;
  invariant(lunado_list_empty(&loop->refused) || active(&loop->idle),
            "what was refused is reported");
}

static void check_watchers(const lunado_loop *loop) {
  const lunado_link *list = &loop->watchers;
  bool paused = true;
  check_links(list);
  for (lunado_link *link = list->next; link != list; link = link->next) {
    const lunado_watcher *watcher =
        lunado_container_of(link, lunado_watcher, link);
    check_watcher(loop, watcher);
    invariant(paused || watcher->events != LUNADO_NONE,
              "paused watchers stand before the others");
    paused = watcher->events == LUNADO_NONE;
    for (lunado_link *next = link->next; next != list; next = next->next)
      invariant(lunado_container_of(next, lunado_watcher, link)->fd !=
                    watcher->fd,
                "a descriptor has one watcher");
  }
}

/* --- streams -------------------------------------------------------------- */

static void check_bytes(const lunado_bytes *bytes) {
  invariant(bytes->begin <= bytes->end, "bytes begin before they end");
  invariant(bytes->data != NULL || bytes->end == 0, "bytes are somewhere");
  invariant(bytes->data != NULL || bytes->capacity == 0,
            "no block has no capacity");
  invariant(bytes->capacity == 0 || bytes->end <= bytes->capacity,
            "a block has room for its bytes");
  invariant(bytes->searched <= lunado_bytes_size(bytes),
            "what was searched is there");
}

static void check_writes(const lunado_stream *stream) {
  const lunado_write *first = lunado__stream_first(stream), *write = first;
  size_t queued = 0;
  invariant(!stream->sending || first != NULL,
            "what is being sent is the first write");
  for (bool more = first != NULL; more; write = write->next) {
    invariant(write != NULL, "the first write is behind the last one");
    invariant(write->stream == stream, "a write knows its stream");
    if (!stream->sending || write != first) queued += write->size;
    more = write != stream->last;
  }
  invariant(stream->filtering == NULL || !stream->sending ||
                !lunado__filter_takes(stream),
            "libuv has no write that is to be filtered");
  invariant(stream->queued == queued,
            "a stream counts the bytes that libuv does not have");
}

static void check_handle(const lunado_stream *stream) {
  const uv_stream_t *handle = stream->uv;
  invariant(handle != NULL, "an open stream that is no file has a handle");
  invariant(handle->loop == stream->loop->uv, "it is on the loop's uv_loop_t");
  if (stream->adopted) return;
  invariant((const void *)handle == stream->own, "it is its own");
  invariant(lunado__handle_is_ours((const uv_handle_t *)handle),
            "and marked as lunado's");
  invariant(handle->data == NULL, "no handle of the core has data");
  invariant(!stream->reading || active(handle) || closing(handle),
            "a stream that is read is active");
}

static void check_stream(const lunado_loop *loop, const lunado_stream *stream) {
  invariant(stream->loop == loop, "a stream knows its loop");
  invariant(!stream->closed, "a stream in the list is open");
  invariant(stream->refs >= 1u + stream->sending + stream->connecting,
            "an open stream and its requests hold references");
  invariant(!stream->connecting || !stream->sending,
            "what is written waits for the connection");
  if (stream->in != NULL) {
    check_bytes(stream->in);
    invariant(loop->depth > 0 || stream->in->data == NULL ||
                  stream->in->capacity > 0,
              "bytes are lent only during an event");
  }
  check_writes(stream);
  if (!lunado__stream_is_file(stream)) check_handle(stream);
}

static void check_streams(const lunado_loop *loop) {
  const lunado_link *list = &loop->streams;
  unsigned requests = 0, accepted = 0;
  check_links(list);
  for (const lunado_link *link = list->next; link != list; link = link->next) {
    const lunado_stream *stream =
        lunado_container_of(link, lunado_stream, link);
    check_stream(loop, stream);
    accepted += stream->accepted;
    if (!lunado__stream_is_file(stream))
      requests += stream->sending || stream->connecting;
  }
  invariant(loop->requests >= requests, "a loop counts its streams' requests");
  invariant(loop->accepted == accepted, "a loop counts accepted streams");
}

/* --- processes ------------------------------------------------------------ */

static void check_processes(const lunado_loop *loop) {
  const lunado_link *list = &loop->processes;
  check_links(list);
  for (const lunado_link *link = list->next; link != list; link = link->next) {
    const lunado_process *process =
        lunado_container_of(link, lunado_process, link);
    invariant(process->loop == loop, "a program is in the list of its loop");
    invariant(!process->ended && !process->orphaned,
              "a loop lists programs that run");
    invariant(process->uv.data == NULL, "a process has no data");
    invariant(lunado__handle_is_ours((const uv_handle_t *)&process->uv),
              "a process is marked as lunado's");
  }
}

/* --- the loop ------------------------------------------------------------ */

static void check_open_loop(const lunado_loop *loop) {
  bool ready = !lunado_list_empty(&loop->ready);
  invariant(loop->handles == 4u + loop->has_limit + loop->check_open,
            "an open loop has four handles, one for the limit, and one for a "
            "uv_loop_t of its own");
  invariant(!closing(&loop->timer) && !closing(&loop->idle) &&
                !closing(&loop->prepare) && !closing(&loop->async) &&
                !(loop->has_limit && closing(&loop->limit)),
            "the handles of an open loop are open");
  invariant(!ready || active(&loop->idle),
            "the idle handle is active while callbacks are ready");
  invariant(referenced(&loop->async) == (loop->kept_alive > 0),
            "the async handle counts as alive while the loop is kept alive");
  invariant(active(&loop->async), "an open loop can be woken");
  invariant(active(&loop->prepare) && !referenced(&loop->prepare),
            "what is done before libuv polls keeps no loop alive");
  invariant(!loop->has_limit || !referenced(&loop->limit),
            "the limit keeps no loop alive");
  if (loop->due == -INFINITY) check_armed(loop);
}

static void check_closed(const lunado_loop *loop) {
  invariant(lunado_list_empty(&loop->ready) && lunado_list_empty(&loop->turn),
            "a closed loop has no callbacks");
  invariant(loop->heap.count == 0, "a closed loop has no timers");
  invariant(lunado_list_empty(&loop->watchers),
            "a closed loop has no watchers");
  invariant(lunado_list_empty(&loop->streams), "a closed loop has no streams");
  invariant(lunado_list_empty(&loop->processes),
            "a closed loop has no programs");
  invariant(loop->handles == 0 || loop->uv != loop->own || loop->owns_uv,
            "a uv_loop_t is closed after its handles");
}

void lunado__check(lunado_loop *loop) {
  invariant(loop->refs >= loop->handles + loop->owns_uv,
            "what is open holds a reference");
  invariant(loop->owns_uv || !loop->lent,
            "what is lent is open, and the loop's own");
  invariant(loop->depth > 0 || loop->due == -INFINITY,
            "timers run inside a callback of the loop");
  invariant(loop->timer.data == NULL && loop->idle.data == NULL &&
                loop->prepare.data == NULL && loop->async.data == NULL,
            "no handle of the core has data");
  invariant(loop->mail.closed == loop->closed,
            "messages are refused by closed loops");
  check_tasks(&loop->ready);
  check_tasks(&loop->turn);
  check_watchers(loop);
  check_fresh(loop);
  check_streams(loop);
  check_processes(loop);
  lunado__check_heap(&loop->heap);
  if (loop->closed)
    check_closed(loop);
  else
    check_open_loop(loop);
}
