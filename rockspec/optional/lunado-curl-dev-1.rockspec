-- The rockspec of a working tree; scripts/dist.sh writes that of a version.
-- It is made in the folder src, where LuaRocks finds no other module of lunado:
--   cd src && luarocks make ../rockspec/optional/lunado-curl-dev-1.rockspec
local home = "https://lunado.invalid"

rockspec_format = "3.0"
package = "lunado-curl"
version = "dev-1"
source = {
   url = ".",
}
description = {
   summary = "HTTP for lunado, by libcurl",
   detailed = [[
The C module of lunado.httpclient: fetches pages over HTTP and HTTPS.
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
   CURL = { library = "curl" },
}
build = {
   type = "builtin",
   modules = {
      ["lunado.curl"] = {
         sources = {
            "curl/bytes.c",
            "curl/client.c",
            "curl/head.c",
            "curl/imports.c",
            "curl/module.c",
            "curl/options.c",
            "curl/sockets.c",
            "curl/transfer.c",
         },
         defines = { "NDEBUG", "_GNU_SOURCE" },
         incdirs = { ".", "$(LIBUV_INCDIR)" },
         libdirs = { "$(CURL_LIBDIR)" },
         libraries = { "curl" },
      },
   },
}
