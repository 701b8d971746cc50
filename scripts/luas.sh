#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds each version of Lua from its own sources, builds lunado for it, and runs
# the tests with it.
#   LUA_SRC=FOLDER scripts/luas.sh [VERSION …]     such as 5.4.8 5.5.0
# LUA_SRC is a folder with Lua's tarballs, unpacked (lua-5.4.8, …), or a clone of
# Lua's git repository; by default all versions from 5.4.3 on are taken from it.
# TESTS is a pattern that selects tests by name, SKIP one that leaves out more
# tests, WORK a folder for the builds, which are kept for the next run (default
# build-luas).  CC is the compiler, of Lua too.  OPTIONS are further options for
# CMake, such as -DLUNADO_SANITIZE=ON.
#
# The Lua modules that the tests use (busted, luv) are those that lua5.4 finds on
# this machine.  Modules in C serve one minor version of Lua only: TREE_5_5 names
# a tree of LuaRocks with these modules for Lua 5.5.  Without it, only the tests
# that are C programs and need no module are run with 5.5.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
src=$(cd "${LUA_SRC:?names no folder with the sources of Lua}" && pwd) || exit 2
work=${WORK:-$root/build-luas}
mkdir -p "$work"
work=$(cd "$work" && pwd)
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
failed=

is_clone() { git -C "$src" rev-parse -q --verify refs/tags/v5.4.0 >/dev/null 2>&1; }

versions() {
  if is_clone; then
    git -C "$src" tag | sed -n 's/^v\(5\.[4-9]\.[0-9]*\)$/\1/p'
  else
    find "$src" -maxdepth 1 -type d |
      sed -n 's/.*[^0-9]\(5\.[4-9]\.[0-9]*\)$/\1/p'
  fi | grep -v '^5\.4\.[012]$' | sort -V
}

# Copies the sources of the version to a folder.
copy_sources() { # version, folder
  mkdir -p "$2"
  if is_clone; then
    git -C "$src" archive "v$1" | tar xf - -C "$2"
  else
    for found in "$src/lua-$1/src" "$src/lua-$1" "$src/$1/src" "$src/$1"; do
      [ -f "$found/lua.c" ] && cp "$found"/*.[ch] "$2" && return
    done
  fi
}

# Folder of the system's Lua in which a module is found.
folder_of() { # "path" or "cpath", module
  lua5.4 -e "local file = assert(package.searchpath('$2', package.$1))
    print(file:sub(1, -#'/$2' - #file:match '[^.]*$' - 2))"
}

# Installs the interpreter and the library to a folder, as `make install` does,
# with the modules in the folders that they are looked for in.
build_lua() { # version, prefix
  minor=${1%.*}
  [ -x "$2/bin/lua$minor" ] && return
  rm -rf "$2"
  mkdir -p "$2/bin" "$2/lib/lua" "$2/include" "$2/share/lua"
  copy_sources "$1" "$2/src" || return
  (
    cd "$2/src" && rm -f ltests.c onelua.c luac.c || exit
    printf '%s\n' '#undef LUA_ROOT' "#define LUA_ROOT \"$2/\"" >root.h
    sed '/define LUA_ROOT/c\
#include "root.h"' luaconf.h >luaconf.new && mv luaconf.new luaconf.h || exit
    for file in *.c; do
      ${CC:-cc} -O2 -fPIC -DLUA_USE_LINUX -DLUA_COMPAT_5_3 -c "$file" || exit
    done
    ${CC:-cc} -o "../bin/lua$minor" -Wl,-E ./*.o -lm -ldl && rm lua.o &&
      ${CC:-cc} -shared -o ../lib/liblua.so ./*.o -lm -ldl &&
      cp lua.h luaconf.h lualib.h lauxlib.h root.h ../include
  ) || return
  tree=$(eval echo "\${TREE_$(echo "$minor" | tr . _):-}")
  if [ -n "$tree" ]; then
    ln -s "$tree/share/lua/$minor" "$2/share/lua/$minor"
    ln -s "$tree/lib/lua/$minor" "$2/lib/lua/$minor"
  elif [ "$minor" = 5.4 ]; then
    ln -s "$(folder_of path busted.runner)" "$2/share/lua/$minor"
    ln -s "$(folder_of cpath luv)" "$2/lib/lua/$minor"
  fi
}

write_pc() { # version, prefix
  mkdir -p "$2/lib/pkgconfig"
  cat >"$2/lib/pkgconfig/lua${1%.*}.pc" <<END
libdir=$2/lib
includedir=$2/include
Name: Lua
Description: Lua
Version: $1
Libs: -L$2/lib -llua
Cflags: -I$2/include
END
}

# Builds lunado for the Lua, and runs the tests.
run_tests() { # version, prefix
  minor=${1%.*}
  build=$2/build
  tests=${TESTS:-.}
  [ -e "$2/share/lua/$minor" ] || tests='^core/|^capi/(a|cl|error|lunado|states|thr)'
  PATH="$2/bin:$PATH"
  # The tests of the packages find this Lua so.
  PKG_CONFIG_PATH=$2/lib/pkgconfig
  LD_LIBRARY_PATH=$2/lib
  export PATH PKG_CONFIG_PATH LD_LIBRARY_PATH
  write_pc "$1" "$2"
  unset LUA LUA_PATH LUA_CPATH
  # shellcheck disable=SC2086
  cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DLUNADO_WERROR=ON -DLUNADO_LUA_VERSION="$minor" -DLUA_DIR="$2" \
    ${OPTIONS:-} &&
    cmake --build "$build" -j "$jobs" || return
  # What is in tree/ does not depend on Lua.
  ctest --test-dir "$build" -j "$jobs" -R "$tests" \
    -E "tree/${SKIP:+|$SKIP}" --output-on-failure
}

# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(versions)
[ $# -gt 0 ] || { echo "no sources of Lua in $src" >&2; exit 2; }
for version; do
  log=$work/$version.log
  printf '%-8s' "$version"
  (build_lua "$version" "$work/$version" &&
    run_tests "$version" "$work/$version") >"$log" 2>&1
  status=$?
  summary=$(sed -n 's/^\([0-9]*% tests passed.*\)/\1/p' "$log" | tail -n 1)
  echo "${summary:-does not build, see $log}"
  sed -n 's/^[[:space:]]*[0-9]* - \([^ ]*\) (.*)[[:space:]]*$/          \1/p' \
    "$log"
  [ $status -eq 0 ] || failed="$failed $version"
done
[ -z "$failed" ] || { echo "failed:$failed; what they say is in $work"; exit 1; }
