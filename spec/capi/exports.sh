#!/bin/sh
# SPDX-License-Identifier: MIT
# What lunado.h declares is what is exported, no more and no less, and each of
# it has its place in the manual.  Prints the list.
#   spec/capi/exports.sh LIBRARY MODULE
# The library may be static, shared, or the object of the amalgamation.
set -eu
export LC_ALL=C # so that ranges of letters are those of ASCII
root=$(cd "$(dirname "$0")/../.." && pwd)
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

# Of the symbols of an object a shared library exports the default ones.
exported() { # file
  case $1 in
  *.[ao]) readelf -Ws "$1" |
    awk '$5 ~ /GLOBAL|WEAK/ && $6 == "DEFAULT" && $7 != "UND" { print $8 }' ;;
  *) nm -D --defined-only "$1" | awk '{ print $3 }' ;;
  esac | grep -v '^_' | sort
}

exported "$1" >"$work/library"
same "$1" "$work/declared" "$work/library"

# The module has no Lua files inside, and so no luaopen_lunado.
grep -vx luaopen_lunado "$work/declared" >"$work/thin"
exported "$2" >"$work/module"
same "$2" "$work/thin" "$work/module"

grep -ohE '^### `?[^`(]*\b(lu[an][a-z_]+)' "$root/docs/reference/c-api.md" |
  sed 's/.*[ *`]//' | sort -u >"$work/manual"
same "the manual" "$work/declared" "$work/manual"

[ $failed -ne 0 ] || cat "$work/declared"
exit $failed
