#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the peers that Debian packages, and valgrind for check.lua.
set -e
set -- lua-luv lua-cqueues lua-copas python3-tornado python3-trio nodejs \
  python3-aiohttp python3-pycurl nginx-light curl valgrind

if ! command -v apt-get > /dev/null; then
  echo "no apt-get here; install by hand what there is of: $*" >&2
  exit 1
fi
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get install -y --no-install-recommends "$@"
