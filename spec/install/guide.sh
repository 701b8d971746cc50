#!/bin/sh
# SPDX-License-Identifier: MIT
# The programs of docs/guide/embedding.md, compiled as it says, without a
# warning, print what it says.  There, a block ```c run is a whole program, the
# ```lua block behind it its script, and the ```text block behind that what it
# prints.
#   spec/install/guide.sh BUILD
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
work=$build/check-guide
rm -rf "$work"
mkdir -p "$work"

cmake --install "$build" --prefix "$work/prefix" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }

awk -v work="$work" '
  function begin(name) {
    dir = sprintf("%s/%d", work, programs)
    system("mkdir -p \"" dir "\"")
    file = dir "/" name
  }
  /^```c run$/ { programs++; begin("host.c"); next }
  /^```lua$/ { begin("script.lua"); next }
  /^```text$/ { begin("expected"); next }
  /^```/ { file = ""; next }
  file != "" { print >file }
' "$root/docs/guide/embedding.md"

PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
count=0
for program in "$work"/[0-9]*; do
  cd "$program"
  # pkg-config quotes for the shell, as make needs it.
  eval "${CC:-cc} -Wall -Wextra -Wpedantic -Werror host.c \
    $(pkg-config --cflags --libs lunado) -o host"
  LD_LIBRARY_PATH=$work/prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    ./host script.lua >printed
  diff expected printed
  count=$((count + 1))
done
[ "$count" -ge 4 ] || { echo "guide: $count programs" >&2; exit 1; }
