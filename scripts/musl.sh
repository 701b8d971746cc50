#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds Lua, libuv, luv, cmocka, busted's modules in C and lunado by musl-gcc,
# runs the tests with them, and then hosts that are linked statically.
#   LUA_SRC=… LIBUV_SRC=… LUV_SRC=… CMOCKA_SRC=… LFS_SRC=… LUASYSTEM_SRC=…
#     LUATERM_SRC=… scripts/musl.sh
# Each variable names a folder with the sources of that library, unpacked.
# busted's Lua files are those that lua5.4 finds on this machine.  TESTS is a
# pattern that selects tests by name, WORK a folder for the builds, which are
# kept for the next run (default build-musl).
# There is neither OpenSSL nor libcurl, so what needs these is not tested.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
work=${WORK:-$root/build-musl}
prefix=$work/prefix
mkdir -p "$prefix/bin" "$prefix/lib/lua/5.4" "$prefix/lib/pkgconfig" \
  "$prefix/include" "$work/lua" "$work/compat" "$prefix/share/lua/5.4"

# The compiler.  libuv needs the headers of Linux, which musl does not have; and
# LD_LIBRARY_PATH would give the libraries of musl to the tools as well.
cc=$prefix/bin/musl-cc
cat >"$cc" <<END
#!/bin/sh
exec musl-gcc "\$@" -idirafter /usr/include \\
  -idirafter /usr/include/$(cc -print-multiarch) -Wl,-rpath,$prefix/lib
END
chmod +x "$cc"

install_by_cmake() { # folder of the sources, name, options
  src=$1 name=$2
  shift 2
  cmake -S "$src" -B "$work/$name" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_BUILD_TYPE=Release \
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
  "$cc" -O2 -fPIC -DLUA_USE_LINUX -DLUA_COMPAT_5_3 -c ./*.c
  "$cc" -o "$prefix/bin/lua5.4" -Wl,-E ./*.o -lm -ldl
  rm lua.o
  "$cc" -shared -o "$prefix/lib/liblua.so" ./*.o -lm -ldl
  ar rcs "$prefix/lib/liblua.a" ./*.o
  cp lua.h luaconf.h lualib.h lauxlib.h "$prefix/include"
  cd "$root"
  cat >"$prefix/lib/pkgconfig/lua5.4.pc" <<END
libdir=$prefix/lib
includedir=$prefix/include
Name: Lua
Description: Lua
Version: 5.4
Libs: -L$prefix/lib -llua
Libs.private: -lm -ldl
Cflags: -I$prefix/include
END
}

build_module() { # module, options and sources
  name=$prefix/lib/lua/5.4/$(echo "$1" | tr . /).so
  shift
  mkdir -p "$(dirname "$name")"
  "$cc" -O2 -fPIC -shared -D_GNU_SOURCE -I"$prefix/include" \
    -I"$work/compat" "$@" -o "$name" -L"$prefix/lib" -luv -lm
}

# Other Lua files have a half in C.
link_busted() {
  lua=$(lua5.4 -e 'print((assert(package.searchpath("busted.runner",
    package.path)):gsub("/busted/runner.lua$", "")))')
  for name in busted luassert say pl cliargs mediator dkjson argparse term \
    system; do
    for file in "$lua/$name" "$lua/$name.lua"; do
      [ ! -e "$file" ] || ln -s "$file" "$prefix/share/lua/5.4"
    done
  done
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
  link_busted
  touch "$prefix/done"
}

# A static program of a host and lunado needs no file but its script.
run_static() { # host's source without .c, name, lunado
  host=$work/static/${1##*/}-$2
  "$cc" -static -O2 -D_GNU_SOURCE -Isrc -I"$prefix/include" "$1.c" "$3" \
    -L"$prefix/lib" -llua -luv -lm -o "$host"
  if readelf -l "$host" | grep INTERP; then
    echo "$host is not static" >&2
    exit 1
  fi
  if [ -e "$1.lua" ]; then
    env -i "$host" "$1.lua"
  else
    env -i "$host"
  fi
  echo "${host##*/} is static and runs"
}

run_statics() {
  cmake --build "$work/lunado" --target amalgamation
  mkdir -p "$work/static"
  "$cc" -O2 -I"$prefix/include" -c "$work/lunado/amalgamation/lunado.c" \
    -o "$work/static/lunado.o"
  for name in spec/install/host examples/embed/minimal examples/embed/worker \
    examples/embed/epoll; do
    run_static "$name" library "$work/lunado/liblunado.a"
    run_static "$name" amalgamation "$work/static/lunado.o"
  done
}

[ -f "$prefix/done" ] || build_libraries
export PATH="$prefix/bin:$PATH" CC="$cc" CXX="$cc"
# The tests of the packages find the libraries so.
export PKG_CONFIG_LIBDIR="$prefix/lib/pkgconfig" LIBUV_DIR="$prefix"
# musl's malloc takes long where threads allocate at once.
export LUNADO_PATIENCE="${LUNADO_PATIENCE:-200}"
unset LUA LUA_PATH LUA_CPATH PKG_CONFIG_PATH LD_LIBRARY_PATH
cd "$root"
cmake -S . -B "$work/lunado" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DLUNADO_WERROR=ON -DLUA_DIR="$prefix" --log-level=WARNING
cmake --build "$work/lunado" -j "$jobs"
failed=
# What is in tree/ does not depend on the C library.  CMake refuses to install a
# module with the path that the compiler's command adds, as package/install
# does.
ctest --test-dir "$work/lunado" -j "$jobs" -R "${TESTS:-.}" \
  -E 'tree/|package/install' --output-on-failure || failed=yes
run_statics
[ -z "$failed" ]
