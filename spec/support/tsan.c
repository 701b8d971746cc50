/* SPDX-License-Identifier: MIT */
/*
 * tsan.c - lets ThreadSanitizer see the longjmp of Lua's errors.
 *
 * It knows longjmp, and not the name by which a Lua that was built with
 * _FORTIFY_SOURCE calls it.  Functions that an error leaves would count as
 * active for ever, and the stacks that are noted with each allocation would
 * grow until memory is full.
 */
#include <setjmp.h>

__attribute__((visibility("default"))) _Noreturn void __longjmp_chk(
    jmp_buf place, int value);

void __longjmp_chk(jmp_buf place, int value) { longjmp(place, value); }
