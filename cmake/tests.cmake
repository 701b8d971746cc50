# SPDX-License-Identifier: MIT
# The tests that ctest runs.  If a tool is missing, its tests fail ("Not Run")
# instead of being left out; scripts/setup.sh installs the tools.
enable_testing()
set(LUNADO_ROOT "${PROJECT_SOURCE_DIR}")

string(REPLACE "." "" lua_digits "${LUNADO_LUA_VERSION}")
set(names lua${LUNADO_LUA_VERSION} lua${lua_digits} lua)
if(LUA_DIR)
  find_program(LUNADO_INTERPRETER NAMES ${names}
    PATHS "${LUA_DIR}" PATH_SUFFIXES bin src NO_DEFAULT_PATH)
endif()
find_program(LUNADO_INTERPRETER NAMES $ENV{LUA} ${names})
pkg_check_modules(LUNADO_PC_CMOCKA IMPORTED_TARGET cmocka)

# Additional sources of programs that run Lua under a checker.
set(checked "")
if(LUNADO_TSAN AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(checked "${LUNADO_ROOT}/spec/support/tsan.c")
endif()

# What the caller's paths find, such as rocks of his own, comes behind what is in
# the tree.  Lua asks for the variables with its version in their names first.
string(REPLACE "." "_" versioned "_${LUNADO_LUA_VERSION}")
foreach(path LUA_PATH LUA_CPATH)
  set(callers_${path} "$ENV{${path}${versioned}}")
  if(NOT callers_${path})
    set(callers_${path} "$ENV{${path}}")
  endif()
  if(callers_${path})
    string(REPLACE ";" "\\;" callers_${path} "${callers_${path}}\;")
  endif()
endforeach()

set(environment
  "LUA_PATH=${LUNADO_ROOT}/lua/?.lua\;${LUNADO_ROOT}/lua/?/init.lua\;${callers_LUA_PATH}\;"
  "LUA_CPATH=${PROJECT_BINARY_DIR}/?.so\;${callers_LUA_CPATH}\;"
  "LUNADO_BUILD=${PROJECT_BINARY_DIR}"
  "LUNADO_LUA_VERSION=${LUNADO_LUA_VERSION}")
if(LUNADO_SANITIZE OR LUNADO_TSAN)
  # The checkers must be loaded before the module.  So we build an interpreter
  # that is linked with them, under the name that the scripts call.
  add_executable(lunado_lua spec/support/lua.c ${checked})
  lunado_configure(lunado_lua)
  target_link_libraries(lunado_lua PRIVATE lunado::lua)
  set_target_properties(lunado_lua PROPERTIES ENABLE_EXPORTS ON
    OUTPUT_NAME lua${LUNADO_LUA_VERSION}
    RUNTIME_OUTPUT_DIRECTORY "${lunado_output}/bin")
  set(interpreter $<TARGET_FILE:lunado_lua>)
  list(APPEND environment "PATH=${PROJECT_BINARY_DIR}/bin:$ENV{PATH}"
    "LUNADO_SCALE=4" "LUNADO_PATIENCE=200"
    "ASAN_OPTIONS=detect_stack_use_after_return=1"
    "LSAN_OPTIONS=suppressions=${LUNADO_ROOT}/spec/support/lsan.supp:print_suppressions=0"
    "TSAN_OPTIONS=suppressions=${LUNADO_ROOT}/spec/support/tsan.supp:halt_on_error=1"
    "UBSAN_OPTIONS=print_stacktrace=1")
  set(seconds 900)
elseif(LUNADO_VALGRIND)
  set(interpreter "${LUNADO_INTERPRETER}")
  set(under sh "${LUNADO_ROOT}/scripts/valgrind.sh")
  list(APPEND environment "LUNADO_SCALE=40" "LUNADO_PATIENCE=200")
  set(seconds 900)
else()
  set(interpreter "${LUNADO_INTERPRETER}")
  set(seconds 600)
endif()

# Registers a command as a test; the folder in the test's name is its label.  A
# command that runs a program of this build begins with ${under}, the checker if
# there is one.
function(lunado_add_test name)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY "${LUNADO_ROOT}")
  get_filename_component(label ${name} DIRECTORY)
  set_tests_properties(${name} PROPERTIES LABELS "${label}" TIMEOUT ${seconds}
    ENVIRONMENT "${environment}" ENVIRONMENT_MODIFICATION
    "LUA_PATH${versioned}=unset:;LUA_CPATH${versioned}=unset:")
endfunction()

# On Windows, the tests in C are left out that need signals, fork, local sockets,
# or that a descriptor is polled and closed as on POSIX; and that of the thread
# pool, because Wine loses wakeups.  The others may mix descriptors and sockets.
set(needs_posix "^$")
set(lax "")
if(WIN32)
  set(needs_posix "^((check|close|file|filter|poll|post|process|signals|slice|stream.*|threadpool)_test|close|loop|luv|.*memory.*|post|walk)$")
  set(lax -w)
endif()

