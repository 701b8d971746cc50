/* SPDX-License-Identifier: MIT */
/*
 * tsan.c - makes ThreadSanitizer see the longjmp of Lua's errors.
 *
 * ThreadSanitizer intercepts longjmp, but not __longjmp_chk, which a Lua built
 * with _FORTIFY_SOURCE calls instead.  Without this file, functions that an
 * error leaves would count as active for ever, and the stacks that are recorded
 * with each allocation would grow until memory is full.
 */
#include <setjmp.h>

__attribute__((visibility("default"))) _Noreturn void __longjmp_chk(
    jmp_buf place, int value);

void __longjmp_chk(jmp_buf place, int value) { longjmp(place, value); }
