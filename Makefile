# SPDX-License-Identifier: MIT
# The short way to everything; CMakeLists.txt and CMakePresets.json do the work.
export LUA ?= lua5.4
export LUA_PATH := $(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;
export LUA_CPATH := $(CURDIR)/build/?.so;;
MAKEFLAGS += --no-print-directory
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell getconf _NPROCESSORS_ONLN)
export CTEST_PARALLEL_LEVEL ?= $(CMAKE_BUILD_PARALLEL_LEVEL)

setup = scripts/setup.sh
configure = cmake --preset $(1) --log-level=WARNING >/dev/null
module = $(call configure,release) && \
	cmake --build --preset release --target lunado_module
# All tests of a preset; TESTS is a pattern of names that picks some.
check = $(call configure,$(1)) && cmake --build --preset $(1) && \
	ctest --preset $(1) $(if $(TESTS),-R '$(TESTS)')

.PHONY: demo test bench bench-check bench-deps sanitize tsan valgrind strangers \
	install-check clean

demo: # fetch pages from a server of its own, many at once
	@$(setup) demo
	@$(module)
	@$(LUA) examples/fetch.lua

test: # everything, under ctest
	@$(setup) test
	@$(call check,release)

sanitize: # the same under AddressSanitizer and UBSan
	@$(setup) test
	@$(call check,sanitize)

tsan: # the same under ThreadSanitizer
	@$(setup) test
	@$(call check,tsan)

valgrind: # the same under valgrind
	@$(setup) valgrind
	@$(call check,valgrind)

strangers: # under the conditions of other machines; CONDITIONS names some
	@$(setup) test
	@$(call configure,release) && cmake --build --preset release
	@sh scripts/strangers.sh $(CONDITIONS)

bench-deps: # the peers that the benchmarks can be run against
	@sh bench/deps.sh

bench: # all of them; BENCH="W2 W5" names some, or options
	@$(setup) demo
	@$(module)
	@$(LUA) bench/run.lua $(BENCH)

bench-check: # instructions of the hot paths against those stored
	@$(setup) valgrind
	@$(module)
	@$(LUA) bench/check.lua

install-check:
	@$(setup) test
	@$(call configure,release)
	cmake --build --preset release
	ctest --preset release -L package

clean:
	rm -rf build build-*
