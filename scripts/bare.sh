#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the Debian package and the .tar.gz of cpack, and uses each on a Debian
# that has nothing else: README's first example prints what it says there.  With
# what the package recommends, a page comes by HTTPS from a server of lunado's.
# Afterwards the package is removed, and nothing of it may be left.
#   scripts/bare.sh [FOLDER]
# Needs root, debootstrap, dpkg-dev and file.  FOLDER keeps the bare Debian for
# the next run.
# SUITE is the release of Debian, by default that of this machine; the package
# is for the release that it is made on.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
bare=${1:-$work/bare}
# shellcheck source=/dev/null
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}

finish() {
  umount "$bare/proc" 2>/dev/null || :
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

quietly() { # command; its output only when it fails
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}
inside() { chroot "$bare" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

# Runs the example inside, and compares.
runs_example() { # what, environment
  what=$1
  shift
  inside "$@" lua5.4 /root/example.lua | expand >"$work/printed"
  diff "$work/expected" "$work/printed"
  echo "$what: the example of README.md runs"
}

# Fetches a page by HTTPS inside: lunado.tls and lunado.httpclient.
fetches() { # what, environment
  what=$1
  shift
  inside openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=bare \
    -addext subjectAltName=IP:127.0.0.1 -keyout /root/key.pem \
    -out /root/certificate.pem 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
  inside "$@" lua5.4 - <<'END'
local lunado = require "lunado"
local await = coroutine.yield
local certificate <const> = "/root/certificate.pem"

local server = lunado.tcpserver.TCPServer {
  ssl_options = { certfile = certificate, keyfile = "/root/key.pem" },
  handle_stream = lunado.coroutine(function(_, stream)
    await(stream:read_until "\r\n\r\n")
    await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    await(stream:close())
  end),
}
lunado.run(function()
  local url = "https://127.0.0.1:" .. server:listen(0, "127.0.0.1")
  local client = lunado.httpclient.AsyncHTTPClient()
  local page = await(client:fetch(url, { ca_certs = certificate })).body
  assert(page == "hello", page)
  -- Nobody else trusts that certificate: the authorities of the system are
  -- there, or the error would be that their file is missing.
  local ok, err = pcall(await, client:fetch(url))
  assert(not ok and tostring(err):find "certificate", err)
  server:stop()
  client:close()
end)
END
  echo "$what: a page comes by HTTPS"
}

# --- the packages
quietly cmake -S "$root" -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
  -DLUNADO_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr
quietly cmake --build "$work/build"
cd "$work/build"
quietly cpack -G "DEB;TGZ"

# --- the bare Debian
if [ ! -x "$bare/usr/bin/apt-get" ]; then
  mirror=$(sed -n 's/^deb \(\[.*\] \)*\(http[^ ]*\) .*/\2/p;s/^URIs: //p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
  quietly debootstrap --variant=minbase "$suite" "$bare" "$mirror"
fi
# The bare Debian reaches the packages the way this machine does.
cp -f /etc/apt/apt.conf.d/*proxy* "$bare/etc/apt/apt.conf.d/" 2>/dev/null || :
cp -f /etc/resolv.conf /etc/hosts "$bare/etc/" 2>/dev/null || :
mount -t proc proc "$bare/proc" 2>/dev/null || :
awk -v dir="$work" '
  /^```lua run$/ && !n++ { file = dir "/example.lua"; next }
  /^```text$/ && n == 1 && !t++ { file = dir "/expected"; next }
  /^```/ { file = ""; next }
  file != "" { print >file }
' "$root/README.md"
cp "$work/example.lua" "$bare/root/"

# --- the .deb
# A run that was ended may have left the package.
inside dpkg --purge lua-lunado >/dev/null 2>&1 || :
cp lua-lunado_*.deb "$bare/root/lunado.deb"
quietly inside apt-get update
quietly inside apt-get install -y --no-install-recommends /root/lunado.deb
runs_example "$(basename lua-lunado_*.deb)"
more=$(dpkg-deb -f lua-lunado_*.deb Recommends | tr -d ,)
# shellcheck disable=SC2086
quietly inside apt-get install -y --no-install-recommends $more
fetches "$(basename lua-lunado_*.deb)"
quietly inside dpkg --purge lua-lunado
left=$(find "$bare" -xdev -path '*lunado*' ! -path '*/root/*' \
  ! -path '*/var/cache/*' ! -path '*/var/log/*')
[ -z "$left" ] || { echo "left behind: $left" >&2; exit 1; }

# --- the .tar.gz, whose needs the .deb has brought
rm -rf "$bare/opt/lunado"
mkdir -p "$bare/opt/lunado"
tar xzf lunado-*.tar.gz -C "$bare/opt/lunado" --strip-components=1
lib=$(cd "$bare/opt/lunado" && dirname lib/*/lua/5.4/lunado)
set -- "$(basename lunado-*.tar.gz)" \
  LUA_PATH="/opt/lunado/share/lua/5.4/?.lua;/opt/lunado/share/lua/5.4/?/init.lua" \
  LUA_CPATH="/opt/lunado/$lib/?.so"
runs_example "$@"
fetches "$@"
rm -rf "$bare/opt/lunado"
