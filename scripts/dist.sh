#!/bin/sh
# SPDX-License-Identifier: MIT
# Writes what a release consists of: the tarball of the sources, the rockspecs
# of this version, and for each its .src.rock, which contains both and is
# installed without a network.
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
rocks="lunado lunado-tls lunado-curl"
(cd "$out" && rm -f "$tarball" && for rock in $rocks; do
  rm -f "$rock-$version-1.rockspec" "$rock-$version-1.src.rock"
done)

# If git refuses the tree, such as one of another user, its message is the end:
# a tarball of all files would have what git ignores.
if [ -e .git ] && command -v git >/dev/null; then
  changed=
  git diff --quiet HEAD 2>/dev/null ||
    changed=$(git -c user.name=dist -c user.email=dist@localhost stash create) ||
    { echo "git cannot tell what this tree has" >&2; exit 1; }
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

# The optional rocks are made in the tarball's folder src.
write_rock() { # name, folder of its rockspec, addition to `source`
  rockspec=$1-$version-1.rockspec
  sed -e "s|version = \"dev-1\"|version = \"$version-1\"|" \
    -e "s|url = \"\\.\",|url = home .. \"/$tarball\",$3|" \
    -e '/^-- The rockspec of a working tree/,/^local/{/^local/!d}' \
    "$2/$1-dev-1.rockspec" >"$out/$rockspec"
  (cd "$out" && cmake -E tar cf "$1-$version-1.src.rock" --format=zip \
    "$rockspec" "$tarball")
}

write_rock lunado rockspec ""
for rock in lunado-tls lunado-curl; do
  write_rock $rock rockspec/optional "\\n   dir = \"$name/src\","
done
(cd "$out" && ls -l "$tarball" ./*-"$version"-1.*rock*)
