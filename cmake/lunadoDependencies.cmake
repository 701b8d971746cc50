# SPDX-License-Identifier: MIT
# Defines lunado::uv and lunado::lua, the two libraries that lunado needs, and
# lunado::luaheaders for targets that must not link Lua.  The build and the
# installed package both read this file.  A project with its own libuv or Lua
# defines lunado::uv or lunado::lua before it adds lunado.
#
# Both libraries are found by their pkg-config files.  Without such a file they
# are found in the usual folders, or below CMAKE_PREFIX_PATH.  If LUA_DIR is
# set, only that folder is searched for Lua; it is a folder that Lua was
# installed to, or a tree of Lua's sources after `make`.
#
# The lists lunado_pc_requires, lunado_pc_libs and lunado_pc_cflags say the same
# to the pkg-config file of lunado.
find_package(PkgConfig QUIET)
set(lunado_pc_requires "")
set(lunado_pc_libs "")
set(lunado_pc_cflags "")

# Makes ${target} of a library without pkg-config file.
function(lunado_found target include_dir library)
  target_include_directories(${target} INTERFACE "${include_dir}")
  target_link_libraries(${target} INTERFACE "${library}" ${ARGN})
  list(TRANSFORM ARGN PREPEND "-l")
  list(APPEND lunado_pc_libs "${library}" ${ARGN})
  list(APPEND lunado_pc_cflags "-I${include_dir}")
  set(lunado_pc_libs "${lunado_pc_libs}" PARENT_SCOPE)
  set(lunado_pc_cflags "${lunado_pc_cflags}" PARENT_SCOPE)
endfunction()

if(NOT TARGET lunado::uv)
  pkg_check_modules(LUNADO_PC_UV QUIET IMPORTED_TARGET GLOBAL libuv>=1.42)
  add_library(lunado::uv INTERFACE IMPORTED GLOBAL)
  if(NOT LUNADO_PC_UV_FOUND)
    find_package(libuv 1.45 CONFIG QUIET)
  endif()
  if(LUNADO_PC_UV_FOUND)
    target_link_libraries(lunado::uv INTERFACE PkgConfig::LUNADO_PC_UV)
    list(APPEND lunado_pc_requires "libuv >= 1.42")
  elseif(libuv_FOUND)
    target_link_libraries(lunado::uv INTERFACE libuv::uv)
    list(APPEND lunado_pc_requires "libuv >= 1.42")
  else()
    find_path(LIBUV_INCLUDE_DIR uv.h)
    find_library(LIBUV_LIBRARY uv)
    if(NOT LIBUV_INCLUDE_DIR OR NOT LIBUV_LIBRARY)
      message(FATAL_ERROR "libuv 1.42 or later is not found.  Install its "
        "development files, or name its folder by CMAKE_PREFIX_PATH.")
    endif()
    file(STRINGS "${LIBUV_INCLUDE_DIR}/uv/version.h" lunado_uv_minor
      REGEX "define UV_VERSION_MINOR")
    string(REGEX MATCH "[0-9]+$" lunado_uv_minor "${lunado_uv_minor}")
    if(lunado_uv_minor LESS 42)
      message(FATAL_ERROR "libuv 1.42 or later is needed; "
        "${LIBUV_INCLUDE_DIR} has 1.${lunado_uv_minor}.")
    endif()
    find_package(Threads REQUIRED)
    lunado_found(lunado::uv "${LIBUV_INCLUDE_DIR}" "${LIBUV_LIBRARY}"
      ${CMAKE_DL_LIBS})
    target_link_libraries(lunado::uv INTERFACE Threads::Threads)
  endif()
endif()

if(NOT TARGET lunado::lua)
  string(REGEX MATCHALL "[0-9]+" lua_numbers "${LUNADO_LUA_VERSION}")
  list(GET lua_numbers 1 lua_minor)
  math(EXPR lua_next "${lua_minor} + 1")
  list(JOIN lua_numbers "" lua_digits)
  set(LUA_DIR "$ENV{LUA_DIR}" CACHE PATH "Folder of the Lua to build for")
  # What was found for another Lua does not count any more.
  set(lua_wanted "${LUNADO_LUA_VERSION} ${LUA_DIR}")
  if(DEFINED LUNADO_LUA_WANTED AND NOT LUNADO_LUA_WANTED STREQUAL lua_wanted)
    unset(LUA_INCLUDE_DIR CACHE)
    unset(LUA_LIBRARY CACHE)
    unset(LUNADO_INTERPRETER CACHE)
  endif()
  set(LUNADO_LUA_WANTED "${lua_wanted}" CACHE INTERNAL
    "The Lua that this folder was configured for")
  unset(LUNADO_PC_LUA_FOUND CACHE)
  if(NOT LUA_DIR)
    pkg_search_module(LUNADO_PC_LUA QUIET IMPORTED_TARGET GLOBAL
      lua${LUNADO_LUA_VERSION} lua-${LUNADO_LUA_VERSION} lua${lua_digits})
    set(lunado_pc_lua "${LUNADO_PC_LUA_MODULE_NAME}")
    if(NOT LUNADO_PC_LUA_FOUND)
      pkg_check_modules(LUNADO_PC_LUA QUIET IMPORTED_TARGET GLOBAL
        lua>=${LUNADO_LUA_VERSION} lua<5.${lua_next})
      set(lunado_pc_lua "lua >= ${LUNADO_LUA_VERSION}, lua < 5.${lua_next}")
    endif()
  endif()
  add_library(lunado::lua INTERFACE IMPORTED GLOBAL)
  if(LUNADO_PC_LUA_FOUND)
    target_link_libraries(lunado::lua INTERFACE PkgConfig::LUNADO_PC_LUA)
    list(APPEND lunado_pc_requires "${lunado_pc_lua}")
  else()
    set(lua_places "")
    if(LUA_DIR)
      set(lua_places PATHS "${LUA_DIR}" NO_DEFAULT_PATH)
    endif()
    find_path(LUA_INCLUDE_DIR lua.h ${lua_places}
      PATH_SUFFIXES include/lua${LUNADO_LUA_VERSION} include/lua${lua_digits}
        lua${LUNADO_LUA_VERSION} lua${lua_digits} include src)
    find_library(LUA_LIBRARY ${lua_places} PATH_SUFFIXES lib src
      NAMES lua${LUNADO_LUA_VERSION} lua-${LUNADO_LUA_VERSION} lua${lua_digits}
        lua)
    set(lua_found "")
    if(LUA_INCLUDE_DIR AND LUA_LIBRARY)
      file(STRINGS "${LUA_INCLUDE_DIR}/lua.h" lua_found
        REGEX "define[ \t]+LUA_VERSION_MINOR(_N)?[ \t]+\"?${lua_minor}")
    endif()
    if(NOT lua_found)
      message(FATAL_ERROR "Lua ${LUNADO_LUA_VERSION} is not found"
        " (LUA_DIR=\"${LUA_DIR}\", LUA_INCLUDE_DIR=\"${LUA_INCLUDE_DIR}\", "
        "LUA_LIBRARY=\"${LUA_LIBRARY}\").  Install its development files, or "
        "name its folder: -DLUA_DIR=...  LUNADO_LUA_VERSION chooses 5.4 or 5.5.")
    endif()
    # A static library of Lua needs libm and libdl.
    set(lua_needs "")
    if(UNIX)
      set(lua_needs m ${CMAKE_DL_LIBS})
    endif()
    lunado_found(lunado::lua "${LUA_INCLUDE_DIR}" "${LUA_LIBRARY}" ${lua_needs})
  endif()
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
