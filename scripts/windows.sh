#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds Lua, libuv, luv and lunado for Windows by MinGW-w64, and runs the tests
# that can run there under Wine.
#   LUA_SRC=… LIBUV_SRC=… LUV_SRC=… scripts/windows.sh [SPEC …]
# Each variable names a folder with the sources of that library, unpacked.  The
# specs run if LFS_SRC, LUASYSTEM_SRC and LUATERM_SRC name those of busted's
# modules in C (luafilesystem, luasystem, lua-term); busted's Lua files are those
# that lua5.4 finds on this machine.  CMOCKA_SRC is needed for the tests of the
# core in C, OPENSSL_SRC for lunado.tls, and CURL_SRC beside it for
# lunado.httpclient.  WORK is a folder for the builds, which are kept for the
# next run (default build-windows).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=x86_64-w64-mingw32
cc=$target-gcc
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
work=${WORK:-$root/build-windows}
mkdir -p "$work"
work=$(cd "$work" && pwd)
prefix=$work/prefix
export PKG_CONFIG_LIBDIR="$prefix/lib/pkgconfig"
export WINEPREFIX="$work/wine" WINEDEBUG="${WINEDEBUG:--all}" TERM=dumb
: "${LUA_SRC:?}" "${LIBUV_SRC:?}" "${LUV_SRC:?}"

# The path as Windows' programs see it.
windows() { echo "Z:$1" | tr / '\\'; }

# Runs CMake with the arguments, for Windows.
configure() {
  cmake "$@" \
    -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_C_COMPILER=$cc \
    -DCMAKE_RC_COMPILER=$target-windres -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DCMAKE_FIND_ROOT_PATH="$prefix" --log-level=WARNING
}

install_by_cmake() { # folder of the sources, name, options
  src=$1 name=$2
  shift 2
  configure -S "$src" -B "$work/$name" -DCMAKE_BUILD_TYPE=Release "$@"
  cmake --build "$work/$name" -j "$jobs"
  cmake --install "$work/$name"
}

build_lua() {
  src=$LUA_SRC
  [ -f "$src/lua.c" ] || src=$LUA_SRC/src
  mkdir -p "$work/lua"
  for file in "$src"/*.c; do
    name=$(basename "$file" .c)
    case $name in luac | ltests | onelua) continue ;; esac
    $cc -O2 -DLUA_BUILD_AS_DLL -DLUA_COMPAT_5_3 -c "$file" \
      -o "$work/lua/$name.o"
  done
  mv "$work/lua/lua.o" "$work/lua.o"
  $cc -shared -o "$prefix/bin/lua54.dll" "$work/lua"/*.o \
    -Wl,--out-implib,"$prefix/lib/liblua54.dll.a"
  $cc -o "$prefix/bin/lua.exe" "$work/lua.o" "$prefix/lib/liblua54.dll.a"
  cp "$src/lua.h" "$src/luaconf.h" "$src/lualib.h" "$src/lauxlib.h" \
    "$prefix/include"
}

build_module() { # module, options and sources
  name=$prefix/bin/$(echo "$1" | tr . /).dll
  shift
  mkdir -p "$(dirname "$name")"
  $cc -O2 -shared -DLUA_BUILD_AS_DLL -DLUA_LIB -D_WIN32_WINNT=0x0600 \
    -I"$prefix/include" -I"$work/compat" "$@" -o "$name" -L"$prefix/lib" \
    -llua54 -l:libuv.dll.a -lws2_32 -ladvapi32 -lbcrypt -lwinmm
}

build_openssl() {
  mkdir -p "$work/openssl"
  (cd "$work/openssl" &&
    "$OPENSSL_SRC/Configure" mingw64 shared no-tests no-engine \
      --cross-compile-prefix=$target- --prefix="$prefix" --libdir=lib &&
    make -j "$jobs" build_libs && make install_dev install_runtime_libs) \
    >"$work/openssl.log" 2>&1
}

build_curl() {
  install_by_cmake "$CURL_SRC" curl -DHTTP_ONLY=ON -DBUILD_CURL_EXE=OFF \
    -DBUILD_TESTING=OFF -DCURL_USE_OPENSSL=ON -DOPENSSL_ROOT_DIR="$prefix" \
    -DCURL_USE_LIBPSL=OFF -DCURL_USE_LIBSSH2=OFF -DUSE_LIBIDN2=OFF \
    -DCURL_ZLIB=OFF
}

# Runs the function once, if the variable names a folder.
once() { # function, folder
  [ -n "$2" ] && [ ! -f "$prefix/$1.done" ] || return 0
  "$1"
  touch "$prefix/$1.done"
}

build_libraries() {
  [ -f "$prefix/done" ] && return
  mkdir -p "$prefix/bin" "$prefix/lib" "$prefix/include" "$work/compat"
  build_lua
  install_by_cmake "$LIBUV_SRC" libuv -DLIBUV_BUILD_TESTS=OFF
  # luv's headers for older versions of Lua, of which 5.4 needs nothing.
  printf '#include <%s>\n' lua.h lauxlib.h lualib.h >"$work/compat/compat-5.3.h"
  build_module luv -DUSING_UV_SHARED "$LUV_SRC/src/luv.c"
  if [ -n "${CMOCKA_SRC:-}" ]; then
    install_by_cmake "$CMOCKA_SRC" cmocka -DBUILD_SHARED_LIBS=ON \
      -DWITH_EXAMPLES=OFF
  fi
  for dll in libgcc_s_seh-1 libwinpthread-1; do
    cp "$($cc -print-file-name=$dll.dll)" "$prefix/bin"
  done
  touch "$prefix/done"
}

build_busted() {
  [ -d "$prefix/lua" ] && return
  build_module lfs "$LFS_SRC/src/lfs.c"
  src=$LUASYSTEM_SRC/src
  build_module system.core "$src/compat.c" "$src/core.c" \
    "$src/environment.c" "$src/random.c" "$src/term.c" "$src/time.c" \
    "$src/bitflags.c" "$src/wcwidth.c"
  build_module term.core "$LUATERM_SRC/core.c"
  folder=$(lua5.4 -e 'print((assert(package.searchpath("busted.runner",
    package.path)):gsub("/busted/runner.lua$", "")))')
  mkdir "$prefix/lua"
  for name in busted cliargs cliargs.lua pl say luassert mediator.lua system \
    term; do
    [ ! -e "$folder/$name" ] || cp -RL "$folder/$name" "$prefix/lua"
  done
}

# Runs a command, and says how it ended.  So many of its tests may fail.
run() { # log, how many, command
  log=$work/$1.log
  may=$2
  shift 2
  status=0
  timeout "${SECONDS_EACH:-400}" "$@" >"$log" 2>&1 </dev/null || status=$?
  summary=$(tr -d '\r' <"$log" | grep -a 'successes' | tail -n 1)
  bad=$(echo "$summary" | sed -n 's/.*\/ \([0-9]*\) fail.*\/ \([0-9]*\) err.*/\1 + \2/p')
  if [ $status -eq 0 ] || { [ -n "$bad" ] && [ $(($bad)) -le "$may" ]; }; then
    echo "ok      ${log##*/} $summary"
  else
    echo "FAILED  ${log##*/} ($status) $summary"
    failed=1
  fi
}

