#!/bin/sh
# SPDX-License-Identifier: MIT
# What lunado.h declares is what is exported, no more and no less, and each of
# it has its place in the manual.
#   spec/capi/exports.sh BUILD
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

same() { # what, expected, actual
  diff -u "$2" "$3" >"$work/diff" && return
  echo "$1: expected (-) and found (+):"
  sed 1,2d "$work/diff" | grep '^[-+]' || :
  failed=1
}

# Declarations may be broken anywhere.
tr '\n' ' ' <"$root/src/lunado.h" | tr ';' '\n' |
  sed -n 's/.*LUNADO_EXPORT [^(]*[ *]\(lu[an][a-z_]*\)(.*/\1/p' |
  sort >"$work/declared"
[ -s "$work/declared" ] || { echo "lunado.h declares nothing"; exit 1; }

# The static library: of its symbols a shared one exports the default ones.
readelf -Ws "$build/liblunado.a" | awk '
  $5 ~ /GLOBAL|WEAK/ && $6 == "DEFAULT" && $7 != "UND" && $8 !~ /^_/ {
    print $8 }' | sort >"$work/static"
same liblunado.a "$work/declared" "$work/static"

# The module has no Lua files inside, and so no luaopen_lunado.
grep -vx luaopen_lunado "$work/declared" >"$work/thin"
nm -D --defined-only "$build/lunado/core.so" | awk '$3 !~ /^_/ { print $3 }' |
  sort >"$work/module"
same lunado/core.so "$work/thin" "$work/module"

grep -ohE '^### `?[^`(]*\b(lu[an][a-z_]+)' "$root/docs/reference/c-api.md" |
  sed 's/.*[ *`]//' | sort -u >"$work/manual"
same "the manual" "$work/declared" "$work/manual"

exit $failed