# Adds a C test of the core, spec/core/<name>.c, which is not linked with Lua.
function(lunado_test name)
  if(LUNADO_PC_CMOCKA_FOUND)
    add_executable(${name} spec/core/${name}.c spec/core/support.c
      spec/core/ends.c $<TARGET_OBJECTS:lunado_core>)
    lunado_configure(${name})
    target_compile_options(${name} PRIVATE -UNDEBUG ${lax})
    target_link_libraries(${name} PRIVATE lunado::uv
      PkgConfig::LUNADO_PC_CMOCKA $<$<PLATFORM_ID:Windows>:ws2_32>)
    set_target_properties(${name} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY "${lunado_output}/spec/core")
  endif()
  lunado_add_test(core/${name} ${under}
    "${PROJECT_BINARY_DIR}/spec/core/${name}")
endfunction()

# Test hosts link a static library, because they use internal functions.
set(tested lunado)
if(BUILD_SHARED_LIBS)
  set(tested lunado_tested)
  add_library(${tested} STATIC $<TARGET_OBJECTS:lunado>
    $<TARGET_OBJECTS:lunado_core>)
  set_target_properties(${tested} PROPERTIES LINKER_LANGUAGE C)
  target_link_libraries(${tested} PUBLIC lunado::uv lunado::lua
    ${CMAKE_DL_LIBS})
endif()

# Builds <build>/<folder>/<name> from the C host <folder>/<name>.c.  With RUN
# the host is also a test, which gets the script <name>.lua if there is one.
function(lunado_host folder name)
  get_filename_component(kind ${folder} NAME)
  set(target "${kind}_${name}")
  add_executable(${target} ${folder}/${name}.c ${checked})
  lunado_configure(${target})
  target_compile_options(${target} PRIVATE -UNDEBUG ${lax})
  target_link_libraries(${target} PRIVATE ${tested}
    $<$<PLATFORM_ID:Windows>:ws2_32>)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name}
    RUNTIME_OUTPUT_DIRECTORY "${lunado_output}/${folder}")
  if("RUN" IN_LIST ARGN)
    set(script "${LUNADO_ROOT}/${folder}/${name}.lua")
    if(NOT EXISTS "${script}")
      set(script "")
    endif()
    lunado_add_test(${kind}/${name} ${under} $<TARGET_FILE:${target}> ${script})
  endif()
endfunction()

# Returns the names of the files that match, without folder and extension.
function(lunado_names result pattern)
  file(GLOB files CONFIGURE_DEPENDS RELATIVE "${LUNADO_ROOT}" ${pattern})
  set(names "")
  foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    list(APPEND names ${name})
  endforeach()
  set(${result} ${names} PARENT_SCOPE)
endfunction()

