#!/bin/sh
# SPDX-License-Identifier: MIT
# Says so if a build folder does not serve any more, because the tree was moved
# or copied, or because the compiler is another one.
#   scripts/fresh.sh FOLDER
# shellcheck disable=SC3013 # every sh knows -ef
set -u
cache=$1/CMakeCache.txt
[ -f "$cache" ] || exit 0

cached() { sed -n "s/^$1:[^=]*=//p" "$cache"; } # name
stale() { # reason
  echo "The folder $1 $2."
  echo "\`make clean\` removes it, and all other builds; then try again."
  exit 1
} >&2

made_for=$(cached CMAKE_HOME_DIRECTORY)
[ "$made_for" -ef . ] || stale "$1" "was made for the sources in $made_for"

compiler=$(cached CMAKE_C_COMPILER)
[ -x "$compiler" ] || stale "$1" "was made by $compiler, which is gone"
# CC may be a command with arguments, such as "ccache gcc".
wanted=$(command -v "${CC%% *}" 2>/dev/null) || exit 0
[ "$wanted" -ef "$compiler" ] ||
  stale "$1" "was made by $compiler, not by CC=$CC"
