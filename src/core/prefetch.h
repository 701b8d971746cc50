/* SPDX-License-Identifier: MIT */
/*
 * prefetch.h - asking the processor to load memory that will be read soon.
 *
 * With many timers, nearly all of what one of them needs is outside the
 * processor's caches when it fires.
 */
#ifndef LUNADO_CORE_PREFETCH_H
#define LUNADO_CORE_PREFETCH_H

/* Prefetches the cache line at the address, which may be any.  A macro, because
 * GCC takes a function that does nothing else for one without effect. */
#ifdef __GNUC__
#define lunado__prefetch(address) __builtin_prefetch(address)
#else
#define lunado__prefetch(address) ((void)(address))
#endif

#endif
