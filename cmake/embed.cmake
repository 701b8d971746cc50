# SPDX-License-Identifier: MIT
# Writes OUT: a C array for every Lua file below ROOT, and the table of these
# arrays that src/binding/state/embedded.h declares.
#   cmake -DROOT=lua -DOUT=embedded_modules.c -P embed.cmake
cmake_minimum_required(VERSION 3.18...3.21)

file(GLOB_RECURSE files RELATIVE "${ROOT}" "${ROOT}/*.lua")
list(SORT files)

string(REPEAT "[0-9a-f]" 32 row)
set(arrays "")
set(entries "")
set(number 0)
foreach(file IN LISTS files)
  string(REGEX REPLACE "(/init)?\\.lua$" "" module "${file}")
  string(REPLACE "/" "." module "${module}")
  set(array "lunado__source_${number}")
  math(EXPR number "${number} + 1")

  file(SIZE "${ROOT}/${file}" length)
  file(READ "${ROOT}/${file}" bytes HEX)
  string(REGEX REPLACE "(${row})" "\\1\n  " bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  # The array has one byte more than the file, so that it is not empty if the
  # file is.
  string(APPEND arrays "/* ${file} */\n"
    "static const unsigned char ${array}[] = {\n  ${bytes}0\n};\n\n")
  string(APPEND entries "  {\"${module}\", ${array}, ${length}},\n")
endforeach()

file(WRITE "${OUT}.new" "/* SPDX-License-Identifier: MIT */\n"
  "/* Generated from the Lua files. */\n"
  "#include \"binding/state/embedded.h\"\n\n${arrays}"
  "const lunado__embedded_module lunado__embedded_modules[] = {\n"
  "${entries}  {NULL, NULL, 0}\n};\n")
file(RENAME "${OUT}.new" "${OUT}")
