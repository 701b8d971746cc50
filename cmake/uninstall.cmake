# SPDX-License-Identifier: MIT
# Removes the files that MANIFEST lists, and the folders that are empty then.
# A file that is not there any more is no error.
#   cmake -DMANIFEST=install_manifest.txt -P uninstall.cmake
cmake_minimum_required(VERSION 3.18...3.21)

if(NOT EXISTS "${MANIFEST}")
  message(FATAL_ERROR "Nothing was installed from here: no ${MANIFEST}")
endif()
set(destdir "$ENV{DESTDIR}")
if(destdir AND NOT IS_ABSOLUTE "${destdir}")
  message(FATAL_ERROR "DESTDIR=${destdir} is relative to a folder that is not "
    "known here: name it in full.")
endif()
# Without the encoding, a letter that is not ASCII would split a path, and the
# rest could be a file of somebody else.
file(STRINGS "${MANIFEST}" installed ENCODING UTF-8)
set(folders "")
foreach(file IN LISTS installed)
  set(file "${destdir}${file}")
  message(STATUS "Removing ${file}")
  file(REMOVE "${file}")
  get_filename_component(folder "${file}" DIRECTORY)
  list(APPEND folders "${folder}")
endforeach()

# Only lunado's own folders are removed, and those that the installation made
# inside them; a folder such as lib is not lunado's.
list(REMOVE_DUPLICATES folders)
list(FILTER folders INCLUDE REGEX "/lunado(/|$)")
list(SORT folders ORDER DESCENDING)
foreach(folder IN LISTS folders)
  file(GLOB rest "${folder}/*")
  if(IS_DIRECTORY "${folder}" AND NOT rest)
    file(REMOVE_RECURSE "${folder}")
  endif()
endforeach()
