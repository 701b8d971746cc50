# SPDX-License-Identifier: MIT
# Installs the library, the module, and the CMake and pkg-config files with
# which projects find them.
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lunado")

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
set(pc_prefix "/prefix")
cmake_path(RELATIVE_PATH pc_prefix
  BASE_DIRECTORY "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(CMAKE_DL_LIBS AND NOT BUILD_SHARED_LIBS)
  list(APPEND lunado_pc_libs "-l${CMAKE_DL_LIBS}")
endif()
list(JOIN lunado_pc_requires ", " pc_requires)
list(JOIN lunado_pc_libs " " pc_libs)
list(JOIN lunado_pc_cflags " " pc_cflags)
cmake_path(APPEND pc_libdir "\${prefix}" "${CMAKE_INSTALL_LIBDIR}")
cmake_path(APPEND pc_includedir "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/lunado.pc.in
  "${PROJECT_BINARY_DIR}/generated/lunado.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/generated/lunado.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
