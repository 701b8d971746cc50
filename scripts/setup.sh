#!/bin/sh
# SPDX-License-Identifier: MIT
# Ensures that the packages which a target of the Makefile needs are installed.
# On Debian and its derivatives it installs the missing packages.  Elsewhere it
# prints their names in several package managers.  Prints nothing if no package
# is missing.
#   scripts/setup.sh demo|test|valgrind
set -u
target=${1:-demo}
lua=${LUA:-lua5.4}
debian=
others=
required=
version=$("$lua" -e 'io.write(_VERSION:sub(5))' 2>/dev/null)
case $version in 5.[4-9]) ;; *) version=5.4 ;; esac

# need PROBE DEBIAN HOMEBREW FEDORA ARCH ALPINE: PROBE is a shell command that
# succeeds if the package is installed.  A package name that begins with a colon
# is a rock, installed by luarocks.
need() {
  eval "$1" >/dev/null 2>&1 && return
  required=yes
  want "$@"
}

# The same for what lunado can do without: its absence is no error.
want() {
  eval "$1" >/dev/null 2>&1 && return
  debian="$debian $2"
  others="$others$(printf '%-14s %-12s %-20s %-14s %s' \
    "$3" "$4" "$5" "$6" "# $2")
"
}

has() { command -v "$1"; }
has_server() { PATH=$PATH:/usr/sbin:/sbin command -v "$1"; }
# Debian's lua-http is for Lua 5.1 to 5.3, but its files run in 5.4.
is_lua_http() { [ -e /usr/share/lua/5.3/http ] || module http.server; }
is_lua() {
  case $("$lua" -v) in *' 5.4.'[012]' '*) return 1 ;; esac
  "$lua" -e 'assert(_VERSION >= "Lua 5.4")'
}
# The presets need 3.21.
is_cmake() {
  case $(cmake --version) in
  *' version '[0-2].* | *' 3.'[0-9].* | *' 3.1'[0-9].* | *' 3.20'.*) return 1 ;;
  esac
  has cmake
}
# LUA_DIR names a Lua that may have no pkg-config file.
is_lua_library() {
  [ -n "${LUA_DIR:-}" ] ||
    library "lua$version" "lua-$version" "lua${version%.*}${version#*.}" \
      "lua >= $version"
}
library() { for name; do pkg-config --exists "$name" && return; done; return 1; }
module() {
  "$lua" -e "assert(package.searchpath('$1', package.path)
    or package.searchpath('$1', package.cpath))"
}

need 'has cc' 'gcc libc6-dev' gcc gcc gcc 'gcc musl-dev'
need 'is_cmake' cmake cmake cmake cmake cmake
need 'has pkg-config' pkg-config pkgconf pkgconf-pkg-config pkgconf pkgconf
need 'is_lua' "lua$version" lua lua lua "lua$version"
need 'is_lua_library' \
  "liblua$version-dev" lua lua-devel lua "lua$version-dev"
need 'library "libuv >= 1.42"' libuv1-dev libuv libuv-devel libuv libuv-dev
need 'module luv' lua-luv :luv lua-luv lua-luv lua5.4-luv
want 'library openssl' libssl-dev openssl@3 openssl-devel openssl openssl-dev
want 'library libcurl' libcurl4-openssl-dev curl libcurl-devel curl curl-dev
case $target in
test | valgrind)
  need 'library cmocka' libcmocka-dev cmocka libcmocka-devel cmocka cmocka-dev
  need 'module busted.runner' lua-busted :busted :busted :busted :busted
  need 'has luacheck' lua-check :luacheck :luacheck :luacheck :luacheck
  need 'has luarocks' luarocks luarocks luarocks luarocks luarocks5.4
  need 'has c++' g++ gcc gcc-c++ gcc g++
  # The peers that lunado is tested with.
  want 'has openssl' openssl openssl@3 openssl openssl openssl
  want 'has curl' curl curl curl curl curl
  want 'has python3' python3-minimal python3 python3 python python3
  want 'has_server nginx' nginx-light nginx nginx nginx nginx
  want 'has_server redis-server' redis-server redis redis valkey redis
  want 'module cqueues' lua-cqueues :cqueues :cqueues :cqueues lua5.4-cqueues
  want 'module openssl' lua-luaossl :luaossl :luaossl :luaossl lua5.4-ossl
  want 'module socket' lua-socket :luasocket lua-socket lua-socket lua5.4-socket
  want 'is_lua_http' lua-http :http :http :http :http
  ;;
