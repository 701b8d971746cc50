#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a command under valgrind.  Fails when the command does, on any invalid
# access, and on memory that was lost where lunado stands in the stack of its
# allocation; what other libraries lose is theirs.
# Where LUNADO_LEAKS is set, to what a test makes other libraries lose, memory
# may be lost.
#   scripts/valgrind.sh command [arguments]
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# valgrind parts the reports by lines that hold nothing but ==pid==.
lost() {
  awk '
    function show() { if (block ~ /lost in/ && block ~ /src\/(core|binding)\//)
      printf "%s\n", block; block = "" }
    { sub(/^==[0-9]+== ?/, "") }
    /^$/ { show(); next }
    { block = block $0 "\n" }
    END { show() }
  ' "$log"
}

# The module is unmapped before the report is made, so keep its symbols.
valgrind --quiet --log-file="$log" --error-exitcode=99 --fullpath-after= \
  --keep-debuginfo=yes --leak-check=full --show-leak-kinds=definite,possible \
  --errors-for-leak-kinds=none --num-callers=30 \
  --child-silent-after-fork=yes "$@"
status=$?
leaks=
[ -n "${LUNADO_LEAKS:-}" ] || leaks=$(lost)
if [ $status -eq 99 ]; then cat "$log"; else echo "$leaks"; fi
[ $status -eq 0 ] && [ -z "$leaks" ]
