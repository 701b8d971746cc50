#!/bin/sh
# SPDX-License-Identifier: MIT
# The amalgamation compiles alone, without a warning, as C11; its header also
# as C++17; a host made of it needs no other file; and it exports what the
# library does.
#   spec/install/amalgamation.sh BUILD
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exports=$here/../capi/exports.sh
build=$1
work=$build/check-amalgamation
lua=lua${LUNADO_LUA_VERSION:-5.4}
cmake --build "$build" --target amalgamation >/dev/null
rm -rf "$work"
mkdir -p "$work"
cp "$build/amalgamation/lunado.c" "$build/amalgamation/lunado.h" "$work"
cd "$work"

cc=${CC:-cc}
flags=$(pkg-config --cflags "$lua" libuv)
libs=$(pkg-config --libs "$lua" libuv)

# shellcheck disable=SC2086
$cc -c -std=c11 -Wall -Wextra -Werror $flags lunado.c
sh "$exports" "$work/lunado.o" "$build/lunado/core.so" >exports ||
  { cat exports; exit 1; }
# shellcheck disable=SC2086
$cc -Wall -Wextra -Werror -I. $flags "$here/host.c" lunado.o $libs -o host
./host

cat >header.cpp <<'END'
#include <lunado.h>
int (*volatile opener)(lua_State *) = luaopen_lunado;
int main() { return opener == nullptr; }
END
# shellcheck disable=SC2086
${CXX:-c++} -std=c++17 -Wall -Wextra -Werror -I. $flags header.cpp lunado.o \
  $libs -o header
./header
