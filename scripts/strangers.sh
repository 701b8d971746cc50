#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the tests of the release build under the conditions of other machines,
# one condition after the other, and prints the tests that fail.  A condition
# that this machine cannot provide is skipped, with the reason; the skipped ones
# are listed at the end.
#   scripts/strangers.sh [condition …]     all of them by default
# TESTS is a pattern that selects tests by name.  TIMES is the number of runs of
# each test (default 1), JOBS the number of parallel tests.  Conditions that use
# namespaces need root and are skipped otherwise.
set -u
export CLICOLOR=0
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build
work=$(mktemp -d)
chmod 755 "$work"
tests=${TESTS:-.}
but='^$' # pattern of the tests that are left out
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
failed=
untried=
burners=

finish() {
  # shellcheck disable=SC2086
  [ -z "$burners" ] || kill $burners 2>/dev/null
  rm -rf "$work/source" "$work/build" "$work/locale"
}
trap finish EXIT
trap 'exit 1' INT TERM

has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Runs the tests under a command that creates the condition.
run() {
  "$@" ctest --test-dir "$build" -j "$jobs" -R "$tests" -E "$but" \
    --output-on-failure \
    --repeat until-fail:"${TIMES:-1}"
}

skip() { # reason
  echo "$1" >"$work/reason"
  return 77
}

# --- conditions: each runs the tests, or skips ------------------------------

as_it_is() { run env; }

# --- the clock
at_age() { # uptime of the machine in seconds
  offset=$(($1 - $(cut -d. -f1 /proc/uptime)))
  set -- unshare --time --monotonic "$offset" --boottime "$offset"
  "$@" true 2>/dev/null ||
    { skip "needs root, and a kernel with time namespaces"; return; }
  run "$@"
}
just_started() { at_age 20; }
three_minutes() { at_age 200; }
two_weeks() { at_age 1209600; }
thirty_years() { at_age 950000000; }
with_clock() { # environment variables of spec/support/shift.c
  "${CC:-cc}" -shared -fPIC -o "$work/shift.so" "$root/spec/support/shift.c" \
    -ldl 2>/dev/null || { skip "no compiler, or no dlsym"; return; }
  run env "$@" LD_PRELOAD="$work/shift.so"
}
ahead() { with_clock LUNADO_SHIFT="$1"; } # in seconds, with a fraction
fraction() { ahead "0.$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')"; }
trillion_seconds() { ahead 1099511627776.625; } # 2^40

# --- the processor
one_core() {
  has taskset || { skip "no taskset"; return; }
  jobs=1 run taskset -c 0
}
# A machine that stalls, sooner or later, at every place of the code.  The
# stalls are simulated by a clock that is ahead of other processes, of the
# kernel's timers and of the network.  So tests that measure those are left out.
stalls() {
  but='embed|package/|tree/|spec/tcp_options_spec'
  LUNADO_PATIENCE=100000 with_clock LUNADO_STALLS=12
}
loaded() { # by four busy loops
  for _ in 1 2 3 4; do
    while :; do :; done &
    burners="$burners $!"
  done
  LUNADO_PATIENCE=120 run env
  status=$?
  # shellcheck disable=SC2086
  kill $burners
  burners=
  return $status
}

# --- the user
# Makes a read-only copy of the sources, and a build of it in another folder.
prepare_copy() {
  [ -d "$work/build" ] && return
  mkdir "$work/source"
  (cd "$root" && tar cf - --exclude=./build --exclude='./build-*' \
    --exclude=./.git .) | tar xf - -C "$work/source"
  chmod -R a-w "$work/source"
  cmake -S "$work/source" -B "$work/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build "$work/build" -j "$jobs" && chmod -R a+rwX "$work/build"
}
read_only() {
  prepare_copy || return
  build=$work/build
  if is_root; then
    has unshare || { skip "root writes everywhere, and there is no unshare"
      return; }
    # shellcheck disable=SC2016
    run unshare --mount sh -c 'mount --bind "$0" "$0" &&
      mount -o remount,bind,ro "$0" && exec "$@"' "$work/source"
  else
    run env
  fi
}
somebody_else() { # another user than root, without a home
  is_root || { skip "needs root"; return; }
  prepare_copy || return
  build=$work/build
  chown -R nobody "$build"
  run setpriv --reuid=65534 --regid=65534 --clear-groups \
    env HOME=/nonexistent TMPDIR=/tmp
}
bare_environment() {
  run env -u HOME -u TERM -u LANG sh -c 'umask 077; "$@"' -
}

