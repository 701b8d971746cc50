#!/bin/sh
# SPDX-License-Identifier: MIT
# The rock builds from the rockspec and runs from the tree it is installed in.
#   spec/install/rock.sh BUILD INTERPRETER
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$1/check-rock
lua=$2
rm -rf "$work"
mkdir -p "$work/source"

# luarocks leaves its objects beside the sources, so it gets a copy.
cp -R "$root/src" "$root/lua" "$root/rockspec" "$root/LICENSE" "$work/source"
cd "$work/source"
luarocks --lua-version 5.4 make --tree "$work/tree" >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}
! grep -n 'warning:' "$work/log" || exit 1

cd "$work"
LUA_PATH="$work/tree/share/lua/5.4/?.lua;$work/tree/share/lua/5.4/?/init.lua" \
  LUA_CPATH="$work/tree/lib/lua/5.4/?.so" \
  "$lua" -e 'require("lunado").run(require("lunado").sleep, 0.001)'
