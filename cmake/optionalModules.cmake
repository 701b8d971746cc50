# SPDX-License-Identifier: MIT
# Modules that need a further library.  Each is built where that library is
# found, from a folder of its own.  It links nothing of lunado.

# Builds lunado/<name>.so from src/<name>, if pkg-config finds `package`.
# LUNADO_<NAME>=OFF leaves it out.
function(lunado_optional_module name package title)
  string(TOUPPER ${name} upper)
  option(LUNADO_${upper} "Build lunado/${name}.so, if ${title} is found" ON)
  if(NOT LUNADO_${upper})
    return()
  endif()
  pkg_check_modules(LUNADO_PC_${upper} QUIET IMPORTED_TARGET "${package}")
  if(NOT LUNADO_PC_${upper}_FOUND)
    message(STATUS "${title} is not found: lunado/${name}.so is not built")
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS src/${name}/*.c)
  lunado_add_module(lunado_${name} ${name} ${sources})
  target_link_libraries(lunado_${name} PRIVATE PkgConfig::LUNADO_PC_${upper})
  add_dependencies(lunado_modules lunado_${name})
  if(LUNADO_INSTALL)
    install(TARGETS lunado_${name}
      LIBRARY DESTINATION "${INSTALL_CMOD}/lunado")
  endif()
endfunction()

add_custom_target(lunado_modules DEPENDS lunado_module)
lunado_optional_module(tls "openssl>=1.1.1" OpenSSL)
lunado_optional_module(curl "libcurl>=7.74" libcurl)