# --- places
turkish() { # a locale in which the capital of i is not I
  if ! locale -a 2>/dev/null | grep -qi '^tr_TR.utf-\{0,1\}8$'; then
    mkdir "$work/locale"
    localedef -i tr_TR -f UTF-8 "$work/locale/tr_TR.UTF-8" 2>/dev/null ||
      { skip "no locale tr_TR, and nothing to make it of (package locales)"
        return; }
    export LOCPATH="$work/locale"
  fi
  run env LC_ALL=tr_TR.UTF-8 TZ=Asia/Kathmandu
}
no_ipv6() { # and no network except the loopback
  # shellcheck disable=SC2016
  set -- unshare --net sh -c '{ ip link set lo up || ifconfig lo up; } &&
    for i in all default lo; do
      echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6 || exit; done
    exec "$@"' -
  "$@" true 2>/dev/null || { skip "needs root, and ip or ifconfig"; return; }
  run "$@"
}
terminal() {
  has script || { skip "no script(1)"; return; }
  # shellcheck disable=SC2016
  run sh -c 'for word; do printf "%s\n" "$word" | sed "s/.*/\"&\"/"; done |
    tr "\n" " " >"$0" && script -qec "sh $0" /dev/null' "$work/command"
}
no_terminal() {
  has setsid || { skip "no setsid"; return; }
  # shellcheck disable=SC2016
  run setsid -w sh -c 'exec "$@" </dev/null' -
}

# --- order, and the collector
random_order() {
  LUNADO_SHUFFLE=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
  export LUNADO_SHUFFLE
  echo "LUNADO_SHUFFLE=$LUNADO_SHUFFLE"
  run sh -c '"$@" --schedule-random' -
}
generational() { LUNADO_GC=generational run env; }
incremental() { LUNADO_GC=incremental run env; }
tiny_steps() { LUNADO_GC=tiny LUNADO_SCALE=4 LUNADO_PATIENCE=120 run env; }

# --- all of them ------------------------------------------------------------

all='as_it_is just_started three_minutes two_weeks thirty_years fraction
  trillion_seconds one_core loaded stalls read_only somebody_else
  bare_environment turkish no_ipv6 terminal no_terminal random_order
  generational incremental tiny_steps'

[ -f "$build/CTestTestfile.cmake" ] ||
  { echo "build it first: make test"; exit 2; }
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $all
for name; do
  log=$work/$name.log
  printf '%-18s' "$name"
  ("$name") >"$log" 2>&1
  status=$?
  count=$(sed -n 's/.*tests passed, .* out of \([0-9]*\).*/\1/p' "$log" |
    tail -n 1)
  if [ $status -eq 77 ]; then
    echo "not tried: $(cat "$work/reason")"
    untried="$untried $name"
  elif [ $status -eq 0 ] && [ -n "$count" ]; then
    echo "passes ($count tests)"
  else
    printf 'FAILS:'
    sed -n 's/^[[:space:]]*[0-9]* - \([^ ]*\) (.*)[[:space:]]*$/ \1/p' "$log" |
      tr -d '\n'
    echo
    failed="$failed $name"
  fi
done
[ -z "$untried" ] || echo "not tried here:$untried"
[ -z "$failed" ] || echo "failed:$failed; what they say is in $work"
[ -n "$failed" ] || rm -rf "$work"
[ -z "$failed" ]
