# SPDX-License-Identifier: MIT
# Installs the library, the module, and the CMake and pkg-config files with
# which projects find them.
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lunado")

# All users can enter lunado's own folders, whatever the umask of the one who
# installs it, or makes a package of it.  CMake makes the others by the umask.
install(DIRECTORY DESTINATION "${INSTALL_CMOD}/lunado")
install(DIRECTORY DESTINATION "${package_dir}")

install(TARGETS lunado EXPORT lunadoTargets)
install(TARGETS lunado_module LIBRARY DESTINATION "${INSTALL_CMOD}/lunado")
install(DIRECTORY lua/lunado DESTINATION "${INSTALL_LMOD}"
  FILES_MATCHING PATTERN "*.lua")
install(FILES src/lunado.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

install(EXPORT lunadoTargets NAMESPACE lunado:: DESTINATION "${package_dir}")
configure_package_config_file(cmake/lunadoConfig.cmake.in
  "${PROJECT_BINARY_DIR}/generated/lunadoConfig.cmake"
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/generated/lunadoConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES cmake/lunadoDependencies.cmake
  "${PROJECT_BINARY_DIR}/generated/lunadoConfig.cmake"
  "${PROJECT_BINARY_DIR}/generated/lunadoConfigVersion.cmake"
  DESTINATION "${package_dir}")

# The prefix is relative to the file itself, so that `cmake --install --prefix`
# may choose another prefix than the configured one.
file(RELATIVE_PATH pc_prefix
  "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
if(CMAKE_DL_LIBS AND NOT BUILD_SHARED_LIBS)
  list(APPEND lunado_pc_libs "-l${CMAKE_DL_LIBS}")
endif()
list(JOIN lunado_pc_requires ", " pc_requires)
list(JOIN lunado_pc_libs " " pc_libs)
list(JOIN lunado_pc_cflags " " pc_cflags)
foreach(folder libdir includedir)
  string(TOUPPER ${folder} upper)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${upper}}")
    set(pc_${folder} "${CMAKE_INSTALL_${upper}}")
  else()
    set(pc_${folder} "\${prefix}/${CMAKE_INSTALL_${upper}}")
  endif()
endforeach()
configure_file(cmake/lunado.pc.in
  "${PROJECT_BINARY_DIR}/generated/lunado.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/generated/lunado.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# `uninstall` removes what the last `cmake --install` of this folder installed,
# and the folders that are empty then.
if(is_top_level)
  add_custom_target(uninstall
    COMMAND ${CMAKE_COMMAND}
      "-DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt"
      -P "${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake"
    COMMENT "Removing what was installed" VERBATIM)
endif()

# `cpack` writes a .tar.gz, which is unpacked into a prefix; `cpack -G DEB` a
# package for Debian, for the release of Debian that it is made on.
if(is_top_level)
  set(CPACK_GENERATOR TGZ)
  set(CPACK_PACKAGE_VENDOR "lunado authors")
  set(CPACK_PACKAGE_CONTACT "lunado authors <lunado@lunado.invalid>")
  set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
  set(CPACK_STRIP_FILES ON)
  set(CPACK_PACKAGE_CHECKSUM SHA256)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_NAME "lua-lunado")
  set(CPACK_DEBIAN_PACKAGE_SECTION interpreters)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "lua${LUNADO_LUA_VERSION}")
  if(TARGET lunado_tls OR TARGET lunado_curl)
    # The authorities that clients trust.
    set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
  endif()
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS
    "lua-luv, libuv1-dev, liblua${LUNADO_LUA_VERSION}-dev")
  set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ${BUILD_SHARED_LIBS})
  install(DIRECTORY DESTINATION "${CMAKE_INSTALL_DOCDIR}")
  install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
  include(CPack)
endif()
