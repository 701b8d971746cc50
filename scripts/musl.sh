#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds Lua, libuv, luv, cmocka, busted's modules in C and lunado by musl-gcc,
# and runs the tests with them.
#   LUA_SRC=… LIBUV_SRC=… LUV_SRC=… CMOCKA_SRC=… LFS_SRC=… LUASYSTEM_SRC=…
#     LUATERM_SRC=… scripts/musl.sh
# Each variable names a folder with the sources of that library, unpacked.
# busted's Lua files are those that lua5.4 finds on this machine.  TESTS is a
# pattern that selects tests by name, WORK a folder for the builds, which are
# kept for the next run (default build-musl).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
work=${WORK:-$root/build-musl}
prefix=$work/prefix
mkdir -p "$prefix/bin" "$prefix/lib/lua/5.4" "$prefix/include" "$work/lua" \
  "$work/compat" "$prefix/share/lua"
# libuv needs the headers of Linux, which musl does not have.
headers="-idirafter /usr/include -idirafter /usr/include/$(cc -print-multiarch)"

install_by_cmake() { # folder of the sources, name, options
  src=$1 name=$2
  shift 2
  cmake -S "$src" -B "$work/$name" -DCMAKE_C_COMPILER=musl-gcc \
    -DCMAKE_C_FLAGS="$headers" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
    --log-level=WARNING "$@"
  cmake --build "$work/$name" -j "$jobs"
  cmake --install "$work/$name"
}

build_lua() {
  src=$LUA_SRC
  [ -f "$src/lua.c" ] || src=$LUA_SRC/src
  cp "$src"/*.[ch] "$work/lua"
  cd "$work/lua"
  rm -f ltests.c onelua.c luac.c
  sed "/define LUA_ROOT/c#define LUA_ROOT \"$prefix/\"" luaconf.h >new.h
  mv new.h luaconf.h
  musl-gcc -O2 -fPIC -DLUA_USE_LINUX -DLUA_COMPAT_5_3 -c ./*.c
  musl-gcc -o "$prefix/bin/lua5.4" -Wl,-E ./*.o -lm -ldl
  rm lua.o
  musl-gcc -shared -o "$prefix/lib/liblua.so" ./*.o -lm -ldl
  cp lua.h luaconf.h lualib.h lauxlib.h "$prefix/include"
  cd "$root"
}

build_module() { # module, options and sources
  name=$prefix/lib/lua/5.4/$(echo "$1" | tr . /).so
  shift
  mkdir -p "$(dirname "$name")"
  # shellcheck disable=SC2086
  musl-gcc -O2 -fPIC -shared -D_GNU_SOURCE $headers -I"$prefix/include" \
    -I"$work/compat" "$@" -o "$name" -L"$prefix/lib" \
    -Wl,-rpath,"$prefix/lib" -luv -lm
}

build_libraries() {
  build_lua
  install_by_cmake "$LIBUV_SRC" libuv -DLIBUV_BUILD_TESTS=OFF
  install_by_cmake "$CMOCKA_SRC" cmocka -DWITH_EXAMPLES=OFF
  # luv's headers for older versions of Lua, of which 5.4 needs nothing.
  printf '#include <%s>\n' lua.h lauxlib.h lualib.h >"$work/compat/compat-5.3.h"
  build_module luv "$LUV_SRC/src/luv.c"
  build_module lfs "$LFS_SRC/src/lfs.c"
  src=$LUASYSTEM_SRC/src
  build_module system.core "$src/compat.c" "$src/core.c" \
    "$src/environment.c" "$src/random.c" "$src/term.c" "$src/time.c" \
    "$src/bitflags.c" "$src/wcwidth.c"
  build_module term.core "$LUATERM_SRC/core.c"
  ln -s "$(lua5.4 -e 'print((assert(package.searchpath("busted.runner",
    package.path)):gsub("/busted/runner.lua$", "")))')" "$prefix/share/lua/5.4"
  touch "$prefix/done"
}

[ -f "$prefix/done" ] || build_libraries
export PATH="$prefix/bin:$PATH"
unset LUA LUA_PATH LUA_CPATH
PKG_CONFIG_LIBDIR=$prefix/lib/pkgconfig cmake -S "$root" -B "$work/lunado" \
  -DCMAKE_C_COMPILER=musl-gcc -DCMAKE_C_FLAGS="$headers" \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLUNADO_WERROR=ON -DLUA_DIR="$prefix" \
  --log-level=WARNING
cmake --build "$work/lunado" -j "$jobs"
# The packages and the recipes need the system's Lua and its modules in C.
ctest --test-dir "$work/lunado" -j "$jobs" -R "${TESTS:-.}" \
  -E 'package/|tree/|capi/exports|spec/docs_spec' --output-on-failure