failed=0
build_libraries
once build_openssl "${OPENSSL_SRC:-}"
once build_curl "${CURL_SRC:-}"
configure -S "$root" -B "$work/lunado" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DLUNADO_WERROR=ON -DLUA_DIR="$prefix"
cmake --build "$work/lunado" -j "$jobs"
wine wineboot -i >/dev/null 2>&1 || true
build=$(windows "$work/lunado")
here=$(windows "$root")
WINEPATH=$(windows "$prefix/bin")
LUNADO_BUILD=$build
LUNADO_LUA_VERSION=5.4
LUA_PATH="$here\\lua\\?.lua;$here\\lua\\?\\init.lua;$(windows "$prefix/lua")\\?.lua;$(windows "$prefix/lua")\\?\\init.lua;;"
LUA_CPATH="$build\\?.dll;$(windows "$prefix/bin")\\?.dll;;"
export WINEPATH LUNADO_BUILD LUNADO_LUA_VERSION LUA_PATH LUA_CPATH
cd "$root"

if [ $# -eq 0 ]; then
  for test in "$work"/lunado/spec/core/*_test.exe \
    "$work"/lunado/spec/capi/*.exe; do
    [ ! -f "$test" ] || run "$(basename "$test")" 0 wine "$test"
  done
  run ctrl_c 0 script -qec \
    "wine $prefix/bin/lua.exe spec/support/ctrl_c.lua" /dev/null
  if [ -n "${LFS_SRC:-}" ]; then set -- spec/*_spec.lua spec/tornado/*_spec.lua; fi
fi
[ $# -eq 0 ] || build_busted
if [ -n "${OPENSSL_SRC:-}" ]; then
  # The script that makes them is for a POSIX shell.
  mkdir -p "$work/certificates"
  LUA_PATH='./?.lua' LUNADO_CERTIFICATES=$work/certificates \
    lua5.4 -e 'require "spec.support.certificates".path "ca.crt"'
  LUNADO_CERTIFICATES=$(windows "$work/certificates")
  export LUNADO_CERTIFICATES
fi
for spec; do
  may=$(sed -n "s|^$spec \([a-z0-9]*\) .*|\1|p" spec/support/windows.txt)
  [ "$may" != all ] || continue
  run "$(echo "$spec" | tr / _)" "${may:-0}" wine "$prefix/bin/lua.exe" \
    scripts/busted.lua "$spec"
done
exit $failed
