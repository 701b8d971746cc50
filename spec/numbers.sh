#!/bin/sh
# SPDX-License-Identifier: MIT
# A Lua whose numbers have 32 bits is refused when lunado is compiled, with a
# sentence that says why.
#   numbers.sh compiler [options that find the headers]
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc=$1
shift
compile() {
  # The compiler may be a command with arguments, such as "ccache gcc".
  # shellcheck disable=SC2086
  $cc "$@" -fsyntax-only -I"$root/src" "$root/src/binding/loop/clock.c" \
    2>"$work/out"
}
fail() {
  echo "$1"
  cat "$work/out"
  exit 1
}

compile "$@" || fail "does not compile"
# shellcheck disable=SC2086
header=$(echo '#include <luaconf.h>' | $cc "$@" -E - |
  grep -o '/[^"]*luaconf\.h' | head -n 1)
cp "$(dirname "$header")"/lua.h "$(dirname "$header")"/lauxlib.h "$work"
sed 's/^\(#define LUA_32BITS\).*0/\1 1/' "$header" >"$work/luaconf.h"
grep -q '^#define LUA_32BITS 1' "$work/luaconf.h" ||
  fail "no LUA_32BITS in $header"
compile -I"$work" "$@" && fail "accepted"
grep -q 'lunado needs a Lua whose numbers have 64 bits' "$work/out" ||
  fail "not explained"