lunado_names(names spec/core/*_test.c)
list(FILTER names EXCLUDE REGEX "${needs_posix}")
foreach(name IN LISTS names)
  lunado_test(${name})
endforeach()

lunado_names(names spec/capi/*.c)
set(in_pieces memory memory_calls luv_memory)
list(REMOVE_ITEM names ${in_pieces})
list(FILTER names EXCLUDE REGEX "${needs_posix}")
foreach(name IN LISTS names)
  lunado_host(spec/capi ${name} RUN)
endforeach()
# These hosts run their scripts thousands of times.  So ctest runs each host in
# several parts, each of which is named after one test or group of the host.
set(pieces_of_memory opening opening_without_any running running_without_any)
set(script_of_memory "${LUNADO_ROOT}/spec/capi/memory.lua")
set(script_of_memory_calls "${LUNADO_ROOT}/spec/capi/memory_calls.lua")
set(pieces_of_luv_memory first_require_of_luv luv_before_the_loop
  first_require_of_lunado_uv first_uses)
set(pieces_of_memory_calls locks queues gen tasks ioloop signals streams process
  uv others loading)
if(TARGET lunado_tls)
  list(APPEND pieces_of_memory_calls tls)
endif()
set(long_tests "")
list(FILTER in_pieces EXCLUDE REGEX "${needs_posix}")
foreach(name IN LISTS in_pieces)
  lunado_host(spec/capi ${name})
  foreach(piece IN LISTS pieces_of_${name})
    lunado_add_test(capi/${name}_${piece} ${under} $<TARGET_FILE:capi_${name}>
      ${script_of_${name}} ${piece})
    list(APPEND long_tests capi/${name}_${piece})
  endforeach()
endforeach()

# Certificates are made once for the many states of this host, which check none.
if(TARGET lunado_tls AND TARGET capi_memory_calls)
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/certificates")
  set_property(TEST capi/memory_calls_tls APPEND PROPERTY ENVIRONMENT
    "LUNADO_CERTIFICATES=${PROJECT_BINARY_DIR}/certificates")
endif()

# When an allocation fails, luv, libuv and the C library leak memory.
list(TRANSFORM pieces_of_luv_memory PREPEND luv_memory_ OUTPUT_VARIABLE with_luv)
list(APPEND with_luv memory_calls_streams memory_calls_uv)
list(FILTER with_luv EXCLUDE REGEX "${needs_posix}")
foreach(name IN LISTS with_luv)
  set_property(TEST capi/${name} APPEND PROPERTY ENVIRONMENT
    "LUNADO_LEAKS=luv"
    "ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=0")
endforeach()

# A process that AddressSanitizer checks takes long to fork.
if(LUNADO_SANITIZE)
  set_property(TEST capi/memory_calls_process APPEND PROPERTY ENVIRONMENT
    "LUNADO_SCALE=10")
endif()

# The client's module, which is no part of the library, finds the functions of
# lunado.h in the host.
if(TARGET lunado_curl AND TARGET capi_memory_calls)
  set_target_properties(capi_memory_calls PROPERTIES ENABLE_EXPORTS ON)
  lunado_add_test(capi/memory_calls_http ${under}
    $<TARGET_FILE:capi_memory_calls> "${LUNADO_ROOT}/spec/capi/memory_http.lua"
    http)
  list(APPEND long_tests capi/memory_calls_http)
endif()

lunado_add_test(capi/exports sh spec/capi/exports.sh
  $<TARGET_FILE:lunado> $<TARGET_FILE:lunado_module>)

# The job server runs until it gets a message to end, so a spec runs it.
lunado_host(examples/embed jobserver)
lunado_host(examples/embed minimal RUN)
lunado_host(examples/embed worker RUN)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  lunado_host(examples/embed epoll RUN)
endif()

# One test for each spec file, so that a crash ends the tests of one file only.
foreach(folder . tornado limit)
  lunado_names(names spec/${folder}/*_spec.lua)
  if(NOT TARGET lunado_tls)
    list(FILTER names EXCLUDE REGEX "^tls_")
  endif()
  foreach(name IN LISTS names)
    string(REGEX REPLACE "/\\./" "/" path spec/${folder}/${name})
    lunado_add_test(${path} ${under} ${interpreter} scripts/busted.lua
      ${path}.lua)
  endforeach()
endforeach()

# cqueues gives OpenSSL something for good, and is unloaded before leaks are
# looked for.
set_property(TEST spec/platform_http_spec APPEND PROPERTY ENVIRONMENT
  "LUNADO_LEAKS=cqueues"
  "ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=0")

# These files test that files are insulated from each other in one run.
lunado_add_test(spec/insulation ${under} ${interpreter} scripts/busted.lua
  spec/insulation)

# Runs the specs about lifetime also in the incremental mode of the collector,
# and with tiny steps, so that a collection is always in progress.  valgrind is
# slow and runs only these, which are incremental as well.  LUNADO_GC selects a
# mode for all other tests.
set(modes incremental tiny)
if(LUNADO_VALGRIND)
  set(modes tiny)
endif()
foreach(mode IN LISTS modes)
  foreach(name gen_lifetime gen_multi gen_timeout debug stack_context)
    lunado_add_test(gc/${mode}/${name}_spec ${under} ${interpreter}
      scripts/busted.lua spec/${name}_spec.lua)
    set_property(TEST gc/${mode}/${name}_spec APPEND PROPERTY ENVIRONMENT
      "LUNADO_GC=${mode}")
  endforeach()
endforeach()

# The longest tests begin first when tests run in parallel.
set_tests_properties(${long_tests} capi/threads capi/states
  spec/limit/depth_spec spec/limit/executor_spec gc/tiny/gen_lifetime_spec
  PROPERTIES COST 100)

# Tests that run no program of this build run only once, without a checker.  So
# do the tests of the installed package, which is built without checkers.
if(NOT LUNADO_SANITIZE AND NOT LUNADO_TSAN AND NOT LUNADO_VALGRIND
    AND NOT LUNADO_COVERAGE)
  lunado_add_test(tree/layers sh spec/layers.sh)
  get_target_property(folders lunado::luaheaders INTERFACE_INCLUDE_DIRECTORIES)
  list(TRANSFORM folders PREPEND "-I")
  lunado_add_test(tree/numbers sh spec/numbers.sh
    "${CMAKE_C_COMPILER}${CMAKE_C_COMPILER_ARG1}" ${folders})
  list(TRANSFORM folders REPLACE "^-I" "")
  lunado_add_test(tree/windows sh spec/windows.sh ${folders})
  set_tests_properties(tree/windows PROPERTIES SKIP_RETURN_CODE 77)
  lunado_add_test(tree/doors ${interpreter} spec/doors.lua)
  lunado_add_test(tree/mentions ${interpreter} spec/mentions.lua)
  lunado_add_test(tree/rockspec ${interpreter} spec/rockspec.lua)
  lunado_add_test(tree/luacheck luacheck -q --no-color .)
  foreach(name amalgamation guide install make rock)
    lunado_add_test(package/${name} sh spec/install/${name}.sh
      "${PROJECT_BINARY_DIR}" "${interpreter}")
    # They build several times.
    set_tests_properties(package/${name} PROPERTIES COST 100 TIMEOUT 1800)
  endforeach()
endif()

# On Windows the specs need functions for sockets.
if(WIN32)
  lunado_add_module(lunado_sockets sockets spec/support/sockets.c)
  target_link_libraries(lunado_sockets PRIVATE ws2_32)
endif()
