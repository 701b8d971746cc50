-- SPDX-License-Identifier: MIT
-- Certificates for the specs of TLS and https, made by `openssl` in a folder of
-- their own, which is removed when the program ends.
--
-- All but `alone` are signed by `ca`, with the extensions that strict clients
-- demand, such as Python 3.13.  NAME.pem has a certificate and its key;
-- NAME.crt and NAME.key have one of both.
local folder

-- name -> subject, alternative names, when it is valid
local ISSUED = {
  { "server", "localhost", "DNS:localhost,IP:127.0.0.1,IP:::1" },
  { "other", "other.example", "DNS:other.example,DNS:*.wild.example" },
  { "common", "localhost" }, -- its name is in the old place only
  { "expired", "localhost", "DNS:localhost,IP:127.0.0.1", "past" },
  { "client", "Ann", "email:ann@example.org" },
}

local SCRIPT = [[
set -e
cd "$1"
new_key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
issue() {
  name=$1
  shift
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
    -out $name.crt -extfile $name.ext "$@"
}
valid_now() { issue $1 -days 30; }
# The first is refused by OpenSSL 3.5, the second one unknown before 3.4.
valid_past() {
  issue $1 -days -1 ||
    issue $1 -not_before 20200101000000Z -not_after 20200131000000Z
}
new_key ca
openssl req -x509 -new -key ca.key -out ca.crt -days 30 \
  -subj "/O=lunado/CN=Test authority" \
  -addext keyUsage=critical,keyCertSign,cRLSign
new_key alone
openssl req -x509 -new -key alone.key -out alone.crt -days 30 \
  -subj /CN=localhost -addext subjectAltName=DNS:localhost
cat alone.crt alone.key >alone.pem
openssl ec -in ca.key -aes128 -passout pass:secret -out locked.key
]]

local ISSUE = [[
new_key NAME
openssl req -new -key NAME.key -out NAME.csr -subj "/O=lunado/CN=SUBJECT"
cat >NAME.ext <<END
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXTENSION
END
valid_WHEN NAME
cat NAME.crt NAME.key >NAME.pem
]]

local function script()
  local parts = { SCRIPT }
  for _, each in ipairs(ISSUED) do
    local name, subject, names, when = table.unpack(each, 1, 4)
    local values = { NAME = name, SUBJECT = subject, WHEN = when or "now",
      EXTENSION = names and "subjectAltName=" .. names or "" }
    parts[#parts + 1] = ISSUE:gsub("%u+", values)
  end
  return table.concat(parts)
end

local function run(text, argument)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  file:close()
  local log = os.tmpname()
  local ok = os.execute(("sh %s '%s' >%s 2>&1"):format(path, argument, log))
  local output = assert(io.open(log))
  local said = output:read("a")
  output:close()
  os.remove(path)
  os.remove(log)
  assert(ok, said)
end

--- Makes the certificates, unless they were made before.  A program with many
-- Lua states has them made once, in a folder of its own: LUNADO_CERTIFICATES.
local function make()
  if folder then return end
  local given = os.getenv "LUNADO_CERTIFICATES"
  if given then
    folder = { path = given }
    local made = io.open(given .. "/client.pem")
    if made then return made:close() end
    return run(script(), given)
  end
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -m 700 " .. path))
  folder = setmetatable({ path = path }, {
    __gc = function() os.execute("rm -rf " .. path) end,
  })
  run(script(), path)
end

local certificates = {}

--- The path of a file in the folder, such as "ca.crt".
function certificates.path(name)
  make()
  return folder.path .. "/" .. name
end

--- Options of a server that has the certificate `name`, "server" by default.
function certificates.server(name, more)
  local options = { certfile = certificates.path((name or "server") .. ".pem") }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

--- Options of a client that trusts the authority.
function certificates.client(more)
  local options = { ca_certs = certificates.path("ca.crt") }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

return certificates
