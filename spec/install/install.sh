#!/bin/sh
# SPDX-License-Identifier: MIT
# What `cmake --install` puts where, and that it can be used from there: by
# the interpreter, by C modules, by pkg-config and by find_package, with a static
# and with a shared library; that another project's build can contain lunado; and
# that `uninstall` leaves nothing behind.
#   spec/install/install.sh BUILD INTERPRETER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$1
lua=$2
version=${LUNADO_LUA_VERSION:-5.4}
pc_path=${PKG_CONFIG_PATH:-}
pc_libdir=${PKG_CONFIG_LIBDIR:-}
work=$build/check-install
rm -rf "$work"
mkdir -p "$work"

fail() {
  echo "install: $*" >&2
  exit 1
}

quietly() { # command; its output only when it fails
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$*"; }
}

has() { # prefix, files
  prefix=$1
  shift
  for file; do
    [ -f "$prefix/$file" ] || fail "$prefix/$file is missing"
  done
}

run_host() { # prefix, program
  LD_LIBRARY_PATH=$1/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$2" ||
    fail "$2 does not run"
}

# Asks for the lunado of the prefix.
pkg_config() { # prefix, options
  path=$1/lib/pkgconfig:${PKG_CONFIG_PATH:-}
  shift
  PKG_CONFIG_PATH=$path pkg-config "$@" lunado
}

use_by_pkg_config() { # prefix
  # pkg-config quotes for the shell, as make needs it.
  eval "set -- \"\$1\" $(pkg_config "$1" --cflags --libs)"
  prefix=$1
  shift
  # shellcheck disable=SC2086
  quietly ${CC:-cc} "$here/host.c" "$@" -o "$prefix/host"
  set -- "$prefix"
  run_host "$1" "$1/host"
}

use_by_module() { # prefix
  eval "set -- \"\$1\" $(pkg_config "$1" --cflags)"
  prefix=$1
  shift
  # shellcheck disable=SC2086
  quietly ${CC:-cc} -shared -fPIC "$here/module.c" "$@" \
    -o "$prefix/lib/lua/$version/soon.so"
  set -- "$prefix"
  LUA_PATH="$1/share/lua/$version/?.lua;$1/share/lua/$version/?/init.lua" \
    LUA_CPATH="$1/lib/lua/$version/?.so" "$lua" -e '
      package.loadlib(package.searchpath("lunado.core", package.cpath), "*")
      local lunado, soon = require "lunado", require "soon"
      assert(lunado.run(function() return coroutine.yield(soon(7)) end) == 7)
    ' || fail "a C module cannot use lunado from $1"
}

use_by_cmake() { # directory, options
  dir=$1
  shift
  quietly cmake -S "$here" -B "$dir" "$@"
  quietly cmake --build "$dir"
}

check_prefix() { # prefix
  (cd "$root/lua" && find lunado -name '*.lua') | while read -r file; do
    has "$1" "share/lua/$version/$file"
  done
  has "$1" "lib/lua/$version/lunado/core.so" include/lunado.h \
    lib/pkgconfig/lunado.pc lib/cmake/lunado/lunadoConfig.cmake
  (
    cd "$1"
    LUA_PATH="$1/share/lua/$version/?.lua;$1/share/lua/$version/?/init.lua" \
      LUA_CPATH="$1/lib/lua/$version/?.so" \
      "$lua" -e 'require("lunado").run(require("lunado").sleep, 0.001)'
  ) || fail "the module does not run from $1"
  use_by_pkg_config "$1"
  use_by_module "$1"
  use_by_cmake "$1/user" -DCMAKE_PREFIX_PATH="$1"
  run_host "$1" "$1/user/host"
}

# --- a static library, found by pkg-config ------------------------------------

# Its folder has a name of several words, and the umask is that of a careful
# administrator: other users may enter all the same.
static="$work/a státic + library"
(umask 077 && quietly cmake --install "$build" --prefix "$static")
closed=$(find "$static" -type d -name lunado ! -perm 755)
[ -z "$closed" ] || fail "other users cannot enter $closed"
has "$static" lib/liblunado.a
for name in tls curl; do
  [ ! -e "$build/lunado/$name.so" ] ||
    has "$static" "lib/lua/$version/lunado/$name.so"
done
check_prefix "$static"

# --- a shared library, with a Lua and a libuv without pkg-config files --------

