/* SPDX-License-Identifier: MIT */
/*
 * places.h - selecting the allocations that fail, and limiting the time.
 *
 *   places_begin(&tried, 100);
 *   while (places_next(&tried)) {
 *     ... places_fail(&tried, name, more); the call; places_end(&tried); ...
 *   }
 *
 * In the first call no allocation fails: it counts the places, which are the
 * allocations.  Then the call is repeated with a failure at each of the first
 * and last places, and at some places between; at all places if
 * LUNADO_ALL_PLACES is set.
 */
#ifndef LUNADO_SPEC_CAPI_PLACES_H
#define LUNADO_SPEC_CAPI_PLACES_H

#include <signal.h>
#include <unistd.h>

#include "host.h"

enum {
  /* An allocation of Lua's fails only if its second attempt, after a
   * collection, fails as well. */
  PLACES_ONE = 1,
  /* So many failures that a call either gives up or succeeds: a loop retries
   * what fails for lack of memory. */
  PLACES_MANY = 100,
  PLACES_ALL = 1000000000,
  PLACES_FIRST = 20, /* as many first places, and last ones, are always tried */
  PLACES_FIRST_SCALED = 1,
  PLACES_GREAT_SCALE = 10
};

typedef struct {
  long long n;     /* the place that fails; 0: the first call */
  long long total; /* places of the first call */
  long long first, step;
  long long between; /* how many places between are tried */
  int tried;
  bool any; /* the last call asked for n allocations */
} places;

static inline void places_begin(places *self, int between) {
  *self = (places){.n = -1, .between = host_times(between)};
}

static inline void places_spread(places *self) {
  bool great = host_scale() >= PLACES_GREAT_SCALE;
  long long inner;
  self->first = great ? PLACES_FIRST_SCALED : PLACES_FIRST;
  inner = self->total - 2 * self->first;
  self->step = (inner + self->between - 1) / self->between;
  if (self->step < 1 || getenv("LUNADO_ALL_PLACES") != NULL) self->step = 1;
}

/* Sets the next n; returns false if nothing failed in the last call. */
static inline bool places_next(places *self) {
  long long last = self->total - self->first;
  if (self->n < 0) {
    self->n = 0;
    return true;
  }
  if (self->n == 0) {
    places_spread(self);
    self->n = 1;
    return true;
  }
  if (!self->any) return false;
  if (self->n < self->first || self->n >= last)
    self->n++;
  else
    self->n = self->n + self->step < last ? self->n + self->step : last;
  return true;
}

/* --- a call that does not end -------------------------------------------- */

static char places_what[200];

static void places_on_alarm(int number) {
  static const char end[] = " does not end\n";
  (void)number;
  if (write(STDERR_FILENO, places_what, strlen(places_what)) < 0 ||
      write(STDERR_FILENO, end, sizeof end - 1) < 0)
    _exit(EXIT_FAILURE);
  _exit(EXIT_FAILURE);
}

/* Ends the program if the next call takes more than LUNADO_PATIENCE seconds
 * (default 60). */
static inline void places_watch(const char *name, long long n) {
  const char *patience = getenv("LUNADO_PATIENCE");
  int seconds = patience != NULL ? atoi(patience) : 0;
  (void)snprintf(places_what, sizeof places_what, "at %lld: %s", n, name);
  (void)signal(SIGALRM, places_on_alarm);
  (void)alarm(seconds > 0 ? (unsigned)seconds : 60);
}

/* --- the call ------------------------------------------------------------ */

/* Makes the n-th allocation from now on, and the `more` next ones, fail. */
static inline void places_fail(places *self, const char *name, int more) {
  places_watch(name, self->n);
  host_fail_at(self->n, more);
}

/* Ends the failures, and counts the allocations of the call. */
static inline void places_end(places *self) {
  long long asked = atomic_load(&host_asked);
  atomic_store(&host_fail_from, 0);
  if (self->n == 0)
    self->total = asked;
  else
    self->tried++;
  self->any = asked >= self->n;
}

/* --- what it raises ------------------------------------------------------ */

/* True if the text is an error that lack of memory can cause.  If the stack
 * cannot grow, Lua does not report lack of memory. */
static inline bool places_tell_of_memory(const char *text) {
  return strstr(text, "not enough memory") != NULL ||
         strstr(text, "stack overflow") != NULL ||
         strstr(text, "too many results to unpack") != NULL;
}

/* True if lack of memory may be the cause of the error on top.  In Lua 5.5.0
 * luaL_error concatenates any two values if it has no memory for its message,
 * because lua_pushvfstring then pushes nothing and does not raise. */
static inline bool places_explain_error(lua_State *L) {
#if LUA_VERSION_NUM == 505
  (void)L;
  return true;
#else
  return places_tell_of_memory(luaL_tolstring(L, -1, NULL));
#endif
}

#endif
