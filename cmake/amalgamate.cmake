# SPDX-License-Identifier: MIT
# Writes OUT/lunado.c, one translation unit made of the sources below ROOT and
# of the file EMBEDDED, and copies lunado.h to OUT.
#   cmake -DROOT=src -DEMBEDDED=embedded_modules.c -DOUT=dir -P amalgamate.cmake
cmake_minimum_required(VERSION 3.18...3.21)

set(local_include "(^|\n)#[ \t]*include[ \t]+\"([^\"\n]+)\"[^\n]*")
set(seen "")
set(text "")
set(system "")

# Appends a file to `text`, without its local includes.  Collects its system
# includes in `system`.
function(add name path)
  file(READ "${path}" content)
  string(REGEX MATCHALL "#include <[^>\n]+>" includes "${content}")
  list(APPEND system ${includes})
  list(REMOVE_DUPLICATES system)
  set(system "${system}" PARENT_SCOPE)
  string(REGEX REPLACE "${local_include}" "\\1" content "${content}")
  string(REPLACE "#include <assert.h>\n" "" content "${content}")
  string(REGEX REPLACE "\n\n\n+" "\n\n" content "${content}")
  set(text "${text}\n/* --- ${name} --- */\n${content}" PARENT_SCOPE)
endfunction()

# Appends the local headers that a file includes, each once and after the
# headers that it includes itself.  Omits lunado.h, which remains a separate
# file.
function(add_headers path)
  file(READ "${path}" content)
  string(REGEX MATCHALL "${local_include}" includes "${content}")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE "${local_include}" "\\2" header "${include}")
    if(NOT header STREQUAL "lunado.h" AND NOT header IN_LIST seen)
      list(APPEND seen "${header}")
      add_headers("${ROOT}/${header}")
      add("${header}" "${ROOT}/${header}")
    endif()
  endforeach()
  set(text "${text}" PARENT_SCOPE)
  set(system "${system}" PARENT_SCOPE)
  set(seen "${seen}" PARENT_SCOPE)
endfunction()

# Finds the names that a file defines only for itself: its statics and types in
# `names`, its macros in `macros`.
function(own_names path names macros)
  file(READ "${path}" content)
  # Semicolons and brackets have a special meaning in CMake's lists.
  string(REPLACE ";" "," content "${content}")
  string(REPLACE "[" "(" content "${content}")
  set(word "[A-Za-z_][A-Za-z0-9_]*")
  set(end "( =|[(,])")
  string(REGEX MATCHALL "\n(static [^\n(=,]*[ *]|} )${word}${end}"
    found "${content}")
  string(REGEX REPLACE "[^;]*[ *](${word})${end}" "\\1" found "${found}")
  list(REMOVE_DUPLICATES found)
  set(${names} "${found}" PARENT_SCOPE)
  string(REGEX MATCHALL "\n#[ \t]*define[ \t]+${word}" found "${content}")
  string(REGEX REPLACE "[^;]*[ \t](${word})" "\\1" found "${found}")
  list(REMOVE_ITEM found _GNU_SOURCE)
  set(${macros} "${found}" PARENT_SCOPE)
endfunction()

file(GLOB core RELATIVE "${ROOT}" "${ROOT}/core/*.c")
file(GLOB_RECURSE binding RELATIVE "${ROOT}" "${ROOT}/binding/*.c")
set(once "")
set(shared "")
foreach(source IN LISTS core binding)
  add_headers("${ROOT}/${source}")
  own_names("${ROOT}/${source}" names macros)
  foreach(name IN LISTS names)
    if(name IN_LIST once)
      list(APPEND shared "${name}")
    endif()
    list(APPEND once "${name}")
  endforeach()
endforeach()

# If two files define the same name, the second definition is renamed: a #define
# appends the name of the file.
foreach(source IN LISTS core binding)
  own_names("${ROOT}/${source}" names macros)
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" suffix "${source}")
  foreach(name IN LISTS names)
    if(name IN_LIST shared)
      string(APPEND text "#define ${name} ${name}_${suffix}\n")
      list(APPEND macros "${name}")
    endif()
  endforeach()
  add("${source}" "${ROOT}/${source}")
  foreach(name IN LISTS macros)
    string(APPEND text "#undef ${name}\n")
  endforeach()
endforeach()
add("the Lua files" "${EMBEDDED}")

# Hides the symbols that files share.  The declarations of system headers must
# not be hidden, so all system headers that this system has are included before;
# <assert.h>, which declares the same each time, is included nowhere else.
set(compiler "defined(__GNUC__) && defined(__has_include) && !defined(_WIN32)")
list(TRANSFORM system REPLACE "#include (<[^>]+>)"
  "#if __has_include(\\1)\n#include \\1\n#endif")
list(JOIN system "\n" system)
set(hide "#if ${compiler}\n${system}\n#pragma GCC visibility push(hidden)\n#endif\n")
set(show "#if ${compiler}\n#pragma GCC visibility pop\n#endif\n")

file(WRITE "${OUT}/lunado.c" "/* SPDX-License-Identifier: MIT */\n"
  "/* All of lunado in one file; generated, see lunado.h. */\n"
  "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE /* uv.h needs POSIX */\n#endif\n"
  "#define LUNADO_EMBEDDED\n#include \"lunado.h\"\n#include <assert.h>\n"
  "${hide}${text}${show}")
configure_file("${ROOT}/lunado.h" "${OUT}/lunado.h" COPYONLY)
