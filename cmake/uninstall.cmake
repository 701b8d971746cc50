# SPDX-License-Identifier: MIT
# Removes the files that MANIFEST lists, and the folders that are empty then.
# A file that is not there any more is no error.
#   cmake -DMANIFEST=install_manifest.txt -P uninstall.cmake
cmake_minimum_required(VERSION 3.18...3.21)

if(NOT EXISTS "${MANIFEST}")
  message(FATAL_ERROR "Nothing was installed from here: no ${MANIFEST}")
endif()
file(STRINGS "${MANIFEST}" installed)
set(folders "")
foreach(file IN LISTS installed)
  set(file "$ENV{DESTDIR}${file}")
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
