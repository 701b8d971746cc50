#!/bin/sh
# SPDX-License-Identifier: MIT
# Proves that all C sources compile for Windows without a warning, if MinGW-w64
# is on this machine; otherwise says so, and exits with 77.  Arguments: folders
# of headers, before the usual ones.
#
# The headers of Lua and libuv are the same for all systems, and those of
# OpenSSL and libcurl are near enough.  So those of this machine serve; but
# nothing else from their folders may be seen, above all not this system's C
# library.
set -eu
cd "$(dirname "$0")/.."
cc=x86_64-w64-mingw32-gcc
if ! command -v $cc >/dev/null; then
  echo "skipped: $cc is not here"
  exit 77
fi

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
flags="-std=c11 -D_GNU_SOURCE -Isrc -Wall -Wextra -Wpedantic -Wshadow
  -Wconversion -Wstrict-prototypes -Werror"
count=0
for folder in "$@" /usr/local/include /usr/include /usr/include/*-linux-gnu; do
  count=$((count + 1))
  mkdir "$temporary/$count"
  for name in lua.h luaconf.h lualib.h lauxlib.h uv.h uv openssl curl; do
    [ ! -e "$folder/$name" ] || ln -s "$folder/$name" "$temporary/$count"
  done
  printf '"-I%s"\n' "$temporary/$count" >>"$temporary/folders"
done

# Windows' own headers are so long that they are compiled once, for all files.
printf '#include <%s>\n' uv.h lauxlib.h >"$temporary/all.h"
# shellcheck disable=SC2086
$cc $flags "@$temporary/folders" "$temporary/all.h" -o "$temporary/all.h.gch"

sources=$(find src/core src/binding spec/support/sockets.c -name '*.c')

# Adds the sources in a folder, if there is the header that they need.
optional() { # header, folder
  for header in "$temporary"/*/"$1"; do
    if [ -e "$header" ]; then
      sources="$sources $(find "$2" -name '*.c')"
      return
    fi
  done
  echo "left out: $2, because $1 is not here"
}
optional openssl/ssl.h src/tls
optional curl/curl.h src/curl
failed=0
for source in $sources; do
  case $source in
  src/tls/*) set -- ;; # the order matters: X509_NAME is a macro of Windows'
  *) set -- -include "$temporary/all.h" ;;
  esac
  # shellcheck disable=SC2086
  $cc $flags "@$temporary/folders" "$@" -fsyntax-only "$source" || failed=1
done
exit $failed