# A build folder may be used again for another Lua, and another prefix.
again() { # what is to be found in the cache, options
  expected=$1
  shift
  quietly cmake -S "$root" -B "$work/again" -DLUNADO_TESTS=OFF \
    -DLUNADO_LUA_VERSION="$version" "$@"
  grep -qx "$expected" "$work/again/CMakeCache.txt" ||
    fail "with $*, the cache has no $expected"
}

mkdir "$work/lua"
ln -s "$(pkg-config --variable=libdir "lua$version")" "$work/lua/lib"
ln -s "$(pkg-config --variable=includedir "lua$version")" "$work/lua/include"
cp -R "$work/lua" "$work/other-lua"
again "INSTALL_CMOD:STRING=here/lua/$version" -DCMAKE_INSTALL_LIBDIR=here
again "INSTALL_CMOD:STRING=there/lua/$version" -DCMAKE_INSTALL_LIBDIR=there
again "LUA_INCLUDE_DIR:PATH=$work/lua/.*" -DLUA_DIR="$work/lua"
again "LUA_INCLUDE_DIR:PATH=$work/other-lua/.*" \
  -DLUA_DIR="$work/other-lua"
again "INSTALL_CMOD:STRING=mine" -DINSTALL_CMOD=mine
again "INSTALL_CMOD:STRING=mine" -DCMAKE_INSTALL_LIBDIR=here -DLUA_DIR=

PKG_CONFIG_LIBDIR=/nonexistent
PKG_CONFIG_PATH=
export PKG_CONFIG_LIBDIR PKG_CONFIG_PATH

# The flags are those of a distribution, and of a project that builds its files
# in one.
shared=$work/shared
quietly cmake -S "$root" -B "$work/build" -DBUILD_SHARED_LIBS=ON \
  -DCMAKE_MODULE_LINKER_FLAGS="-Wl,-z,defs -Wl,--as-needed -Wl,-z,now" \
  -DCMAKE_UNITY_BUILD=ON \
  -DLUNADO_LUA_VERSION="$version" -DLUA_DIR="$work/lua" -DLUNADO_TESTS=OFF \
  -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_C_FLAGS="-D_FORTIFY_SOURCE=1 -D_FORTIFY_SOURCE=2"
quietly cmake --build "$work/build"
quietly cmake --install "$work/build" --prefix "$shared"
has "$shared" lib/liblunado.so lib/liblunado.so.0.2
quietly sh "$root/spec/capi/exports.sh" "$shared/lib/liblunado.so" \
  "$shared/lib/lua/$version/lunado/core.so"
readelf -d "$shared/lib/liblunado.so" | grep -q 'SONAME.*\[liblunado\.so\.0\.2\]' ||
  fail "liblunado.so has no soname"
check_prefix "$shared"

# The two Lua folders may be named, as distributions and LuaRocks do.
quietly cmake "$work/build" -DINSTALL_CMOD="$work/cmod" \
  -DINSTALL_LMOD="$work/lmod"
named="$work/náméd twice"
quietly cmake --install "$work/build" --prefix "$named"
has "$work" cmod/lunado/core.so lmod/lunado/init.lua
! DESTDIR=relative cmake --build "$work/build" --target uninstall \
  >"$work/log" 2>&1 || fail "uninstall takes a relative DESTDIR"
has "$work" cmod/lunado/core.so
quietly cmake --build "$work/build" --target uninstall
left=$(find "$named" "$work/cmod" "$work/lmod" -type f -o -name lunado)
[ -z "$left" ] || fail "uninstall leaves $left"
unset PKG_CONFIG_LIBDIR
[ -z "$pc_libdir" ] || export PKG_CONFIG_LIBDIR="$pc_libdir"
PKG_CONFIG_PATH=$pc_path

# --- as a part of another project's build --------------------------------------

quietly cmake -S "$here" -B "$work/folder-only" -DLUNADO_SOURCE="$root" \
  -DLUNADO_LUA_VERSION="$version"
quietly sh "$root/scripts/dist.sh" "$work/dist"
use_by_cmake "$work/folder" -DLUNADO_LUA_VERSION="$version" \
  -DLUNADO_SOURCE="$(ls "$work/dist"/*.tar.gz)"
run_host "$work" "$work/folder/host"

# What a project has as a folder it installs only when it says so.
quietly cmake --install "$work/folder" --prefix "$work/without"
[ ! -e "$work/without" ] || fail "a project installs lunado unasked"
quietly cmake "$work/folder" -DLUNADO_INSTALL=ON
quietly cmake --install "$work/folder" --prefix "$work/with"
has "$work/with" include/lunado.h lib/liblunado.a \
  "share/lua/$version/lunado/init.lua"
