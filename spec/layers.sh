#!/bin/sh
# SPDX-License-Identifier: MIT
# Proves that each layer knows only the ones below it:
#   src/core      system headers, uv.h and core/
#   src/binding   these, Lua's headers, lunado.h and binding/
#   src/tls       system headers, uv.h, Lua's, OpenSSL's, core/filter.h and tls/
#   src/curl      system headers, uv.h, Lua's, libcurl's, lunado.h and curl/
#   lua/          Lua files only
# That the core links without Lua, its tests prove: they have none.
set -u
export LC_ALL=C # so that ranges of letters are those of ASCII
cd "$(dirname "$0")/.." || exit 1
failed=0

report() { # title, lines
  [ -z "$2" ] && return
  printf '%s:\n%s\n' "$1" "$2"
  failed=1
}

includes() { # files
  grep -nHE '^[[:space:]]*#[[:space:]]*include' "$@"
}

# Lists the local includes of src/$1 that do not match the pattern $2.
allowed() {
  [ -d "src/$1" ] || return
  includes "src/$1"/*.[ch] | grep '"' | grep -vE "$2"
}

core=$(find src/core -name '*.[ch]')
binding=$(find src/binding -name '*.[ch]')
[ -n "$core" ] && [ -n "$binding" ] || { echo "no sources"; exit 1; }

# shellcheck disable=SC2086
report "the core includes what is not the core's" "$(includes $core |
  grep -E '(lua[a-z]*|lunado|lauxlib)\.(h|hpp)|"' | grep -v '"core/[a-z_]*\.h"')"
# shellcheck disable=SC2086
report "the core speaks of Lua's interface" \
  "$(grep -nHE '\b(lua_State|lua_[a-z]+ *\(|luaL_[A-Za-z]+)' $core)"
# shellcheck disable=SC2086
report "the binding includes what is not below it" "$(includes $binding |
  grep '"' | grep -vE '"((core|binding)/[a-z_/]*|lunado)\.h"')"
report "src/tls includes what is not below it" "$(allowed tls \
  '"(core/filter|tls/[a-z_]*)\.h"')"
report "src/curl includes what is not below it" "$(allowed curl \
  '"(lunado|curl/[a-z_]*)\.h"')"
report "lua/ holds what is not Lua" "$(find lua -type f ! -name '*.lua')"
report "Lua files reach around the binding" \
  "$(grep -rnE "require *\(?[\"']ffi[\"']" lua)"

exit $failed
