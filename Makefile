# SPDX-License-Identifier: MIT
# Shortcuts for CMake and its presets; see CMakeLists.txt and CMakePresets.json.
export LUA ?= lua5.4
# Where LUA was installed by Lua's own makefile, its header and library count,
# not those of another Lua 5.4 that pkg-config knows.
export LUA_DIR ?= $(shell dir=$$(dirname "$$(command -v "$(LUA)")")/..; \
	test -f "$$dir/include/lua.h" && ls "$$dir"/lib/liblua.* >/dev/null 2>&1 && \
	cd "$$dir" && pwd)
# What the caller's paths find, such as rocks of his own, comes behind what is in
# the tree.  Lua asks for the variables with its version in their names first.
versioned := $(shell $(LUA) -e 'io.write("_",(_VERSION:sub(5):gsub("%.","_")))' \
	2>/dev/null)
paths = $(or $(value $(1)$(versioned)),$(value $(1)))
with = $(if $(1),$(1););
export LUA_PATH := $(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(call \
	with,$(call paths,LUA_PATH))
export LUA_CPATH := $(CURDIR)/build/?.so;$(call with,$(call paths,LUA_CPATH))
ifdef versioned
unexport LUA_PATH$(versioned) LUA_CPATH$(versioned)
endif
MAKEFLAGS += --no-print-directory
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell getconf _NPROCESSORS_ONLN)
export CTEST_PARALLEL_LEVEL ?= $(CMAKE_BUILD_PARALLEL_LEVEL)

setup = sh scripts/setup.sh
configure = sh scripts/fresh.sh build$(filter-out -release,-$(1)) && \
	cmake --preset $(1) --log-level=WARNING -DLUA_DIR="$$LUA_DIR" \
	-DLUNADO_LUA_VERSION=$$($(LUA) -e 'io.write(_VERSION:sub(5))') >/dev/null
module = $(call configure,release) && \
	cmake --build --preset release --target lunado_modules
# Builds a preset and runs its tests; TESTS is a pattern that selects tests by
# name.
check = $(call configure,$(1)) && cmake --build --preset $(1) && \
	ctest --preset $(1) $(if $(TESTS),-R '$(TESTS)')

# Targets that are named together, such as `clean test`, run one by one; a build
# is parallel all the same.
.NOTPARALLEL:
.PHONY: demo test bench bench-check bench-deps sanitize tsan valgrind strangers \
	install-check dist clean

demo: # fetches many pages concurrently from its own server
	@$(setup) demo
	@$(module)
	@$(LUA) examples/fetch.lua

test: # all tests, under ctest
	@$(setup) test
	@$(call check,release)

sanitize: # all tests, under AddressSanitizer and UBSan
	@$(setup) test
	@$(call check,sanitize)

tsan: # all tests, under ThreadSanitizer
	@$(setup) test
	@$(call check,tsan)

valgrind: # all tests, under valgrind
	@$(setup) valgrind
	@$(call check,valgrind)

strangers: # all tests, under conditions of other machines; or only CONDITIONS
	@$(setup) test
	@$(call configure,release) && cmake --build --preset release
	@sh scripts/strangers.sh $(CONDITIONS)

bench-deps: # installs the peers of the benchmarks
	@sh bench/deps.sh

bench: # all benchmarks; BENCH="W2 W5" selects some, or passes options
	@$(setup) demo
	@$(module)
	@$(LUA) bench/run.lua $(BENCH)

bench-check: # compares the instruction counts of hot paths with the stored ones
	@$(setup) valgrind
	@$(module)
	@$(LUA) bench/check.lua

dist: # the tarball of the sources, the rockspec of this version, the .src.rock
	@sh scripts/dist.sh

install-check:
	@$(setup) test
	@$(call configure,release)
	cmake --build --preset release
	ctest --preset release -L package

clean:
	rm -rf build build-*
