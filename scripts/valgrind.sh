#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs specs under valgrind.  Fails on a failing spec, on any invalid access,
# and on memory that was lost where lunado stands in the stack of its
# allocation; what other libraries lose is theirs.
#   scripts/valgrind.sh [spec files]
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- spec/*_spec.lua spec/tornado/*_spec.lua \
  spec/regress/*_spec.lua
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

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

for spec; do
  [ -f "$spec" ] || continue
  echo "valgrind: $spec"
  # The module is unmapped before the report is made, so keep its symbols.
  valgrind --quiet --log-file="$log" --error-exitcode=99 --fullpath-after= \
    --keep-debuginfo=yes --leak-check=full --show-leak-kinds=definite,possible \
    --errors-for-leak-kinds=none --num-callers=30 \
    --child-silent-after-fork=yes \
    "${LUA:-lua5.4}" scripts/busted.lua -o TAP "$spec" >"$log.out" 2>&1
  status=$?
  leaks=$(lost)
  if [ $status -eq 0 ] && [ -z "$leaks" ]; then continue; fi
  failed=1
  cat "$log.out"
  if [ $status -eq 99 ]; then cat "$log"; else echo "$leaks"; fi
done
rm -f "$log.out"
[ $failed -eq 0 ] && echo "valgrind: nothing lost, nothing invalid"
exit $failed
