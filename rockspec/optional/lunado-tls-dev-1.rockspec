-- The rockspec of a working tree; scripts/dist.sh writes that of a version.
-- It is made in the folder src, where LuaRocks finds no other module of lunado:
--   cd src && luarocks make ../rockspec/optional/lunado-tls-dev-1.rockspec
local home = "https://lunado.invalid"

rockspec_format = "3.0"
package = "lunado-tls"
version = "dev-1"
source = {
   url = ".",
}
description = {
   summary = "TLS for lunado, by OpenSSL",
   detailed = [[
The C module of lunado.tls: encrypted streams, clients and servers.
]],
   homepage = home,
   maintainer = "lunado authors",
   license = "MIT",
   labels = { "async", "lunado" },
}
dependencies = {
   "lua >= 5.4, < 5.6",
   "lunado",
}
external_dependencies = {
   LIBUV = { header = "uv.h" },
   OPENSSL = { header = "openssl/ssl.h", library = "ssl" },
}
build = {
   type = "builtin",
   modules = {
      ["lunado.openssl"] = {
         sources = {
            "tls/bio.c",
            "tls/certificate.c",
            "tls/connection.c",
            "tls/context.c",
            "tls/failure.c",
            "tls/module.c",
            "tls/sessions.c",
         },
         defines = { "NDEBUG", "_GNU_SOURCE" },
         incdirs = { ".", "$(LIBUV_INCDIR)", "$(OPENSSL_INCDIR)" },
         libdirs = { "$(OPENSSL_LIBDIR)" },
         libraries = { "ssl", "crypto" },
      },
   },
}
