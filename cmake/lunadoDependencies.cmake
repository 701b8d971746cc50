# SPDX-License-Identifier: MIT
# Defines lunado::uv and lunado::lua, the two libraries that lunado needs, and
# lunado::luaheaders for targets that must not link Lua.  The build and the
# installed package both read this file.  A project with its own libuv or Lua
# defines lunado::uv or lunado::lua before it adds lunado.
find_package(PkgConfig)

if(NOT TARGET lunado::uv)
  pkg_check_modules(LUNADO_PC_UV IMPORTED_TARGET GLOBAL libuv>=1.42)
  add_library(lunado::uv INTERFACE IMPORTED GLOBAL)
  if(LUNADO_PC_UV_FOUND)
    target_link_libraries(lunado::uv INTERFACE PkgConfig::LUNADO_PC_UV)
  else()
    find_package(libuv 1.45 CONFIG REQUIRED)
    target_link_libraries(lunado::uv INTERFACE libuv::uv)
  endif()
endif()

if(NOT TARGET lunado::lua)
  string(REPLACE "." "" digits "${LUNADO_LUA_VERSION}")
  pkg_search_module(LUNADO_PC_LUA REQUIRED IMPORTED_TARGET GLOBAL
    lua${LUNADO_LUA_VERSION} lua-${LUNADO_LUA_VERSION} lua${digits}
    lua>=${LUNADO_LUA_VERSION})
  unset(digits)
  add_library(lunado::lua INTERFACE IMPORTED GLOBAL)
  target_link_libraries(lunado::lua INTERFACE PkgConfig::LUNADO_PC_LUA)
endif()

if(NOT TARGET lunado::luaheaders)
  add_library(lunado::luaheaders INTERFACE IMPORTED GLOBAL)
  if(TARGET PkgConfig::LUNADO_PC_LUA)
    target_include_directories(lunado::luaheaders INTERFACE
      ${LUNADO_PC_LUA_INCLUDE_DIRS})
  else()
    target_include_directories(lunado::luaheaders INTERFACE
      $<TARGET_PROPERTY:lunado::lua,INTERFACE_INCLUDE_DIRECTORIES>)
  endif()
endif()
