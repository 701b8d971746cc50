# SPDX-License-Identifier: MIT
# Writes OUT/lunado.c, the sources below ROOT and the file EMBEDDED as one
# translation unit, and OUT/lunado.h beside it.
#   cmake -DROOT=src -DEMBEDDED=embedded_modules.c -DOUT=dir -P amalgamate.cmake
cmake_minimum_required(VERSION 3.21)

set(local_include "(^|\n)#[ \t]*include[ \t]+\"([^\"\n]+)\"[^\n]*")
set(seen "")
set(text "")

# Appends a file, after the local headers that it includes and that have not
# been there yet; lunado.h stays a file of its own.
function(append name path)
  file(READ "${path}" content)
  string(REGEX MATCHALL "${local_include}" includes "${content}")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE "${local_include}" "\\2" header "${include}")
    if(NOT header STREQUAL "lunado.h" AND NOT header IN_LIST seen)
      list(APPEND seen "${header}")
      append("${header}" "${ROOT}/${header}")
    endif()
  endforeach()
  string(REGEX REPLACE "${local_include}" "\\1" content "${content}")
  string(REGEX REPLACE "\n\n\n+" "\n\n" content "${content}")
  set(text "${text}\n/* --- ${name} --- */\n${content}" PARENT_SCOPE)
  set(seen "${seen}" PARENT_SCOPE)
endfunction()

file(GLOB core RELATIVE "${ROOT}" "${ROOT}/core/*.c")
file(GLOB binding RELATIVE "${ROOT}" "${ROOT}/binding/*.c")
foreach(source IN LISTS core binding)
  append("${source}" "${ROOT}/${source}")
endforeach()
append("the Lua files" "${EMBEDDED}")

file(WRITE "${OUT}/lunado.c" "/* SPDX-License-Identifier: MIT */\n"
  "/* All of lunado in one file; generated, see lunado.h. */\n"
  "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE /* uv.h needs POSIX */\n#endif\n"
  "#define LUNADO_EMBEDDED\n#include \"lunado.h\"\n${text}")
configure_file("${ROOT}/lunado.h" "${OUT}/lunado.h" COPYONLY)
