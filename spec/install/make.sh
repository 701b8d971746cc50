#!/bin/sh
# SPDX-License-Identifier: MIT
# What `make` says and does where others have worked before: with paths of Lua
# in the environment, with a build folder that was moved or made by another
# compiler, in a tree that git refuses, and without a network.  Nothing is
# compiled.
#   spec/install/make.sh BUILD INTERPRETER
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(cd "$1" && pwd)/check-make
lua=$2
version=$("$lua" -e 'io.write((_VERSION:sub(5):gsub("%.", "_")))')
rm -rf "$work"
mkdir -p "$work/path"

fail() {
  echo "make: $*" >&2
  [ ! -f "$work/said" ] || cat "$work/said" >&2
  exit 1
}

# --- the paths of Lua ----------------------------------------------------------

echo 'return "own"' >"$work/path/callers_own.lua"
cat >"$work/ask.mk" <<'END'
include Makefile
ask:
	@$(LUA) -e 'require "callers_own"' \
	  -e 'print((package.searchpath("lunado.gen", package.path)))'
END
ask() { # variable that names the caller's path
  env -u MAKEFLAGS -u LUA_PATH -u "LUA_PATH_$version" -u LUA_CPATH \
    -u "LUA_CPATH_$version" "$1=$work/path/?.lua" \
    make -s --no-print-directory -C "$root" -f "$work/ask.mk" ask LUA="$lua" \
    >"$work/said" 2>&1 || fail "with $1, a module is not found"
  [ "$(cat "$work/said")" = "$root/lua/lunado/gen.lua" ] ||
    fail "with $1, another lunado is found"
}
ask LUA_PATH
ask "LUA_PATH_$version"

# --- a build folder ------------------------------------------------------------

fresh() { # value of CMAKE_HOME_DIRECTORY, of CMAKE_C_COMPILER, CC
  mkdir -p "$work/build"
  printf '%s\n' "CMAKE_HOME_DIRECTORY:INTERNAL=$1" \
    "CMAKE_C_COMPILER:FILEPATH=$2" >"$work/build/CMakeCache.txt"
  (cd "$root" && CC=$3 sh scripts/fresh.sh "$work/build") >"$work/said" 2>&1
}
cc=$(command -v cc)
ln -s "$root" "$work/link"
ln -s "$cc" "$work/other-name"
fresh "$root" "$cc" "" || fail "a fresh folder is refused"
fresh "$work/link" "$cc" "$work/other-name -m64" ||
  fail "a fresh folder is refused because of links"
! fresh "$work/moved" "$cc" "" || fail "a moved folder is taken"
! fresh "$root" "$work/gone" "" || fail "a compiler that is gone is taken"
! fresh "$root" "$cc" "$(command -v env)" || fail "another compiler is taken"
grep -q 'make clean' "$work/said" || fail "nothing says what to do"

# --- a tree that git refuses ---------------------------------------------------

# As if git did not trust its owner.
mkdir -p "$work/bin" "$work/tree/src"
cp -R "$root/scripts" "$root/rockspec" "$work/tree"
cp "$root/src/lunado.h" "$work/tree/src"
: >"$work/tree/ignored"
dist() { PATH="$work/bin:$PATH" sh "$work/tree/scripts/dist.sh" "$work/dist"; }
printf '%s\n' '#!/bin/sh' 'echo "fatal: dubious ownership" >&2' 'exit 128' \
  >"$work/bin/git"
chmod +x "$work/bin/git"
dist >"$work/said" 2>&1 || fail "dist needs git without a repository"
mkdir "$work/tree/.git"
! dist >"$work/said" 2>&1 || fail "dist takes a tree that git refuses"
grep -q dubious "$work/said" || fail "dist hides what git says"

# --- packages that no server gives -----------------------------------------------

fake() { # name, script
  printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
fake apt-get 'echo "cannot fetch" >&2; exit 100'
fake sudo 'exec "$@"'
lacks() { # the library that is missing
  fake pkg-config "case \"\$*\" in *$1*) exit 1 ;; esac
exec $(command -v pkg-config) \"\$@\""
  PATH="$work/bin:$PATH" LUA=$lua sh "$root/scripts/setup.sh" demo \
    >"$work/said" 2>&1
}
lacks libcurl || fail "what is optional is required"
grep -q 'without these:.*libcurl' "$work/said" || fail "nothing says what lacks"
! lacks libuv || fail "what is required is missing, and nothing says so"