esac
if [ "$target" = valgrind ]; then
  need 'has valgrind' valgrind - valgrind valgrind valgrind
fi
[ -n "$debian" ] || exit 0

# Prints what is on stdin and ends: with success if lunado can do without all
# that is missing.
give_up() {
  [ -n "$required" ] || echo "lunado is built and tested without these:"
  cat
  [ -z "$required" ]
  exit
} >&2

# Debian's modules are for Debian's interpreter, and cannot serve another one.
serves_debian() {
  found=$(command -v "$lua") || { [ "$lua" = lua5.4 ]; return; }
  [ "$(readlink -f "$found")" = /usr/bin/lua5.4 ]
}
case $debian in
*' lua'* | *' liblua'*)
  if command -v apt-get >/dev/null && ! serves_debian; then
    give_up <<END
LUA=${found:-$lua} lacks something.  What is missing, by the names
of Debian's packages:
   $debian
Those named lua serve /usr/bin/lua5.4 only, so nothing was installed.  Either
use that, by LUA=/usr/bin/lua5.4, or install what is missing for the other
interpreter: Lua 5.4 or 5.5 itself, and modules by LuaRocks (lua-luv is luv
there, lua-busted busted).  LUA_DIR=FOLDER names a Lua that has no pkg-config
file.
END
  fi
  ;;
esac

if ! command -v apt-get >/dev/null; then
  give_up <<END
These packages are missing, by the name each system gives them (a name that
begins with a colon is a rock: luarocks --lua-version 5.4 install NAME):

Homebrew       Fedora       Arch / Alpine                       # Debian
$others
Where Lua 5.4 is not called lua5.4, say so: make $target LUA=lua
END
fi

# Lists which of the packages this system has only in a version that is too old.
too_old() {
  for pair in "lua$version 5.4.3" "liblua$version-dev 5.4.3" libuv1-dev\ 1.42 \
    cmake\ 3.21; do
    package=${pair% *}
    case " $debian " in *" $package "*) ;; *) continue ;; esac
    found=$(LC_ALL=C apt-cache policy "$package" 2>/dev/null |
      sed -n 's/^ *Candidate: \([0-9].*\)/\1/p')
    [ -n "$found" ] && dpkg --compare-versions "$found" lt "${pair#* }" &&
      echo "    $package $found; lunado needs ${pair#* } or later"
  done
}

# Installs nothing if that would be in vain.
refuse_old() {
  old=$(too_old)
  [ -z "$old" ] || give_up <<END
These packages of this system are too old, so nothing was installed:
$old
docs/versions.md says, under "Old systems", how to build lunado there.
END
}

refuse_old
root=
if [ "$(id -u)" -ne 0 ]; then
  root=sudo
  command -v sudo >/dev/null || give_up <<END
Packages are missing.  As root:
    apt-get update
    apt-get install --no-install-recommends$debian
END
fi

# shellcheck disable=SC2086
install() {
  $root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends $debian >"$log" 2>&1 </dev/null
}

echo "Installing:$debian"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be missing or old: if the installation fails, update
# them once and try again.
install || { $root apt-get update -qq && refuse_old && install; } || {
  cat "$log" >&2
  [ -z "$required" ] || exit 1
  echo "lunado is built and tested without these:$debian" >&2
}
