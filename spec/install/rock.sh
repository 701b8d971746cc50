#!/bin/sh
# SPDX-License-Identifier: MIT
# `make dist` writes a rock that LuaRocks installs without a network, built with
# the flags of a release and without a warning; and LuaRocks builds the unpacked
# tarball.  The module runs from the tree that it is installed in.
#   spec/install/rock.sh BUILD INTERPRETER
# LIBUV_DIR names a libuv that is not the system's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$1/check-rock
lua=$2
lua_dir=$(dirname "$(dirname "$(command -v "$2")")")
version=${LUNADO_LUA_VERSION:-5.4}
rm -rf "$work"
mkdir -p "$work"

quietly() { # command; its output only when it fails
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}

rocks() { # options
  quietly luarocks --lua-version "$version" --lua-dir "$lua_dir" \
    --tree "$work/tree" "$@" ${CC:+"CC=$CC" "LD=$CC"} \
    ${LIBUV_DIR:+"LIBUV_DIR=$LIBUV_DIR"}
}

# The module runs from the tree.
runs() {
  (
    cd "$work"
    LUA_PATH="$work/tree/share/lua/$version/?.lua;$work/tree/share/lua/$version/?/init.lua" \
      LUA_CPATH="$work/tree/lib/lua/$version/?.so" \
      "$lua" -e 'require("lunado").run(require("lunado").sleep, 0.001)'
  )
}

# So does a module, TLS or HTTP, of a rock of its own.  It is alone: another one
# may have made known what this one lacks.
uses() { # module
  (
    cd "$work"
    LUA_PATH="$work/tree/share/lua/$version/?.lua;$work/tree/share/lua/$version/?/init.lua" \
      LUA_CPATH="$work/tree/lib/lua/$version/?.so" \
      "$lua" -e "require 'lunado.$1'"
  )
}

quietly sh "$root/scripts/dist.sh" "$work/dist"
cd "$work/dist"
for rockspec in "$root"/rockspec/lunado-dev-1.rockspec \
  "$root"/rockspec/optional/*.rockspec ./*.rockspec; do
  quietly luarocks lint "$rockspec"
done

# No server is asked: none could know where the project is.
rocks install --only-server="$work/dist" lunado-[0-9]*.src.rock
! grep -n 'warning:' "$work/log" || exit 1
for flag in -O2 -DNDEBUG; do
  grep -q -e " $flag " "$work/log" || {
    echo "the rock is built without $flag" >&2
    exit 1
  }
done
runs

# The optional rocks, where their libraries are.
for name in tls curl; do
  case $name in tls) library=openssl file=openssl module=tls ;;
  curl) library=libcurl file=curl module=httpclient ;; esac
  pkg-config --exists $library || continue
  rocks install --only-server="$work/dist" lunado-$name-*.src.rock
  ! grep -n 'warning:\|Error:' "$work/log" || exit 1
  [ -f "$work/tree/lib/lua/$version/lunado/$file.so" ]
  uses $module
done

tar xzf lunado-[0-9]*.tar.gz
rm -rf "$work/tree"
(cd lunado-*[0-9] && rocks make rockspec/lunado-dev-1.rockspec)
runs
