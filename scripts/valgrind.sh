#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a command under valgrind.  Fails if the command fails, on any invalid
# access, and on leaked memory if lunado is in the call stack of its allocation.
# Leaks of other libraries are ignored.
# If LUNADO_LEAKS is set, to the library that a test makes leak memory, all
# leaks are ignored.
#   scripts/valgrind.sh command [arguments]
set -u
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Prints lunado's leaks. valgrind separates reports by lines that contain only
# ==pid==.
lost() {
  awk '
    function show() {
      if (block ~ /lost in/ && block ~ /src\/(core|binding|curl|tls)\//)
        printf "%s\n", block
      block = ""
    }
    { sub(/^==[0-9]+== ?/, "") }
    /^$/ { show(); next }
    { block = block $0 "\n" }
    END { show() }
  ' "$log"
}

# The module is unmapped before valgrind writes the report, so keep its symbols.
valgrind --quiet --log-file="$log" --error-exitcode=99 --fullpath-after= \
  --keep-debuginfo=yes --leak-check=full --show-leak-kinds=definite,possible \
  --errors-for-leak-kinds=none --num-callers=30 \
  --suppressions="$(dirname "$0")/../spec/support/valgrind.supp" \
  --child-silent-after-fork=yes "$@"
status=$?
leaks=
[ -n "${LUNADO_LEAKS:-}" ] || leaks=$(lost)
if [ $status -eq 99 ]; then cat "$log"; else echo "$leaks"; fi
[ $status -eq 0 ] && [ -z "$leaks" ]
