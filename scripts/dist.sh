#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes what a release consists of: the tarball of the sources, the rockspec of
# this version, and the .src.rock, which contains both and is installed without
# a network.
#   scripts/dist.sh [FOLDER]     by default dist
# In a git repository the tarball has the files that git knows, as they are now.
# Elsewhere, as in an unpacked tarball, it has all files but those of builds.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$root/dist}"
out=$(cd "${1:-$root/dist}" && pwd)
cd "$root"

version=$(sed -n 's/.*define LUNADO_VERSION "\(.*\)"/\1/p' src/lunado.h)
name=lunado-$version
tarball=$name.tar.gz
rockspec=$name-1.rockspec
rock=$name-1.src.rock
(cd "$out" && rm -f "$tarball" "$rockspec" "$rock")

if [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]; then
  changed=$(git stash create)
  git archive --format=tar --prefix="$name/" "${changed:-HEAD}" |
    gzip -9 -n >"$out/$tarball"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/$name"
  tar cf - --exclude=./build --exclude='./build-*' --exclude=./dist \
    --exclude=./.git . | tar xf - -C "$work/$name"
  (cd "$work" && tar cf - "$name") | gzip -9 -n >"$out/$tarball"
fi

sed -e "s|version = \"dev-1\"|version = \"$version-1\"|" \
  -e "s|url = \"\\.\"|url = home .. \"/$tarball\"|" \
  -e '/^-- The rockspec of a working tree/d' \
  rockspec/lunado-dev-1.rockspec >"$out/$rockspec"
(cd "$out" && cmake -E tar cf "$rock" --format=zip "$rockspec" "$tarball")
(cd "$out" && ls -l "$tarball" "$rockspec" "$rock")
